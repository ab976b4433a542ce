"""The verbs under `pdapt merge`: exports on the way, a curve from a sweep to a proposal."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pdapt.bench.merge import Comparison, Difference, differences, make_model
from pdapt.bench.resident_memory import wait_and_watch
from pdapt.cli.main import app
from pdapt.conversion.convert import import_hf
from pdapt.core.errors import UserError
from pdapt.core.files import sha256, write_json
from pdapt.core.qwen3 import Qwen3Config
from pdapt.eval.benchmark.run import BenchmarkSettings
from pdapt.eval.models import Model, Role
from pdapt.eval.statistics.tradeoff import TRADEOFF_FILE, Change, Point, Tradeoff
from pdapt.eval.tasks.suite import SUITE
from pdapt.launch import choose_merge
from pdapt.launch.hf_models import as_hf, is_checkpoint
from pdapt.merge.run import average, merge
from pdapt.merge.sweep import sweep

Maker = Callable[..., Path]


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["merge", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def same(first: Path, second: Path) -> bool:
    one, other = (load_file(folder / "model.safetensors") for folder in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_megatron_checkpoint_is_exported_and_merged(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    import_hf(tuned, tmp_path / "root")
    assert is_checkpoint(tmp_path / "root")
    assert is_checkpoint(tmp_path / "root" / "release")
    assert not is_checkpoint(base)
    assert as_hf(base, tmp_path / "x") == base
    found = json.loads(run("run", base, tmp_path / "root", tmp_path / "merged", "--t", "0.3", "--json"))
    merge(base, tuned, tmp_path / "expected", t=0.3)
    assert same(tmp_path / "merged", tmp_path / "expected")
    assert found["config"] == {"method": "slerp", "t": 0.3}
    assert not [path.name for path in tmp_path.iterdir() if "merged" in path.name and path.name != "merged"]
    assert "t0.25" in run("sweep", base, tmp_path / "root" / "release", tmp_path / "points", "--t", "0.25")
    sweep(base, tuned, tmp_path / "expected-points", [0.25])
    assert same(tmp_path / "points" / "t0.25", tmp_path / "expected-points" / "t0.25")
    run("average", base, tmp_path / "root", "--decay", "0.75", "--out", tmp_path / "points" / "ema")
    average([base, tuned], tmp_path / "expected-ema", decay=0.75)
    assert same(tmp_path / "points" / "ema", tmp_path / "expected-ema")


def test_a_mistake_is_said_before_a_checkpoint_is_exported(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    import_hf(tuned, tmp_path / "root")
    before = sorted(tmp_path.rglob("*"))
    for arguments in (["run", "--method", "slurp"], ["run", "--density", "0.5"], ["sweep", "--t", "2"]):
        verb, *options = arguments
        with pytest.raises(UserError):
            run(verb, base, tmp_path / "root", tmp_path / "out", *options)
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def heldout(folder: Path, domain: str, words: str) -> str:
    folder.mkdir(parents=True)
    rows = [
        {"text": " ".join(f"{words} {n * 7 % 13} {k}" for k in range(6)), "doc_id": str(n), "source": domain}
        for n in range(8)
    ]
    (folder / f"{domain}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return f"{domain}={folder}"


@pytest.mark.slow
def test_a_curve_from_a_sweep_and_an_average(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    points = tmp_path / "points"
    run("sweep", base, tuned, points, "--t", "0.25:0.75:0.25")
    run("average", base, tuned, "--out", points / "uniform")
    options = ["--max-length", 128, "--max-loss", 50, "--out", tmp_path / "choice"]
    for domain, words in (("medical", "le patient reçoit une dose"), ("general", "la ville compte une gare")):
        options += ["--heldout", heldout(tmp_path / domain, domain, words)]
    text = run("choose", base, tuned, points, *options)
    found = json.loads((tmp_path / "choice/curve/tradeoff.json").read_text(encoding="utf-8"))
    names = [point["model"] for point in found["points"]]
    assert names == ["base", "t0.25", "t0.5", "t0.75", "uniform", "tuned"]
    best = min((p for p in found["points"] if p["general_bound"] <= 50), key=lambda p: p["domain"]["value"])
    assert found["proposed"] == best["model"]
    assert f"Proposed: {best['model']}" in text
    scores = json.loads((tmp_path / "choice/scores/scores.json").read_text(encoding="utf-8"))
    values = {
        s["model"]: s["value"]
        for s in scores["scores"]
        if (s["domain"], s["metric"], s["source"]) == ("medical", "byte_perplexity", "")
    }
    for point in found["points"]:
        change = 100 * (values[point["model"]] / values["base"] - 1)
        assert point["domain"]["value"] == pytest.approx(change, abs=1e-6)
    written = sha256(tmp_path / "choice/curve/tradeoff-light.png")
    assert json.loads(run("choose", base, tuned, points, *options, "--json"))["proposed"] == best["model"]
    assert sha256(tmp_path / "choice/curve/tradeoff-light.png") == written


def test_tasks_are_done_by_what_the_choice_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base, the tuned model, and the point, unless it is one of them."""
    asked: list[list[Model]] = []
    monkeypatch.setattr(choose_merge, "run_benchmark", lambda models, *_, **__: asked.append(models))
    names, none = ("t0.5", "tuned", "base"), Change(0.0, 0.0, 0.0)
    points = [Point(name, none, none, general_bound=0.0, allowed=True, pareto=True) for name in names]
    for proposed in names:
        tradeoff = Tradeoff("", "medical", "general", proposed, points)
        write_json(tmp_path / "choice/curve" / TRADEOFF_FILE, tradeoff.to_json())
        paths = [tmp_path / name for name in ("base", "tuned", "points", "choice")]
        choose_merge.run_tasks(*paths, data=tmp_path, tasks=[*SUITE], settings=BenchmarkSettings())
    parents = [Model("base", Role.BASE, tmp_path / "base"), Model("tuned", Role.CHECKPOINT, tmp_path / "tuned")]
    assert asked == [[*parents, Model("t0.5", Role.MERGED, tmp_path / "points/t0.5")], parents, parents]


