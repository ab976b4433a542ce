"""`pdapt bench scaling` and the ceilings: what is run, what journals are made into, the page, and real ranks."""

import csv
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from pdapt.bench import ceilings as bench_ceilings
from pdapt.bench import scaling
from pdapt.bench.scaling import Plan, check, collect, compare, lines, run_all, spread, write_result
from pdapt.cli.main import app
from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.recipes.filling import Filling
from pdapt.recipes.load import load
from pdapt.recipes.schema import Recipe
from pdapt.scaling import plotting
from pdapt.scaling.constants import CONSTANT_NAMES, read_fit
from pdapt.scaling.measured import Measurement
from pdapt.scaling.work import Scaling

FULL = Filling(1.0, 512.0, "made up")


def plan(worlds: list[int], repeats: int = 2, *, gpu: bool = False) -> Plan:
    return Plan(load("qwen3_tiny_cpt_2xcpu", ["steps=10"]), worlds, [Scaling.WEAK, Scaling.STRONG], repeats, gpu)


def leave_runs(given: Plan, folder: Path, per_rank: float) -> None:
    """Journals of runs whose ranks do not slow each other down: `per_rank` slots a second and rank."""
    for way, world, turn, recipe in given.runs():
        slots = recipe.batch.global_size * recipe.data.seq_length
        seconds = slots / world / per_rank
        rows = [
            {"event": "step", "step": step, "start": 1, "time": step * seconds, "seconds": seconds, "data_wait": 0.0}
            | {"tokens": slots, "slots": slots, "skipped": False, "sources": {}}
            for step in range(1, 11)
        ]
        run = folder / f"{way}-{world}-{turn}" / "run"
        run.mkdir(parents=True)
        (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_worlds_take_turns_with_as_many_sequences_a_rank_or_a_step() -> None:
    found = [(way, world, turn, one.batch.global_size) for way, world, turn, one in plan([1, 2, 4]).runs()]
    assert found[:6] == [
        ("weak", 1, 0, 8), ("weak", 2, 0, 16), ("weak", 4, 0, 32),
        ("strong", 1, 0, 8), ("strong", 2, 0, 8), ("strong", 4, 0, 8),
    ]  # fmt: skip
    assert {turn for _, _, turn, _ in found} == {0, 1}
    assert spread(plan([1]).recipe, Scaling.STRONG, 4, 1, fill=False).batch.micro_size == 2
    eight = spread(load("qwen3_8b_cpt_48xh100_packed"), Scaling.WEAK, 8, 4, fill=True)
    assert (eight.parallel.nodes, eight.parallel.ranks_per_node, eight.batch.global_size) == (2, 4, 1152)
    with pytest.raises(UserError, match="6 ranks do not fill nodes of 4"):
        spread(load("qwen3_8b_cpt_48xh100_packed"), Scaling.WEAK, 6, 4, fill=True)


def test_what_cannot_be_run_is_refused_beforehand() -> None:
    with pytest.raises(UserError, match="does not divide"):
        check(plan([3]))  # eight sequences
    with pytest.raises(UserError, match="first 3 steps are not counted"):
        check(Plan(load("qwen3_tiny_cpt_2xcpu", ["steps=4"]), [1], [Scaling.WEAK], 1, gpu=False))


def test_runs_become_rows_a_page_and_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    given = plan([1, 2, 4])
    leave_runs(given, tmp_path / "runs", per_rank=1000)
    result = compare(given, collect(given, tmp_path / "runs"), FULL)
    assert [row.measured.oversubscribed for row in result.rows] == [False, False, True] * 2
    assert [row.efficiency.by_rank for row in result.rows] == pytest.approx([1.0] * 6)
    write_result(given, replace(result, others=0.5), tmp_path / "out")
    page = (tmp_path / "out" / "scaling.html").read_text()
    assert "Oversubscribed" in page
    assert "Disturbed" in page
    assert "says nothing about GPUs" in page
    assert 'src="data:image/png' in page
    rows = list(csv.DictReader((tmp_path / "out" / "scaling.csv").open()))
    assert [(row["scaling"], row["world"]) for row in rows[:2]] == [("weak", "1"), ("weak", "2")]
    constants = read_fit(tmp_path / "out" / "site.json").constants
    assert constants.bf16 < read_fit().constants.bf16 / 100
    text = "\n".join(lines(replace(result, others=0.5)))
    assert "OVERSUBSCRIBED" in text
    assert "DISTURBED" in text


def test_each_curve_shows_its_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many slots a rank where ranks share a step's sequences, so that the curves differ."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    figures: list[Any] = []
    monkeypatch.setattr(plotting, "save_figure", lambda figure, path: (figures.append(figure), path.write_bytes(b"")))
    given = plan([1, 2])
    leave_runs(replace(given, ways=[Scaling.WEAK]), tmp_path / "runs", per_rank=1000)
    leave_runs(replace(given, ways=[Scaling.STRONG]), tmp_path / "runs", per_rank=2000)
    write_result(given, compare(given, collect(given, tmp_path / "runs"), FULL), tmp_path / "out")
    curves = {line.get_label(): line for line in figures[0].axes[0].get_lines()}
    assert list(curves["weak, measured"].get_xdata()) == list(curves["strong, measured"].get_xdata()) == [1, 2]
    assert list(curves["weak, measured"].get_ydata()) == pytest.approx([1000, 2000])
    assert list(curves["strong, measured"].get_ydata()) == pytest.approx([2000, 4000])


def test_a_benchmark_without_tokens_is_run_on_the_samples_and_says_how_far_others_disturbed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = plan([1, 2], repeats=1)
    leave_runs(given, tmp_path, per_rank=1000)
    made: list[Path] = []

    def sample_tokens(recipe: Recipe, folder: Path) -> Path:
        assert (recipe, folder.is_dir()) == (given.recipe, True)
        made.append(folder / "tokens")
        return made[0]

    def measure(plan: Plan, tokens: Path, work: Path) -> list[Measurement]:
        assert [tokens] == made
        assert work.is_dir()
        return collect(plan, tmp_path)

    shares = iter([0.25])
    for name, value in (
        ("sample_tokens", sample_tokens),
        ("measure", measure),
        ("filling", lambda *_: FULL),
        ("write_result", lambda *_: None),  # it draws
        ("WorkOfOthers", lambda: SimpleNamespace(share=lambda: next(shares))),
    ):
        monkeypatch.setattr(scaling, name, value)
    (text,) = run_all(given, None, tmp_path, collecting=False, as_json=True)
    assert json.loads(text)["others"] == 0.25
    collected = list(run_all(given, None, tmp_path, collecting=True, as_json=False))
    assert not any("DISTURBED" in line for line in collected), "what others did while the runs ran is not known"


def test_a_rank_is_as_fast_as_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores for each rank, one, or half of one, and as many slots a second of each rank."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    given = plan([1, 2, 4])
    leave_runs(given, tmp_path / "runs", per_rank=1000)
    rows = compare(given, collect(given, tmp_path / "runs"), FULL).rows
    cores = {row.measured.world: row.measured.cores for row in rows}
    assert cores == {1: 2.0, 2: 1.0, 4: 0.5}
    planned = {row.measured.world: row.planned_from_fewest_ranks for row in rows}
    assert planned[4] < 0.8 * planned[1]


def test_on_gpus_the_published_plan_stands_beside(tmp_path: Path) -> None:
    given = Plan(load("qwen3_0p6b_cpt_8xh100_packed", ["steps=10"]), [4, 8], [Scaling.WEAK], 1, gpu=True)
    leave_runs(given, tmp_path, per_rank=60_000)
    rows = compare(given, collect(given, tmp_path), FULL).rows
    assert all(row.planned is not None and row.planned > 20_000 for row in rows)
    assert not any(row.measured.oversubscribed for row in rows)


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weak-1-0.*is not a training run that has begun: the file is missing"):
        collect(plan([1]), tmp_path)


@pytest.mark.slow
def test_products_and_copies_are_timed_on_what_is_there() -> None:
    """Small ones: on CPUs, torch multiplies FP8 number by number."""
    shape = "model.shape={hidden: 64, ffn: 112, heads: 3, kv_heads: 1, head_dim: 32, vocab: 256}"
    recipe = load("qwen3_tiny_cpt_2xcpu", ["batch.micro_size=1", "data.seq_length=16", shape])
    found = bench_ceilings.gemm(recipe, repeats=1)
    assert [row.n for row in found.products] == [160, 64, 224, 64, 256]
    assert [row.k for row in found.products] == [64, 96, 64, 112, 64]
    assert all(row.operations == 2 * 16 * row.n * row.k and row.m == 16 for row in found.products)
    assert all(row.tflops == row.operations / row.seconds / 1e12 for row in found.products)
    small = bench_ceilings.gemm(recipe, repeats=1, fp8=True)
    assert [row.operations for row in small.products] == [row.operations for row in found.products]
    exact, rough = (bench_ceilings._product(32, 48, 64, fp8=fp8) for fp8 in (False, True))
    assert exact().shape == rough().shape == (32, 48)
    copied = bench_ceilings.copy(1, repeats=1)
    assert copied.copies["inside"] > 0
    if found.share is None:
        assert "nothing about GPUs" in found.device


def test_a_product_is_spread_over_tensor_and_context_parallel_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_ceilings, "_product", lambda *_, **__: lambda: None)
    recipe = load("qwen3_tiny_cpt_2xcpu", ["data.seq_length=16", "batch.micro_size=4"])
    split = replace(recipe, parallel=replace(recipe.parallel, tp=2, cp=2))
    whole, part = (bench_ceilings.gemm(each, repeats=1).products for each in (recipe, split))
    assert [(row.name, row.m, row.n * row.k) for row in part] == [
        (row.name, row.m / 2, row.n * row.k / 2) for row in whole
    ]
    assert [row.m for row in whole] == [64] * 5


