"""The CPU in CUDA's place: what Megatron asks of a GPU is answered as CUDA would answer, for a device that is none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pdapt.training.megatron.cpu_backend import CUDA_REPLACEMENTS, CudaToCpu, Event


def answer(name: str, *arguments: Any) -> Any:
    return CUDA_REPLACEMENTS[name][0](*arguments)


def test_everything_that_is_replaced_is_there_in_cuda() -> None:
    assert CUDA_REPLACEMENTS
    assert not [name for name in CUDA_REPLACEMENTS if not hasattr(torch.cuda, name)]


def test_a_cpu_is_older_than_the_first_generation_of_gpus() -> None:
    """Which was 1.0. Both ways to ask say the same."""
    properties = answer("get_device_properties", 0)
    assert (properties.major, properties.minor) == answer("get_device_capability", 0) < (1, 0)


@pytest.mark.parametrize("kind", ["allocated", "reserved"])
def test_a_cpu_holds_no_memory_of_a_gpu(kind: str) -> None:
    assert not answer(f"memory_{kind}")
    assert not answer(f"max_memory_{kind}")
    assert not answer("memory_stats")[f"{kind}_bytes.all.peak"]


def test_every_rank_of_a_node_has_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert answer("device_count") == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert answer("device_count") == 4


def test_events_are_apart_by_milliseconds_as_cudas_are() -> None:
    first, second = Event(), Event()
    first.record()
    second.seconds = first.seconds + 0.25
    assert first.elapsed_time(second) == pytest.approx(250)
    assert first.query()


def test_a_seed_and_a_state_are_the_cpus() -> None:
    answer("manual_seed", 7)
    state = answer("get_rng_state")
    drawn = torch.rand(3)
    answer("set_rng_state", state)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(torch.rand(3, generator=torch.Generator().manual_seed(7)), drawn)
    generators, _ = CUDA_REPLACEMENTS["default_generators"]
    assert generators[0] is torch.default_generator


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, device="cuda"),
        lambda: torch.zeros(2, device="cuda:1"),
        lambda: torch.zeros(2, device=torch.device("cuda")),
        lambda: torch.zeros(2).to("cuda"),
        lambda: torch.zeros(2).to(torch.device("cuda", 0), torch.float32),
        lambda: torch.zeros(2).to(device="cuda"),
        lambda: torch.zeros(2).to(torch.float32),
        lambda: torch.zeros(2, device="cpu"),
    ],
)
def test_tensors_for_a_gpu_are_made_on_the_cpu(make: Callable[[], torch.Tensor]) -> None:
    with CudaToCpu():
        made = make()
    assert made.device.type == "cpu"
    assert (made.dtype, made.tolist()) == (torch.float32, [0, 0])


def test_types_are_named_as_cudas_and_conversions_are_left_alone() -> None:
    with CudaToCpu():
        assert torch.zeros(1, dtype=torch.bfloat16).type() == "torch.cuda.BFloat16Tensor"
        assert torch.zeros(1).type(torch.float64).dtype == torch.float64