def test_tasks_are_refused_before_the_choice(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    sweep(base, tuned, tmp_path / "points", [0.5])
    options = ["--out", tmp_path / "choice", "--heldout", heldout(tmp_path / "general", "general", "un texte")]
    with pytest.raises(UserError, match="mmlu_med_fr_anatomy needs the tasks' data"):
        run("choose", base, tuned, tmp_path / "points", *options, "--tasks", "FR-MEDICAL")
    with pytest.raises(UserError, match="data are missing"):
        run("choose", base, tuned, tmp_path / "points", *options, "--data", tmp_path / "gone")
    assert not (tmp_path / "choice").exists()


def test_points_of_other_parents_have_no_curve(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned, other = (tiny_qwen3(seed) for seed in range(3))
    sweep(base, tuned, tmp_path / "points", [0.5])
    options = ["--out", tmp_path / "choice"]
    for domain in ("medical", "general"):
        options += ["--heldout", heldout(tmp_path / domain, domain, "un texte")]
    with pytest.raises(UserError, match=r"t0.5 was made from another tuned model"):
        run("choose", base, other, tmp_path / "points", *options)
    with pytest.raises(UserError, match="there are no merged models here"):
        run("choose", base, tuned, base, *options)
    assert not (tmp_path / "choice").exists()


def test_the_benchmark_tells_models_apart(tmp_path: Path) -> None:
    shape = Qwen3Config(2, 64, 160, 4, 2, 16, 256, tied=True)
    for seed, name in enumerate(("base", "tuned")):
        make_model(shape, tmp_path / name, seed)
    found = differences(tmp_path / "base", tmp_path / "base")
    assert found == Difference(shape.parameters, differing=0, ulps=0)
    other = differences(tmp_path / "base", tmp_path / "tuned")
    # A fifth of the tensors is the same in both, the others stray.
    assert 0 < other.differing < other.values
    assert other.ulps > 1
    near, far = ({"0.1": Difference(10, differing=1, ulps=ulps)} for ulps in (1, 2))
    good = Comparison([], times_one_merge=1.5, equality=near, ends={"base": True})
    assert good.passes()
    for wrong in ({"times_one_merge": 2.1}, {"equality": far}, {"ends": {"base": False}}):
        assert not replace(good, **wrong).passes()


def test_the_benchmarks_tensors_are_equal_parallel_near_or_unlike(tmp_path: Path) -> None:
    """SLERP takes tensors whose cosine is above 0.9995 for parallel, and mixes them linearly."""

    def kind(one: torch.Tensor, other: torch.Tensor) -> str:
        cosine = torch.cosine_similarity(one.double().flatten(), other.double().flatten(), 0)
        bounds = {"parallel": (0.9995, 1.1), "near": (0.9, 0.9995), "unlike": (-0.5, 0.5)}
        names = [name for name, (low, high) in bounds.items() if low < cosine < high]
        return "equal" if torch.equal(one, other) else "".join(names)

    shape = Qwen3Config(2, 64, 160, 4, 2, 16, 256, tied=True)
    for seed, name in enumerate(("base", "tuned")):
        make_model(shape, tmp_path / name, seed)
    base, tuned = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "tuned"))
    assert {kind(base[name], tuned[name]) for name in base} == {"equal", "parallel", "near", "unlike"}


def test_a_sweep_of_the_benchmarks_models_is_mergekits(tmp_path: Path) -> None:
    shape = Qwen3Config(2, 64, 160, 4, 2, 16, 256, tied=True)
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    make_model(shape, base, 0)
    make_model(shape, tuned, 1)
    sweep(base, tuned, tmp_path / "sweep", [0.1])
    merge(base, tuned, tmp_path / "mergekit", t=0.1)
    assert differences(tmp_path / "sweep" / "t0.1", tmp_path / "mergekit").ulps <= 1


def test_memory_is_the_childs_and_not_that_of_who_started_it() -> None:
    held = bytearray(b"x") * 400_000_000  # more than the child has
    sleep = [sys.executable, "-c", "import time; time.sleep(0.3)"]
    child = subprocess.Popen(sleep, preexec_fn=lambda: None)
    assert 2 * 10**6 < wait_and_watch(child, "VmHWM") < 100 * 10**6 < len(held)
    assert child.returncode == 0