def test_the_median_of_the_repeats_counts_and_no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now, taken = 100.0, iter([90.0, 80.0, 70.0, 1.0, 2.0, 9.0])

    def work() -> None:
        nonlocal now
        now += next(taken)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    assert bench_ceilings.timed(work, repeats=3) == 2.0
    assert next(taken, None) is None


def test_collectives_are_counted_as_nccl_tests_count_them() -> None:
    """`all_reduce_perf` on 8 ranks: 1 GB in 10 ms is an algorithm's 100 GB/s, and 175 GB/s of a link."""
    assert bench_ceilings.busbw("all_reduce", 10**9, 8, 0.01) == pytest.approx(175)
    for name in ("all_gather", "reduce_scatter"):
        assert bench_ceilings.busbw(name, 10**9, 8, 0.01) == pytest.approx(87.5)
    assert bench_ceilings.busbw("all_reduce", 10**9, 1, 0.01) == 0, "nothing is moved"
    assert bench_ceilings.elements(12.0, 3) == 3 * 10**6, "of four bytes each"
    assert bench_ceilings.elements(1.0, 3) == 249_999, "as many on each rank"
    assert bench_ceilings.elements(1e-9, 3) == 3, "at least one on each rank"


def test_a_site_takes_what_was_measured_and_keeps_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "site.json"
    bench_ceilings.site(out, {"bf16": 0.8})
    bench_ceilings.site(out, {"memory": 0.9})
    constants = read_fit(out).constants
    assert (constants.bf16, constants.memory) == (0.8, 0.9)
    with pytest.raises(UserError, match="bf16 was measured on CPU cores"):
        bench_ceilings.site(tmp_path / "none.json", {"bf16": None})
    assert not (tmp_path / "none.json").exists()
    rest = set(CONSTANT_NAMES) - {"bf16", "memory"}
    assert all(getattr(constants, name) == getattr(read_fit().constants, name) for name in rest)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_collectives_of_no_size_are_refused(size: float) -> None:
    with pytest.raises(UserError, match="sizes are"):
        bench_ceilings.nccl(2, [1.0, size], repeats=1)


