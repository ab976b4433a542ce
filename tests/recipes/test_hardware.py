"""The machine's GPUs, as a process of PyTorch's own reports them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.recipes import hardware
from pdapt.recipes.hardware import Hardware, this_machine

GIB = 2**30


@pytest.fixture
def python_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A machine with NVIDIA's driver, whose Python runs these lines of shell in place of PyTorch."""

    def install(*lines: str) -> None:
        program = tmp_path / "python"
        program.write_text("\n".join(["#!/bin/sh", *lines]))
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr(hardware, "has_gpu", lambda: True)

    return install


def test_the_smallest_gpu_counts(python_says: Callable[..., None]) -> None:
    python_says(f"echo '[{80 * GIB}, {40 * GIB}]'")
    machine = this_machine()
    assert (machine.gpus, machine.gpu_gib) == (2, 40)


@pytest.mark.parametrize("answer", ["echo '[1024]'; exit 1", "echo '[]'"], ids=["PyTorch fails", "no GPU"])
def test_a_gpu_that_pytorch_cannot_use_is_refused_with_its_last_line(
    python_says: Callable[..., None], answer: str
) -> None:
    python_says("echo Traceback >&2", "echo 'RuntimeError: driver too old' >&2", answer)
    with pytest.raises(UserError, match="PyTorch finds no GPU") as refused:
        this_machine()
    assert refused.value.where == "RuntimeError: driver too old"


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_gpu", lambda: False)
    machine = this_machine()
    assert (machine.gpus, machine.gpu_gib) == (0, 0)
    assert machine.cores >= 1
    assert machine.host_gib > 0


def test_hardware_is_described_with_the_number_of_its_gpus() -> None:
    texts = [str(Hardware(gpus=gpus, gpu_gib=79.6, cores=2, host_gib=24)) for gpus in (0, 1, 8)]
    assert texts == ["no GPU, 2 CPU cores, 24 GiB", "1 GPU of 80 GiB", "8 GPUs of 80 GiB"]
