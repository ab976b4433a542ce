"""The steps of a flow: their order, what depends on what, and which are done."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import Failed, UserError
from pdapt.core.files import sha256, write_json
from pdapt.core.manifest import Manifest, run_stage
from pdapt.core.slurm import SlurmOptions
from pdapt.eval.benchmark.results_folder import PLAN_FILE
from pdapt.eval.benchmark.run import Outcome
from pdapt.eval.report.benchmark_report import BenchmarkReportOptions
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.launch.pipeline import WORK, run_step
from pdapt.launch.request import Request, TaskRuns, read_request, write_request
from pdapt.launch.steps import (
    Place,
    Step,
    array_part,
    depending,
    flow_steps,
    is_done,
    parts_left,
    read_done,
    step_called,
    steps_to_do,
    write_done,
)

OWN = Request("title", "medical", ["notes.jsonl"], base="Qwen3-0.6B-Base", recipe="qwen3_tiny_cpt_2xcpu")
TINY = Request("title", "medical", [])
SWEEP = replace(TINY, t=[0.3, 0.6], max_loss=2.0, benchmark=TaskRuns("benchmark"))
CLEAN = replace(OWN, decontaminate="benchmark", benchmark=TaskRuns("benchmark"))
REQUESTS = [OWN, replace(OWN, general=["none"]), TINY, SWEEP, CLEAN, replace(TINY, benchmark=TaskRuns("benchmark"))]
OTHERS = [
    replace(
        OWN,
        profile="paper",
        duplicates="near",
        mask=["all"],
        topics="x",
        max_rejected=0.5,
        edition="strict",
        overrides=["steps=3"],
        parts=4,
        jobs=2,
    )
]


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


def finish(request: Request, run: Path) -> None:
    """Leave what every step leaves."""
    write_request(request, run)
    for step in flow_steps(request):
        for folder in step.outputs:
            (run / folder).mkdir(parents=True, exist_ok=True)
            Manifest("stage", {}, {}, {}, {}).write(run / folder)
        for part in range(step.parts):
            write_done(step, request, run, part)


@pytest.mark.parametrize("request_", REQUESTS)
def test_every_step_comes_after_those_it_needs_and_has_its_work(request_: Request) -> None:
    steps = flow_steps(request_)
    for number, step in enumerate(steps):
        assert set(step.needs) <= set(names(steps[:number])), step
    assert set(names(steps)) <= set(WORK)
    assert [step.after_training for step in steps] == sorted(step.after_training for step in steps)
    assert set(names(steps[: names(steps).index("cpt")])) == {
        step.name for step in steps if "cpt" in names(depending(step.name, steps))
    }, "training waits for all that comes before it"
    after = {step.name for step in steps if step.after_training}
    assert after == set(names(depending("cpt", steps))) | ({"contamination"} & set(names(steps)))


def test_all_work_belongs_to_a_step() -> None:
    assert set(WORK) == {name for request in REQUESTS for name in names(flow_steps(request))}


def test_a_step_of_another_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'tokens'"):
        step_called("token", flow_steps(OWN))
    write_request(TINY, tmp_path)
    with pytest.raises(UserError, match="runs on ranks"):
        run_step(tmp_path, "cpt")
    with pytest.raises(UserError, match="report has no parts"):
        run_step(tmp_path, "report", slurm=SlurmOptions(time="1:00:00"))
    with pytest.raises(UserError, match="there are no tasks to work on"):
        run_step(tmp_path, "corpus", workers=2)


@pytest.mark.slow
def test_steps_that_make_text_load_no_torch(tmp_path: Path, tiny_qwen3: Callable[..., Path]) -> None:
    """Nor do they look at the base's weights; the tokens are of its tokenizer."""
    base = tiny_qwen3()
    (base / "model.safetensors").unlink()
    for name in ("domain", "general"):
        rows = (json.dumps({"text": f"{name} : le patient {number} reçoit {number} mg."}) for number in range(40))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    paths = [str(tmp_path / f"{name}.jsonl") for name in ("domain", "general")]
    asked = replace(OWN, data=paths[:1], general=paths[1:], base=str(base), valid_fraction=0.2)
    write_request(asked, tmp_path / "run")
    steps = [step.name for step in flow_steps(asked) if step.text]
    assert steps == ["corpus", "tokens", "general"]
    code = (
        "import sys; from pathlib import Path; from pdapt.launch.pipeline import run_step\n"
        f"for name in {steps}:\n"
        f"    run_step(Path({str(tmp_path / 'run')!r}), name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "tokens" / "tokens.json").read_text())
    assert record["tokenizer_sha256"] == sha256(base / "tokenizer.json")
    assert {step.name for step in steps_to_do(asked, tmp_path / "run")}.isdisjoint(steps)


def test_a_finished_run_leaves_nothing_to_do_and_a_change_only_what_depends_on_it(tmp_path: Path) -> None:
    assert names(steps_to_do(OWN, tmp_path)) == names(flow_steps(OWN))
    finish(OWN, tmp_path)
    assert steps_to_do(OWN, tmp_path) == []
    assert names(steps_to_do(replace(OWN, title="other"), tmp_path)) == ["report"]
    assert steps_to_do(replace(OWN, parts=8, jobs=4), tmp_path) == []
    assert names(steps_to_do(replace(OWN, t=[0.3]), tmp_path)) == ["merge", "scores", "report"]
    judged = ["general", "tasks", "proxy", "scores", "report"]
    assert names(steps_to_do(replace(OWN, general=["x.jsonl"]), tmp_path)) == judged
    assert names(steps_to_do(replace(OWN, general=["none"]), tmp_path)) == judged[1:]
    assert names(steps_to_do(replace(OWN, data=["other.jsonl"]), tmp_path))[0] == "corpus"


def test_another_point_of_a_sweep_is_merged_and_chosen_among_and_another_limit_chosen_by(tmp_path: Path) -> None:
    finish(SWEEP, tmp_path)
    after = ["choose", "scores", "report", "benchmark", "comparison"]
    assert names(steps_to_do(replace(SWEEP, t=[0.3, 0.6, 0.9]), tmp_path)) == ["merge", *after]
    assert names(steps_to_do(replace(SWEEP, max_loss=5.0), tmp_path)) == after
    assert names(steps_to_do(replace(SWEEP, title="other"), tmp_path)) == ["report"]
    (tmp_path / "merges/t0.6/manifest.json").unlink()
    assert names(steps_to_do(SWEEP, tmp_path)) == ["merge", *after]
    assert names(steps_to_do(replace(SWEEP, t=[0.3]), tmp_path)) == ["merge", *after[1:]]


def test_a_step_whose_folder_or_note_is_gone_is_not_done(tmp_path: Path) -> None:
    finish(TINY, tmp_path)
    (tmp_path / "hf/merged/manifest.json").unlink()
    assert names(steps_to_do(TINY, tmp_path)) == ["merge", "scores", "report"]
    finish(TINY, tmp_path)
    note = next(tmp_path.glob(".steps/scores.json"))
    note.write_text(note.read_text()[:9])
    assert names(steps_to_do(TINY, tmp_path)) == ["scores", "report"]
    finish(TINY, tmp_path)
    (tmp_path / "cpt/manifest.json").unlink()
    assert names(steps_to_do(TINY, tmp_path)) == ["cpt", "hf", "proxy", "merge", "scores", "report"]


def test_training_is_done_where_its_manifest_is_whatever_was_noted(tmp_path: Path) -> None:
    finish(TINY, tmp_path)
    for name in ("base", "cpt"):
        (tmp_path / f".steps/{name}.json").unlink()
    assert steps_to_do(TINY, tmp_path) == []
    assert {step.name for step in flow_steps(TINY) if step.place == Place.RANKS} == {"base", "cpt"}
    assert not is_done(step_called("base", flow_steps(OWN)), OWN, tmp_path), "an import is noted"


@pytest.mark.parametrize("request_", [*REQUESTS, *OTHERS])
def test_a_request_is_read_as_it_was_written(request_: Request, tmp_path: Path) -> None:
    write_request(request_, tmp_path)
    assert read_request(tmp_path) == request_


def test_a_step_in_parts_is_done_when_all_of_them_are(tmp_path: Path) -> None:
    request = replace(TINY, benchmark=TaskRuns("benchmark", ["FR-MEDICAL"]))
    step = step_called("benchmark", flow_steps(request))
    assert step_called("benchmark", flow_steps(REQUESTS[-1])).parts == 28
    finish(request, tmp_path)
    assert is_done(step, request, tmp_path)
    (tmp_path / ".steps/benchmark-3.json").unlink()
    assert parts_left(step, request, tmp_path) == [3]
    assert names(steps_to_do(request, tmp_path)) == ["benchmark", "comparison"]
    other = replace(request, benchmark=TaskRuns("benchmark", ["FR-MEDICAL"], limit=5))
    assert parts_left(step, other, tmp_path) == list(range(step.parts))
    finish(request, tmp_path)
    assert names(steps_to_do(replace(request, title="other"), tmp_path)) == ["report"]
    assert names(steps_to_do(other, tmp_path)) == ["contamination", "benchmark", "comparison"]


def test_training_and_the_search_for_questions_follow_what_is_left_out(tmp_path: Path) -> None:
    steps = flow_steps(CLEAN)
    assert names(steps)[:3] == ["corpus", "decontaminate", "tokens"]
    assert step_called("tokens", steps).needs == step_called("contamination", steps).needs == ("decontaminate",)
    finish(CLEAN, tmp_path)
    assert names(steps_to_do(CLEAN, tmp_path)) == []
    assert names(steps_to_do(replace(CLEAN, decontaminate="other"), tmp_path))[1:3] == ["decontaminate", "tokens"]


def test_a_job_of_an_array_does_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_called("benchmark", flow_steps(REQUESTS[-1]))
    assert array_part(step) is None
    for text, part in (("0", 0), ("27", 27), ("", None), ("x", None)):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", text)
        assert array_part(step) == part
        assert array_part(step_called("merge", flow_steps(TINY))) is None
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "28")
    with pytest.raises(UserError, match="SLURM_ARRAY_TASK_ID is 28"):
        array_part(step)