def test_missing_runs_are_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdapt.bench.scaling.sample_tokens", None)  # it takes many seconds
    given = ["bench", "scaling", "--out", str(tmp_path), "--steps", "6", "--collect"]
    with pytest.raises(UserError, match="not a training run that has begun: the file is missing"):
        CliRunner().invoke(app, given, catch_exceptions=False)


@pytest.mark.slow
def test_two_worlds_are_measured_and_collectives_moved(tmp_path: Path) -> None:
    given = ["bench", "scaling", "--out", str(tmp_path / "out"), "--world", "1", "--world", "2", "--way", "strong"]
    result = CliRunner().invoke(app, [*given, "--steps", "6", "--repeats", "1", "--json"], catch_exceptions=False)
    found = json.loads(result.stdout.splitlines()[-1])
    assert [row["world"] for row in found["rows"]] == [1, 2]
    assert all(row["seconds"] > 0 and row["turns"] == 1 for row in found["rows"])
    assert read_json(tmp_path / "out" / "scaling.json")["rows"] == found["rows"]
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"scaling.html", "scaling.csv", "site.json"}
    moved = bench_ceilings.nccl(2, [1.0], repeats=2)
    assert [row.name for row in moved.collectives] == ["all_reduce", "all_gather", "reduce_scatter"]
    assert all(row.busbw > 0 for row in moved.collectives)
