"""Predicted memory, against published runs, the shared evidence and Megatron's own estimate."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pdapt.core.files import read_json
from pdapt.core.memory import GpuMemory, HostMemory, fits, gpu_memory, host_memory, save_stall_seconds
from pdapt.core.qwen3 import SIZES, Qwen3Config

TABLE = {"0p6b": "0.6B", "1p7b": "1.7B", "4b": "4B", "8b": "8B"}
# Llama is Qwen3 but for QK-norm. Nemotron's MLP is not gated: a gated one of two thirds of its width has as many
# weights and keeps as many bytes.
LLAMA_8B = Qwen3Config(32, 4096, 14336, 32, 8, 128, 128_256, tied=False)
NEMOTRON_15B = Qwen3Config(32, 6144, 24_576 * 2 // 3, 48, 8, 128, 256_000, tied=False)


def predict(shape: Qwen3Config = SIZES["8b"], **changes: Any) -> GpuMemory:
    """The paper's run on 48 GPUs but for `changes`."""
    given = {"dp": 48, "tp": 1, "pp": 1, "cp": 1, "sp": False, "micro_batch": 1, "seq_length": 2048, "grads": "fp32"}
    return gpu_memory(shape, **(given | changes))


@pytest.fixture(scope="module")
def hardware(shared: Callable[[str], Path]) -> dict[str, Any]:
    return read_json(shared("perf/hardware.json"))["hardware"]


@pytest.mark.parametrize("size", SIZES)
def test_the_parts_are_those_of_the_evidence(size: str, hardware: dict[str, Any]) -> None:
    rows = hardware["memory_model_tp1_dp48_s2048"][TABLE[size]]
    assert len(rows) == 10
    formula, predicted = [], []
    for name, row in rows.items():
        micro, grads = name.removeprefix("mbs").removesuffix("grad").split("_")
        found = predict(SIZES[size], micro_batch=int(micro), grads=grads)
        assert found.states / 1e9 == pytest.approx(row["states_gb"], rel=0.005)
        assert found.activations / 1e9 == pytest.approx(row["act_gb"], rel=0.005)
        assert found.logits / 1e9 == pytest.approx(row["logits_native_ce_gb"], rel=0.005)
        # Published runs logged up to 1.048 times the formula, and 3 to 4 GB that PyTorch does not count.
        assert 1.048 * row["total_gb"] + 3 <= found.total / 1e9 <= 1.1 * row["total_gb"] + 4
        formula.append(row["total_gb"])
        predicted.append(found.total / 1e9)
    factor, rest = np.polyfit(formula, predicted, 1)
    assert 1.048 <= factor <= 1.1
    assert 3 <= rest <= 4
    assert predicted == pytest.approx(np.polyval((factor, rest), formula), rel=0.005)


@pytest.mark.parametrize(
    ("number", "shape", "spread"),
    [
        (0, LLAMA_8B, {"dp": 4, "cp": 2, "micro_batch": 1, "seq_length": 8192}),
        (1, NEMOTRON_15B, {"dp": 32, "tp": 2, "sp": True, "micro_batch": 2, "seq_length": 4096}),
    ],
)
def test_published_runs_logged_what_is_predicted(
    number: int, shape: Qwen3Config, spread: dict[str, Any], hardware: dict[str, Any]
) -> None:
    logged = hardware["memory_validation"][number]
    found = predict(shape, grads="bf16", **spread)
    assert found.states / 1e9 == pytest.approx(logged["memory_allocated_gb"], rel=0.01)
    peak = (found.total - found.context) / 1e9
    assert logged["peak_gb"] <= peak <= 1.05 * logged["peak_gb"]  # never too little, and not far too much


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("tp", "pp", "dp"), [(1, 1, 48), (2, 1, 4), (1, 2, 3), (2, 4, 6), (8, 1, 1)])
def test_states_are_those_of_megatrons_own_estimate(
    size: str, tp: int, pp: int, dp: int, megatron_args: Callable[..., SimpleNamespace]
) -> None:
    from megatron.training.theoretical_memory_usage import compute_weight_and_optimizer_memory

    shape = SIZES[size]
    args = megatron_args(
        shape,
        untie_embeddings_and_output_weights=not shape.tied,
        normalization="RMSNorm",
        use_distributed_optimizer=True,
        tensor_model_parallel_size=tp,
        pipeline_model_parallel_size=pp,
        data_parallel_size=dp,
        expert_tensor_parallel_size=1,
        expert_model_parallel_size=1,
        world_size=tp * pp * dp,
    )
    expected = compute_weight_and_optimizer_memory(args)
    # It leaves out QK-norm, and spreads the final norm over the stages: some ten thousand parameters.
    assert predict(shape, tp=tp, pp=pp, dp=dp).states == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_one_stage_holds_each_parameter_once(size: str) -> None:
    padded = predict(SIZES[size]).weights / 2
    assert SIZES[size].parameters <= padded < SIZES[size].parameters + 384 * 200  # buckets end at multiples of 384


@pytest.mark.parametrize("size", SIZES)
def test_both_ends_of_a_pipeline_hold_the_vocabulary(size: str) -> None:
    shape = SIZES[size]
    layers = shape.parameters - shape.hidden - shape.vocab * shape.hidden * (1 if shape.tied else 2)
    expected = layers / 2 + shape.hidden + shape.vocab * shape.hidden
    assert predict(shape, pp=2).weights == pytest.approx(2 * expected, rel=1e-5)  # but for padding, and a norm


