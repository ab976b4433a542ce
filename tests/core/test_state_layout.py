"""The elements of a rank's states, against what Megatron allocates on CPU ranks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.files import read_json, write_text
from pdapt.core.qwen3 import SIZES, Qwen3Config
from pdapt.core.state_layout import _chunk, states

ODD = Qwen3Config(4, 72, 200, 4, 2, 20, 1000, tied=True)  # sizes that no multiple of 64 divides, so that padding shows


def test_padding_is_that_of_the_layout() -> None:
    found = states(ODD, tp=1, pp=1, stage=0, shards=2, bucketed=False)
    assert found.parameters == ODD.parameters == 314_728
    assert found.buffer == 315_648  # each of 34 parameters begins at a multiple of 64, the end is one of 128
    assert found.shard + states(ODD, tp=1, pp=1, stage=0, shards=2, rank=1, bucketed=False).shard == ODD.parameters


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("tp", "pp", "chunks"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (1, 4, 1)])
@pytest.mark.parametrize("bucketed", [False, True])
def test_every_parameter_has_one_place(size: str, tp: int, pp: int, chunks: int, bucketed: bool) -> None:
    shape, given = SIZES[size], {"tp": tp, "pp": pp, "chunks": chunks, "shards": 6, "bucketed": bucketed}
    stages = [[states(shape, stage=stage, rank=rank, **given) for rank in range(6)] for stage in range(pp)]
    norms = shape.layers * (2 * shape.hidden + 2 * shape.head_dim) + shape.hidden
    copies = shape.vocab * shape.hidden if shape.tied and pp > 1 else 0
    expected = (shape.parameters + copies - norms) // tp + norms
    assert sum(ranks[0].parameters for ranks in stages) == expected
    for ranks in stages:
        assert sum(rank.shard for rank in ranks) == ranks[0].parameters
        assert ranks[0].parameters <= ranks[0].buffer < ranks[0].parameters + 64 * 12 * shape.layers + 384 * 300


def test_only_the_first_chunk_of_the_first_stage_has_buckets() -> None:
    """As megatron.training's `get_model` asks for them."""

    def padding(stage: int, layers: int, chunks: int) -> int:
        shape = replace(ODD, layers=layers, hidden=7201, ffn=9001)
        given = {"tp": 1, "pp": 2, "stage": stage, "chunks": chunks, "shards": 6}
        return states(shape, bucketed=True, **given).buffer - states(shape, bucketed=False, **given).buffer

    assert padding(0, 4, 1) > 0
    assert padding(1, 4, 1) == 0
    assert padding(0, 8, 2) == padding(0, 4, 1)  # the first chunk has as many layers


@pytest.mark.slow
@pytest.mark.parametrize("size", ["0p6b", "8b"])
@pytest.mark.parametrize("shards", [6, 48])
def test_buckets_are_those_that_megatron_lays_out(size: str, shards: int) -> None:
    """On one GPU's stage, with buckets: the CPU runs below have none, since nothing overlaps there."""
    import torch
    from megatron.core.distributed import DistributedDataParallelConfig
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    shape = SIZES[size]
    with torch.device("meta"):
        weights = [
            torch.nn.Parameter(torch.empty(count)) for count in _chunk(shape, 1, shape.layers, first=True, last=True)
        ]
    bucket = max(40_000_000, 1_000_000 * shards)
    layout = DistributedOptimizer._compute_per_buffer_param_layout(
        weights, bucket, shards, DistributedDataParallelConfig(use_distributed_optimizer=True)
    )
    assert len(layout.bucket_indices) > 5
    found = states(shape, tp=1, pp=1, stage=0, shards=shards, rank=1, bucketed=True)
    assert found.buffer == layout.bucket_indices[-1][1]
    shard = 0
    for begin, end in layout.bucket_indices:
        low, high = begin + (end - begin) // shards, begin + 2 * (end - begin) // shards
        shard += sum(max(0, min(stop, high) - max(start, low)) for start, stop, _ in layout.param_index_map.values())
    assert found.shard == shard


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "given"),
    [
        (["parallel: {ranks_per_node: 2}"], {}),
        (["parallel: {ranks_per_node: 2, tp: 2}"], {"tp": 2}),
        (["parallel: {ranks_per_node: 4, pp: 2}"], {"pp": 2}),
        (
            ["parallel: {ranks_per_node: 2, pp: 2}", "megatron: {num-virtual-stages-per-pipeline-rank: 2}"],
            {"pp": 2, "chunks": 2},
        ),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_megatron_allocates_as_much(
    forked_ranks: Callable[..., None], lines: list[str], given: dict[str, int], tied: bool, tmp_path: Path
) -> None:
    spread: dict[str, Any] = {"tp": 1, "pp": 1, "chunks": 1} | given
    shape = "{layers: 4, hidden: 72, ffn: 200, heads: 4, kv_heads: 2, head_dim: 20, vocab: 1000, tied: TIED}"
    text = [f"model: {{shape: {shape.replace('TIED', str(tied).lower())}}}", "data: {seq_length: 128}", *lines]
    write_text(tmp_path / "recipe.yaml", "\n".join([*text, "batch: {global_size: 8}", "steps: 10", ""]))
    ranks = 4 if "4" in lines[0] else 2
    forked_ranks(ranks, Path(__file__).with_name("allocated.py"), tmp_path / "recipe.yaml", tmp_path)
    model = Qwen3Config(4, 72, 200, 4, 2, 20, 1000, tied=tied)
    shards = ranks // (spread["tp"] * spread["pp"])
    for rank in range(ranks):
        found = read_json(tmp_path / f"{rank}.json")
        expected = states(model, **spread, stage=found["stage"], shards=shards, rank=found["shard"], bucketed=False)
        assert found["parameters"] == expected.parameters
        assert found["weights"] == 2 * expected.buffer
        assert found["gradients"] == 4 * expected.buffer
        assert found["main"] == expected.shard