def test_each_part_of_the_tasks_is_one_task_on_three_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluation itself, which has tests of its own, is left out."""
    asked: list[tuple[list[str], list[str], Path, int | None]] = []

    def run_benchmark(models: Any, tasks: Any, data: Path, out: Path, settings: Any, *, verify: bool) -> Outcome:
        assert verify
        assert out == tmp_path / "benchmark"
        asked.append(([model.name for model in models], [task.name for task in tasks], data, settings.limits.questions))
        return Outcome([], ["base/x"] if len(asked) == 3 else [])

    monkeypatch.setattr("pdapt.eval.benchmark.run.run_benchmark", run_benchmark)
    for step in (20, 40):
        folder = tmp_path / f"cpt/checkpoints/iter_{step:07d}"
        folder.mkdir(parents=True)
        (folder / "metadata.json").touch()
    request = replace(TINY, t=[0.3], benchmark=TaskRuns("data", ["FR-MEDICAL"], limit=5))
    step = step_called("benchmark", flow_steps(request))
    write_request(request, tmp_path)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    run_step(tmp_path, "benchmark")
    assert parts_left(step, request, tmp_path) == [0, *range(2, step.parts)]
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    run_step(tmp_path, "benchmark")
    assert parts_left(step, request, tmp_path) == []
    every = [task.name for task in choose_tasks(["FR-MEDICAL"])]
    models = ["base", "cpt-00040", "merged-0.3"]
    assert asked == [(models, every[1:2], Path("data"), 5), (models, every, Path("data"), 5)]
    with pytest.raises(Failed, match="another process is evaluating base/x"):
        run_step(tmp_path, "benchmark")


def test_the_comparison_is_the_report_on_the_tasks_and_follows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report itself, which has tests of its own, is left out."""
    asked: list[BenchmarkReportOptions] = []

    def build(options: BenchmarkReportOptions, out: Path) -> Manifest:
        asked.append(options)
        return run_stage("report", {"plan": tmp_path / "benchmark" / PLAN_FILE}, {}, out, lambda _: {})

    monkeypatch.setattr("pdapt.eval.report.benchmark_report.build_benchmark_report", build)
    request = replace(TINY, benchmark=TaskRuns("data"))
    write_request(request, tmp_path)
    with pytest.raises(UserError, match="holds nothing that a report can be made from"):
        run_step(tmp_path, "comparison")
    for models in ("base", "base and merged-0.3"):
        write_json(tmp_path / "benchmark" / PLAN_FILE, {"models": models})
        run_step(tmp_path, "comparison")
    assert is_done(step_called("comparison", flow_steps(request)), request, tmp_path)
    contaminated = tmp_path / "contamination" / "contaminated.jsonl"
    assert {(str(options.folders["benchmark"]), options.test, options.contaminated) for options in asked} == {
        (str(tmp_path / "benchmark"), "holm", contaminated)
    }
    assert Manifest.read(tmp_path / "comparison").inputs["plan"] == sha256(tmp_path / "benchmark" / PLAN_FILE)


def test_fuzz_done(fuzz: Callable[..., None], tmp_path: Path) -> None:
    finish(TINY, tmp_path)
    fuzz(tmp_path / ".steps/scores.json", lambda: read_done(step_called("scores", flow_steps(TINY)), tmp_path))