def test_tensor_parallelism_halves_all_but_norms_and_what_sequence_parallelism_would() -> None:
    alone, pair, split = predict(), predict(tp=2), predict(tp=2, sp=True)
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(split, part) == getattr(pair, part) == pytest.approx(getattr(alone, part) / 2, rel=1e-4)
    assert split.activations == alone.activations / 2
    assert pair.activations - split.activations == 2048 * 36 * 8 * 4096 / 2
    assert split.logits == pair.logits == alone.logits / 2


def test_context_parallelism_halves_tokens_and_shards_the_optimizer_like_more_copies() -> None:
    alone, halved = predict(seq_length=4096, dp=4), predict(seq_length=4096, dp=4, cp=2)
    assert (halved.activations, halved.logits) == (alone.activations / 2, alone.logits / 2)
    assert halved.states == predict(dp=8).states < alone.states
    assert halved.weights == alone.weights


def test_fsdp_shards_all_states() -> None:
    assert predict(fsdp=True).states == pytest.approx(18 * SIZES["8b"].parameters / 48)
    assert predict(fsdp=True, dp=1) == predict(dp=1)


def test_the_fuller_end_of_a_pipeline_counts() -> None:
    first = predict(pp=4)  # keeps a quarter of the layers' activations for each of four micro-batches
    assert (first.activations, first.logits) == (predict().activations, 0)
    last = predict(SIZES["0p6b"], pp=2)  # its logits weigh more than half of its layers
    assert last.logits == predict(SIZES["0p6b"]).logits
    assert last.activations == predict(SIZES["0p6b"]).activations / 2


def test_more_needs_more_and_bf16_gradients_less() -> None:
    totals = [predict(SIZES[size]).total for size in SIZES]
    assert totals == sorted(totals)
    for name, values in {"micro_batch": [1, 2, 4], "seq_length": [1024, 2048], "dp": [48, 8, 1]}.items():
        found = [predict(**{name: value}).total for value in values]
        assert found == sorted(found)
        assert len(set(found)) == len(found)
    assert predict().states - predict(grads="bf16").states == predict().weights  # two bytes of each


def test_recomputation_keeps_each_layers_input_and_one_layer() -> None:
    kept, again = predict(micro_batch=2), predict(micro_batch=2, recompute=True)
    assert again.activations == 2 * 2048 * 36 * 2 * 4096
    assert again.buffers == kept.activations / 36
    assert again.states == kept.states


def test_interleaving_holds_more_micro_batches() -> None:
    plain, chunked = predict(pp=4), predict(pp=4, chunks=3)
    assert chunked.activations == plain.activations * (1 + 3 / 12)


def test_fp8_keeps_cast_weights_and_fsdp_gathers_layers() -> None:
    layers = SIZES["8b"].parameters - 2 * 151_936 * 4096 - 4096
    assert predict(fp8=True).buffers == 2 * layers
    assert predict(fsdp=True).buffers == pytest.approx(6 * (layers / 18 + 151_936 * 4096))


def test_training_in_fp32_keeps_no_main_weights_of_its_own() -> None:
    half, whole = predict(), predict(precision="fp32")
    assert (whole.weights, whole.activations) == (2 * half.weights, 2 * half.activations)
    assert whole.optimizer == half.optimizer * 8 / 12


def test_a_tenth_of_the_gpu_stays_free() -> None:
    needed = predict()
    assert fits(needed)
    assert fits(needed, capacity=needed.total / 0.899)
    assert not fits(needed, capacity=needed.total / 0.901)
    assert not fits(predict(micro_batch=2))  # 86.6 GB: more than there is
    assert predict(micro_batch=2).total > 79.1 * 2**30


def host(**changes: Any) -> HostMemory:
    given = {"dp": 48, "tp": 1, "pp": 1, "ranks_per_node": 4, "reshardable": False}
    return host_memory(SIZES["8b"], **(given | changes))


def test_a_reshardable_save_gathers_98_gb_in_each_rank() -> None:
    found = host(reshardable=True)
    assert round(found.gathered / 1e9) == 98
    assert round(4 * found.gathered / 1e9) == 393
    assert found.share == host().share
    assert found.node == 4 * (found.gathered + found.share)
    assert host(reshardable=True, tp=2).gathered == pytest.approx(found.gathered / 2, rel=1e-4)


def test_the_copies_of_the_model_share_a_save() -> None:
    found = host()
    assert found.gathered == 0
    assert 48 * found.rank == pytest.approx(14 * SIZES["8b"].parameters)
    assert host(dp=4).rank == pytest.approx(12 * found.rank)
    assert host(dp=24, tp=2).rank == pytest.approx(found.rank, rel=1e-4)


def test_training_waits_for_the_copy_and_for_the_file_only_if_it_is_written_at_once() -> None:
    whole = 14 * SIZES["8b"].parameters
    assert save_stall_seconds(host(), asynchronous=True) == pytest.approx(whole / 48 / 25e9)
    written = save_stall_seconds(host(), asynchronous=False) - save_stall_seconds(host(), asynchronous=True)
    assert written == pytest.approx(whole / 12 / 2e9)  # twelve nodes write at once
    slow = save_stall_seconds(host(), asynchronous=False, file_system=1e9, pcie=5e9)
    assert slow == pytest.approx(whole / 12 / 1e9 + whole / 48 / 5e9)
    gathering = save_stall_seconds(host(reshardable=True), asynchronous=True)
    assert gathering == pytest.approx((12 + 14 / 48) * SIZES["8b"].parameters / 25e9)
