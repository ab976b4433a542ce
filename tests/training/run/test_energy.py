"""Energy of a rank's GPU, as NVML tells it."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.training.run import energy


class NVMLError(Exception):
    """NVML's own."""


def library(millijoules: int) -> Any:
    """An NVML with two GPUs, which says which one it was asked for."""
    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: ("index", index),
        nvmlDeviceGetHandleByUUID=lambda name: ("uuid", name),
        nvmlDeviceGetTotalEnergyConsumption=lambda _: millijoules,
    )


@pytest.fixture(autouse=True)
def _forget() -> Any:
    energy._device.cache_clear()
    yield
    energy._device.cache_clear()


def test_without_nvml_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy.joules() is None


def test_without_a_gpu_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise NVMLError

    broken = library(0)
    broken.nvmlInit = fails
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert energy.joules() is None


@pytest.mark.parametrize(
    ("visible", "local", "asked"),
    [(None, "1", ("index", 1)), ("3,2", "1", ("index", 2)), ("GPU-abc", "0", ("uuid", "GPU-abc"))],
)
def test_the_ranks_own_gpu_is_asked(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, local: str, asked: tuple[str, object]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(1_234_000))
    monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert energy.joules() == 1234
    assert energy._device()[1] == asked
