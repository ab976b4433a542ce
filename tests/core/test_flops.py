"""Operations of a step, against Megatron's own count and the table of the shared evidence."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pdapt.core.files import read_json
from pdapt.core.flops import flops_per_step, mfu
from pdapt.core.qwen3 import SIZES

TABLE = {"0p6b": "0.6B", "1p7b": "1.7B", "4b": "4B", "8b": "8B"}
PRINTED = {"0p6b": 4.28, "1p7b": 11.03, "4b": 25.95, "8b": 47.22}


@pytest.mark.parametrize("size", SIZES)
def test_a_token_of_2048_costs_what_the_evidence_says(size: str, shared: Callable[[str], Path]) -> None:
    table = read_json(shared("perf/hardware.json"))["hardware"]["flops_per_token_s2048"][TABLE[size]]
    shape = SIZES[size]
    found = flops_per_step(shape, 1, 2048) / 1e9
    assert found == pytest.approx(table["causal_gflop"], rel=1e-4)
    assert round(found, 2) == PRINTED[size]
    assert flops_per_step(shape, 1, 0) / 1e9 == pytest.approx(table["linear"], rel=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_megatron_counts_the_same(size: str, megatron_args: Callable[..., SimpleNamespace]) -> None:
    from megatron.training.training import num_floating_point_operations

    shape = SIZES[size]
    args = megatron_args(shape, seq_length=2048, attention_output_gate=False)
    whole = flops_per_step(shape, 1152 * 2048, 1152 * 2048**2)
    assert whole == pytest.approx(num_floating_point_operations(args, 1152), rel=1e-6)
    lengths = np.random.RandomState(0).randint(2, 2049, 900)
    tokens, squares = int(lengths.sum()), int((lengths.astype(np.int64) ** 2).sum())
    packed = num_floating_point_operations(
        args, 576, seqlen_squared_sum_in_batch=squares, total_real_tokens_in_batch=tokens
    )
    assert flops_per_step(shape, tokens, squares) == pytest.approx(packed, rel=1e-6)
    assert packed < num_floating_point_operations(args, 576)


def test_utilization_is_a_share_of_all_gpus() -> None:
    assert mfu(989.4e12, seconds=1, gpus=1) == 1
    assert mfu(8 * 989.4e12, seconds=4, gpus=4) == 0.5
    assert mfu(100, seconds=2, gpus=5, peak=20) == 0.5
