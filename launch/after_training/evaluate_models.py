"""Evaluate base, checkpoints and merged model: on held-out documents, on the tasks; and write the reports."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import log
from ...core.errors import Failed
from ...core.log import counted
from ...core.manifest import MANIFEST_FILE, Manifest, renew
from ..build_reports import ReportOptions, build_report, report_run
from ..hf_models import CHOICE, merged_model
from ..prepare_text import CONTAMINATION
from ..whole_run import WholeRun, base_folder
from .beside_step import work_beside
from .export_checkpoints import exported_folders

if TYPE_CHECKING:
    from ...eval.harness.backends import Limits
    from ...eval.models import Model

SCORES, PROXY = "scores", "proxy"
"""Folders of a run: the evaluation of all models, and of each checkpoint beside training."""


def _models(whole: WholeRun) -> "list[Model]":
    """Hugging Face folders: the base, every checkpoint, and the merged model, unless the rule chose none."""
    from ...eval.models import Model, Role

    merged = merged_model(whole.out, whole.request.t)
    return [
        Model("base", Role.BASE, base_folder(whole)),
        *(Model(folder.name, Role.CHECKPOINT, folder) for folder in exported_folders(whole)),
        *([merged] if merged else []),
    ]


def evaluation_limits(whole: WholeRun) -> "Limits":
    """The context window of evaluations on held-out documents: that of training."""
    from ...eval.harness.backends import Limits

    return Limits(max_length=whole.fitted.recipe.data.seq_length)


def evaluate_heldout(whole: WholeRun, models: "list[Model]", out: Path) -> Manifest:
    """Evaluate models on the held-out documents; results of the run's other evaluations are reused."""
    from ...eval.heldout.evaluate import evaluate

    limits, others = evaluation_limits(whole), [whole.out / SCORES, whole.out / CHOICE / SCORES]
    others += sorted((whole.out / PROXY).glob("*"))

    def run(outdated: Path | None) -> Manifest:
        earlier = [path for path in others if path != out and (path / MANIFEST_FILE).is_file()]
        earlier += [outdated] if outdated else []
        return evaluate(models, whole.out / "tasks", out, limits=limits, earlier=earlier, verify=whole.verify)

    return renew(out, run)


def score_models(whole: WholeRun) -> None:
    """Score every model on the held-out documents; results with other choices are kept if they still hold."""
    models = _models(whole)
    log.info(f"eval: {counted(len(models), 'model')}")
    evaluate_heldout(whole, models, whole.out / SCORES)


def evaluate_beside(whole: WholeRun) -> None:
    """Evaluate each checkpoint as it is exported, beside training; the step `scores` reuses the results.

    If the steps run one after another, `scores` does the same work, in one process of lm-eval.
    """
    from ...eval.models import Model, Role

    evaluated = set[Path]()

    def work(last: bool) -> None:
        for folder in exported_folders(whole):
            if (folder / MANIFEST_FILE).is_file() and (last or folder not in evaluated):
                model = Model(folder.name, Role.CHECKPOINT, folder)
                evaluate_heldout(whole, [model], whole.out / PROXY / folder.name)
                evaluated.add(folder)

    if whole.chained:
        work_beside(whole, "hf", work)


def write_report(whole: WholeRun) -> None:
    """Write the report."""
    log.info("report")
    renew(whole.out / "report", lambda _: report_run(whole.out, whole.out / "report"))


def run_tasks(whole: WholeRun) -> None:
    """Evaluate base, last checkpoint and merged model on the tasks, or on one of them."""
    from ...eval.benchmark.results_folder import leave_out_other_merges
    from ...eval.benchmark.run import BenchmarkSettings, run_benchmark
    from ...eval.harness.backends import Limits
    from ...eval.models import Role
    from ...eval.tasks.select_tasks import select_tasks

    asked = whole.request.benchmark
    assert asked is not None
    every = select_tasks(asked.tasks)
    tasks = every if whole.part is None else [every[whole.part]]
    models = _models(whole)
    base, last = (
        next(model for model in reversed(models) if model.role == role) for role in (Role.BASE, Role.CHECKPOINT)
    )
    merged = [_named_by_point(model, whole.request.t) for model in models if model.role == Role.MERGED]
    settings = BenchmarkSettings(limits=Limits(asked.limit))
    chosen, out = [base, last, *merged], whole.out / "benchmark"
    data = Path(asked.data) if asked.data else None
    outcome = run_benchmark(chosen, tasks, data, out, settings=settings, verify=whole.verify)
    if others := leave_out_other_merges(out, chosen):
        log.info(f"benchmark: results of earlier choices are kept but not compared: {', '.join(others)}")
    if outcome.elsewhere:
        raise Failed(
            f"another process is evaluating {', '.join(outcome.elsewhere)}; run the step again when it has finished"
        )


def _named_by_point(merged: "Model", points: list[float]) -> "Model":
    """A merged model, named after its t: results of several t lie in one folder."""
    t = f"{points[0]:g}" if len(points) == 1 else merged.name.removeprefix("t")
    return replace(merged, name=f"merged-{t}")


def compare_tasks(whole: WholeRun) -> None:
    """Write the report on the tasks."""
    from ...data_prep.decontaminate.decontaminate import QUESTIONS

    out, results = whole.out / "comparison", str(whole.out / "benchmark")
    options = ReportOptions(test="holm", contaminated=whole.out / CONTAMINATION / QUESTIONS)
    renew(out, lambda _: build_report([results], out, options))
