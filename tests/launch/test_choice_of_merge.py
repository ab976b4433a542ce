"""A sweep within a run of all stages: the merges, the choice of one of them, and what comes of it afterwards."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import sha256, write_json
from pdapt.core.manifest import MANIFEST_FILE, Manifest, run_stage
from pdapt.eval.benchmark.results_folder import PLAN_FILE, Member, Plan
from pdapt.eval.benchmark.run import Outcome
from pdapt.eval.models import Model, Role
from pdapt.eval.scores import SCORES_FILE, Comparison, Score, Scores
from pdapt.launch import preflight
from pdapt.launch.build_reports import summary
from pdapt.launch.hf_models import merged_model
from pdapt.launch.pipeline import run_step
from pdapt.launch.request import Request, TaskRuns, write_request
from pdapt.launch.score_models import resolve
from pdapt.merge.run import merge

Maker = Callable[..., Path]
REQUEST = Request("title", "medical", [], t=[0.25, 0.75], benchmark=TaskRuns("data", ["FR-MEDICAL"]))
CHANGES = {"t0.25": (-0.05, 0.001), "t0.75": (-0.09, 0.2), "cpt-00004": (-0.2, 0.4)}
"""Model -> change in nats a byte: medical, general."""


class Evaluations:
    """A stand-in for evaluations on held-out documents, with scores that are made up."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[str]]] = []
        self.changes = dict(CHANGES)

    def __call__(self, models: list[Model], _: Path, out: Path, *, earlier: Sequence[Path], **__: object) -> Manifest:
        names = [model.name for model in models]
        self.asked.append((names, sorted(path.parent.name for path in earlier)))
        rows = [
            Comparison(name, base, f"task_{domain}", domain, metric, d, 1e-4, d - 2e-4, d + 2e-4, 0.0, 0.0, 50)
            for base in ("base", "cpt-00004")
            for name in names
            if name != base
            for metric in ("byte_perplexity", "acc")
            for domain, d in zip(("medical", "general"), self.changes.get(name, (0, 0)), strict=True)
        ]
        scores = [
            Score(name, f"task_{domain}", domain, "", metric, 3.0, 0.1, 50, 1000)
            for name in names
            for domain in ("medical", "general")
            for metric in ("byte_perplexity", "acc")
        ]
        made = Scores([(model.name, model.role) for model in models], scores, rows)

        def body(work: Path) -> dict[str, Any]:
            write_json(work / SCORES_FILE, made.to_json())
            return {"prompts": 1, "prompts_cut": 0}

        return run_stage("eval", {}, {"models": names, "changes": str(self.changes)}, out, body)


@pytest.fixture
def run(tiny_qwen3: Maker, tmp_path: Path) -> Path:
    """A run with base and one checkpoint, exported."""
    out = tmp_path / "run"
    write_request(REQUEST, out)
    for seed, name in enumerate(("base", "cpt-00004")):
        shutil.copytree(tiny_qwen3(seed, dtype="bfloat16"), out / "hf" / name)
    checkpoint = out / "cpt/checkpoints/iter_0000004"
    checkpoint.mkdir(parents=True)
    (checkpoint / "metadata.json").touch()
    return out


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    stand_in = Evaluations()
    monkeypatch.setattr("pdapt.eval.heldout.evaluate.evaluate", stand_in)
    monkeypatch.setattr("pdapt.eval.statistics.tradeoff.draw_twice", lambda *_: None)  # another test draws it
    return stand_in


@pytest.mark.slow
def test_the_merges_are_those_of_one_by_one_and_the_rule_takes_one(
    run: Path,
    evaluations: Evaluations,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_step(run, "merge")
    for t in REQUEST.t:
        merge(run / "hf/base", run / "hf/cpt-00004", tmp_path / f"t{t}", t=t)
        made = run / f"merges/t{t}/model.safetensors"
        assert sha256(made) == sha256(tmp_path / f"t{t}/model.safetensors")
    run_step(run, "choose")
    assert merged_model(run, REQUEST.t) == Model("t0.25", Role.MERGED, run / "merges/t0.25"), "t0.75 loses too much"
    run_step(run, "scores")
    assert evaluations.asked == [
        (["base", "t0.25", "t0.75", "cpt-00004"], []),
        (["base", "cpt-00004", "t0.25"], ["choice"]),
    ], "what was evaluated for the choice is not evaluated again"
    sentences = summary(run)[1]
    assert any(sentence.startswith("Proposed: t0.25.") for sentence in sentences)
    assert any("at most 1 %" in sentence for sentence in sentences)
    assert [model.name for model in resolve([str(run)], run / "exports")] == ["base", "cpt-00004", "t0.25"]

    asked: list[list[str]] = []
    monkeypatch.setattr(
        "pdapt.eval.benchmark.run.run_benchmark",
        lambda models, *_, **__: asked.append([model.name for model in models]) or Outcome([], []),
    )
    done = [Member(name, Role(role)) for name, role in (("base", "base"), ("cpt-00002", "checkpoint"))]
    earlier, chosen = Member("merged-0.75", Role.MERGED), Member("merged-0.25", Role.MERGED)
    write_json(run / "benchmark" / PLAN_FILE, Plan([*done, earlier, chosen], ["mmlu_anatomy"], {}).to_json())
    run_step(run, "benchmark")
    assert asked == [["base", "cpt-00004", "merged-0.25"]]
    assert Plan.read(run / "benchmark").models == [*done, chosen], "the merge of an earlier choice is not compared"
    assert "results of earlier choices are kept but not compared: merged-0.75" in capsys.readouterr().err


@pytest.mark.slow
def test_another_limit_chooses_anew_and_where_no_merge_is_good_none_is_judged(
    run: Path, evaluations: Evaluations
) -> None:
    for step in ("merge", "choose", "scores"):
        run_step(run, step)
    write_request(replace(REQUEST, max_loss=30.0), run)
    made = (run / f"merges/t0.25/{MANIFEST_FILE}").stat().st_mtime_ns
    for step in ("merge", "choose", "scores"):
        run_step(run, step)
    assert (run / f"merges/t0.25/{MANIFEST_FILE}").stat().st_mtime_ns == made
    assert evaluations.asked[-1] == (["base", "cpt-00004", "t0.75"], ["choice", "run"])
    for proposed, changes in (("base", {"t0.25": (0.1, 0.0), "t0.75": (0.1, 0.0)}), ("cpt-00004", {})):
        evaluations.changes = {**CHANGES, "t0.25": (-0.01, 0.0), "t0.75": (-0.01, 0.0), **changes}
        evaluations.changes |= {"cpt-00004": (-0.2, 0.0)} if proposed != "base" else {}
        shutil.rmtree(run / "choice")
        run_step(run, "choose")
        assert merged_model(run, REQUEST.t) is None
        assert any(f"Proposed: {proposed}" in sentence for sentence in summary(run)[1])
        run_step(run, "scores")
        assert evaluations.asked[-1][0] == ["base", "cpt-00004"]


def test_a_sweep_that_no_rule_can_judge_is_refused(tmp_path: Path) -> None:
    own = replace(REQUEST, base="base", recipe="qwen3_tiny_cpt_2xcpu")
    for request, message in (
        (replace(own, general=["none"]), "no rule|a rule chooses"),
        (replace(own, t=[0.5, 0.5]), "given twice"),
        (replace(own, t=[0.5, 1.5]), "t is 1.5"),
        (replace(own, max_loss=-1.0), "--max-loss is -1.0"),
    ):
        with pytest.raises(UserError, match=message):
            preflight.check_request(request)
    preflight.check_request(own)
