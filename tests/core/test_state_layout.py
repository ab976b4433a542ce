"""The elements of a rank's states, against what Megatron allocates on CPU ranks."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.files import read_json, write_text
from pdapt.core.qwen3 import SIZES, Qwen3Config
from pdapt.core.state_layout import states

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
def test_megatron_allocates_as_much(lines: list[str], given: dict[str, int], tied: bool, tmp_path: Path) -> None:
    spread: dict[str, Any] = {"tp": 1, "pp": 1, "chunks": 1} | given
    shape = "{layers: 4, hidden: 72, ffn: 200, heads: 4, kv_heads: 2, head_dim: 20, vocab: 1000, tied: TIED}"
    text = [f"model: {{shape: {shape.replace('TIED', str(tied).lower())}}}", "data: {seq_length: 128}", *lines]
    write_text(tmp_path / "recipe.yaml", "\n".join([*text, "batch: {global_size: 8}", "steps: 10", ""]))
    ranks = 4 if "4" in lines[0] else 2
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += [str(Path(__file__).with_name("allocated.py")), str(tmp_path / "recipe.yaml"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    model = Qwen3Config(4, 72, 200, 4, 2, 20, 1000, tied=tied)
    shards = ranks // (spread["tp"] * spread["pp"])
    for rank in range(ranks):
        found = read_json(tmp_path / f"{rank}.json")
        expected = states(model, **spread, stage=found["stage"], shards=shards, rank=found["shard"], bucketed=False)
        assert found["parameters"] == expected.parameters
        assert found["weights"] == 2 * expected.buffer
        assert found["gradients"] == 4 * expected.buffer
        assert found["main"] == expected.shard


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
