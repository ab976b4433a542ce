"""Nodes that are not alike, or lack what a start needs: each is named, with its value and what is expected."""

from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.recipes.load import load
from pdapt.recipes.megatron_args import Places
from pdapt.recipes.schema import Recipe
from pdapt.training.preflight.judge_nodes import Space, judge_nodes, space_needed
from pdapt.training.preflight.node_facts import NodeFacts
from pdapt.training.rank_task import RankTask

ROOM = Space(each=0, all=0, count=0, limited=False)
N1 = NodeFacts("n1", [], 2, "c0ffee", {"torch": "2.14.1 x"}, free=10**9, tokens=1000, unreadable="")
N2 = replace(N1, node="n2")
H100 = ["NVIDIA H100 80GB HBM3"] * 2


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load("qwen3_tiny_cpt_2xcpu")


def test_nodes_that_are_alike_pass(recipe: Recipe) -> None:
    judgement = judge_nodes(recipe, [N1, N2], ROOM)
    assert (judgement.problems, judgement.warnings) == ([], [])
    with_gpus = [replace(node, gpus=H100) for node in (N1, N2)]
    assert judge_nodes(recipe, with_gpus, ROOM).problems == []


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (replace(N2, ranks=1), "ranks: 1 on n2; expected: 2 (parallel.ranks_per_node)"),
        (replace(N2, gpus=H100), "GPUs: NVIDIA H100 80GB HBM3, NVIDIA H100 80GB HBM3 on n2, none on n1"),
        (replace(N2, code="c0ffee+1234"), "code: c0ffee+1234 on n2, c0ffee on n1; expected: the same"),
        (
            replace(N2, environment={"torch": "2.13.0 y"}),
            "packages: torch 2.14.1 on n1, 2.13.0 on n2; expected: the same",
        ),
        (replace(N2, environment={"torch": "2.14.1 y"}), "packages: torch 2.14.1 has other files on n2 than on n1"),
        (replace(N2, tokens=999), "bytes of tokens: 999 on n2, 1,000 on n1"),
        (replace(N2, unreadable="a.bin: denied"), "tokens: not readable on n2: a.bin: denied"),
    ],
)
def test_a_node_that_differs_is_named_with_what_is_expected(recipe: Recipe, other: NodeFacts, problem: str) -> None:
    (found,) = judge_nodes(recipe, [N1, other], ROOM).problems
    assert found.startswith(problem)


def test_fewer_gpus_than_ranks_are_named(recipe: Recipe) -> None:
    nodes = [replace(node, gpus=H100[:1]) for node in (N1, N2)]
    problems = judge_nodes(recipe, nodes, ROOM).problems
    assert problems == [f"GPUs: 1 seen on {name}; expected: 2, one for each rank" for name in ("n1", "n2")]


@pytest.mark.parametrize(
    ("limited", "free", "problem", "warning"),
    [
        (False, 5, "", ""),
        (False, 4, "expected: 0.005 GB for the 5 checkpoints", ""),
        (True, 4, "", "expected: 0.005 GB for the 5 checkpoints"),
        (True, 0.5, "expected: 0.001 GB for one checkpoint", ""),
    ],
)
def test_the_disk_has_room_for_the_checkpoints_that_this_start_saves(
    recipe: Recipe, limited: bool, free: float, problem: str, warning: str
) -> None:
    space = Space(each=10**6, all=5 * 10**6, count=5, limited=limited)
    judgement = judge_nodes(recipe, [replace(N1, free=int(free * 10**6))], space)
    for texts, expected in ((judgement.problems, problem), (judgement.warnings, warning)):
        assert len(texts) == bool(expected)
        assert all(expected in text and text.startswith("disk: ") for text in texts)


@pytest.mark.parametrize(
    ("overrides", "reached", "last", "others", "count"),
    [
        (["checkpoint.every=2"], 0, 10, 0, 5),
        (["checkpoint.every=3"], 0, 10, 0, 4),
        (["checkpoint.every=2"], 6, 10, 0, 2),
        (["checkpoint.every=2"], 10, 10, 0, 0),
        (["checkpoint.every=1", "checkpoint.keep_every=10", "checkpoint.keep_last=2"], 0, 100, 0, 13),
        (["checkpoint.every=1", "checkpoint.keep_every=10", "checkpoint.keep_last=2"], 0, 95, 0, 12),
        (["checkpoint.every=1", "checkpoint.keep_every=10", "checkpoint.keep_last=2"], 50, 100, 2, 6),
        (["checkpoint.every=1", "checkpoint.keep_every=1000", "checkpoint.keep_last=2"], 0, 2, 0, 2),
    ],
)
def test_checkpoints_that_make_way_for_newer_ones_need_no_room_of_their_own(
    overrides: list[str], reached: int, last: int, others: int, count: int
) -> None:
    recipe = load("qwen3_tiny_cpt_2xcpu", [*overrides, f"steps={max(last, 10)}"])
    space = space_needed(recipe, reached=reached, last=last, others=others, limited=False)
    assert (space.count, space.all) == (count, space.each * count)


def test_the_room_of_a_checkpoint_follows_from_what_it_holds(recipe_file: Path) -> None:
    """BF16 weights with FP32 main weights and two moments: 14 bytes a parameter; FP32: 12."""
    layer = 64 * (2 * 64 + 2 * 32 + 3 * 160 + 2) + 2 * 16
    parameters = 2 * layer + 64 + 1024 * 64
    for precision, size in (("bf16", 14), ("fp32", 12)):
        recipe = load(str(recipe_file), [f"model.precision={precision}"])
        assert space_needed(recipe, reached=0, last=10, others=0, limited=False).each == parameters * size


def test_tokens_are_read_at_both_ends_and_the_reason_why_they_cannot_be_is_kept(
    tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    places = Places(tmp_path, None, tmp_path, tmp_path, tmp_path / "achieved.json", 0, 1)
    task = RankTask(load(str(recipe_file)), places, tokens, 0.0)
    facts = NodeFacts.gather(task)
    files = [path for path in tokens.rglob("*") if path.suffix in (".bin", ".idx")]
    assert (facts.tokens, facts.unreadable) == (sum(path.stat().st_size for path in files), "")
    gone = NodeFacts.gather(replace(task, tokens=tmp_path / "gone"))
    assert gone.unreadable.startswith("tokens.json is missing")
    assert str(tmp_path / "gone") in gone.unreadable
