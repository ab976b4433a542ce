"""The whole flow: text -> documents -> tokens -> base -> checkpoints -> Hugging Face -> merged -> scores -> report.

Each stage keeps its own manifest in its own folder of the run, so an interrupted run continues at the stage, and
within it at the place, where it stopped. What can fail is checked before the first step of training. What training
depends on stays as it is once that has begun; what comes after it may be chosen anew, and only what depends on the
choice is made again. A room is imported when its stage comes: torch would take this process to 0.8 GB beside the ranks
that train.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core import log
from ..core.errors import UserError
from ..core.integrity import check, stage_files
from ..core.manifest import Outdated, renew
from ..core.slurm import SlurmOptions
from ..core.system.lock import locked
from ..recipes.hardware import this_machine
from ..training.inputs import Inputs, check_inputs
from ..training.run.listeners import trackers
from . import preflight
from .after_training.evaluate_models import compare_tasks, evaluate_beside, run_tasks, score_models, write_report
from .after_training.export_checkpoints import export_models
from .after_training.merge_models import check_choice, choose_merge, merge_models
from .preflight import GENERAL, Base
from .prepare_text import (
    TOKENS,
    build_documents,
    build_general,
    build_run_tokens,
    build_tokenizer,
    decontaminate_documents,
    general_files,
    search_contamination,
)
from .request import (
    FittedRecipe,
    Request,
    changes,
    claim,
    read_request,
    training_began,
    write_request,
)
from .steps import Place, Step, array_part, flow_steps, step_called, write_done
from .whole_run import WholeRun, base_root, pretraining


def run_whole(request: Request, out: Path, *, verify: bool = True) -> None:
    """Run every step into `out`, and report progress on standard error.

    Raises:
        UserError: an input is unusable, or `out` holds a run whose training a change would alter.
    """
    preflight.check_request(request)
    base = preflight.read_base(request.base) if request.base else None
    with locked(out, "running into"):
        before, began = claim(out), training_began(out)
        kept = FittedRecipe.read(before).kept or None if before and began else None
        whole = WholeRun(request, out, base, hardware=this_machine(), began=began, kept=kept, verify=verify)
        _ = whole.assumed  # reports mistakes in it before the text is read
        if not began:
            write_request(request, out)
        steps = flow_steps(request)
        try:
            for step in steps:
                if not step.after_training:
                    _do(whole, step)
        except Outdated as error:
            raise _refusal(out, before.values if before else {}, request, error) from None
        write_request(request, out, FittedRecipe(whole.fitted.kept, whole.fitted.notes))
        for step in steps:
            if step.after_training:
                _do(whole, step)


def run_step(
    out: Path, name: str, *, verify: bool = True, workers: int | None = None, slurm: SlurmOptions | None = None
) -> None:
    """Do one step of the run whose request lies in `out`, as a job of a chain does.

    Args:
        out: the run's folder.
        name: of the step.
        verify: see `WholeRun`.
        workers, slurm: see `WholeRun`; of a step that works on the parts of the text.

    Raises:
        UserError: there is no such step; or ranks do it, which `pdapt launch` starts; or it has no parts to work on.
    """
    request = read_request(out)
    step = step_called(name, flow_steps(request))
    preflight.check_named(request)
    if step.place == Place.RANKS:
        raise UserError(f"the step {name} runs on ranks", where="--step", fix="submit it with `pdapt launch`")
    if (workers or slurm) and not step.divided:
        raise UserError(f"{name} has no parts that jobs could work on", where="--slurm" if slurm else "--workers")
    read_base = preflight.base_of_text if step.text else preflight.read_base
    base = read_base(request.base) if request.base else None
    whole = chained_run(request, out, base, verify=verify)
    _do(replace(whole, part=array_part(step), workers=workers, slurm=slurm), step)


def chained_run(request: Request, out: Path, base: Base | None, *, verify: bool = True) -> WholeRun:
    """A run whose steps are jobs."""
    began = training_began(out)
    return WholeRun(request, out, base, hardware=this_machine(), began=began, kept=None, verify=verify, chained=True)


def _do(whole: WholeRun, step: Step) -> None:
    WORK[step.name](whole)
    for part in range(step.parts) if whole.part is None else [whole.part]:
        write_done(step, whole.request, whole.out, part)


def _refusal(out: Path, before: dict[str, Any], request: Request, error: Outdated) -> UserError:
    """The error of a change for which training would have to begin again."""
    differing = changes(before, request) or [f"{error.out.name}: {text}" for text in error.differences]
    return UserError(
        f"{out} was trained with other options; these differ now: {'; '.join(differing)}",
        where=str(error.out),
        allowed="another --title, --t, --max-loss, --documents or --questions, and with --base another --general: "
        "training depends on none of them",
        fix="choose another --out, or give what this run began with",
    )


def _check_training(whole: WholeRun) -> None:
    """Check that everything that later steps need is there, before anything is spent on training."""
    from ..eval.report.texts import Words
    from ..scaling.predicted_speed import warn_of_local_layers

    out, fitted = whole.out, whole.fitted
    for recipe in [fitted.recipe, *([] if whole.base else [pretraining(fitted.recipe)])]:
        check_inputs(recipe, Inputs(out / TOKENS, verify=whole.verify))
        trackers.check(recipe.log)
    preflight.check_space(fitted.recipe, out, whole.base, merges=len(whole.request.t))
    english = Words.read("en")
    for note in fitted.notes:
        log.info(f"recipe: {english.remark(note)}")
    warn_of_local_layers(fitted.recipe)
    if not whole.began:
        write_request(whole.request, out, FittedRecipe(fitted.kept, fitted.notes))


def _base(whole: WholeRun) -> None:
    """The user's base as a Megatron checkpoint root, or a tiny one, trained on the general text."""
    from ..conversion.convert import import_hf
    from ..training.train import train

    out, base = whole.out / "base", whole.base
    if not whole.chained:
        _check_training(whole)
    if base is None:
        train(pretraining(whole.fitted.recipe), whole.out / TOKENS, out, verify=whole.verify)
        return
    log.info("base: importing")
    if whole.began:
        import_hf(base.folder, out, verify=whole.verify)
    else:
        renew(out, lambda _: import_hf(base.folder, out, verify=whole.verify))


def _cpt(whole: WholeRun) -> None:
    """Train."""
    from ..training.train import train

    out = whole.out
    train(whole.fitted.recipe, out / TOKENS, out / "cpt", base=base_root(whole), verify=whole.verify)


def _tasks(whole: WholeRun) -> None:
    """Make tasks from held-out documents: before training, which would be wasted without enough of them."""
    from ..eval.heldout.build_tasks import build_tasks

    request, tasks, heldout = whole.request, whole.out / "tasks", whole.out / TOKENS / "heldout"
    general = general_files(whole.text)
    check("tasks", stage_files([heldout, *general]), verify=whole.verify)
    domains = {request.domain: sorted(heldout.glob(f"{request.domain}-*.jsonl"))}
    domains |= {GENERAL: general} if general else {}
    if not domains[request.domain]:
        raise UserError(
            "no document of the domain could be held out to evaluate on",
            where=f"--valid-fraction {request.valid_fraction:g}",
            fix="give more text: four different documents of 24 words have to be held out, and the rest trained on",
        )
    check_choice(whole)
    log.info("tasks: from held-out documents")
    chosen = {"documents": request.documents, "questions": request.questions}
    renew(tasks, lambda _: build_tasks(domains, tasks, **chosen))


WORK: dict[str, Callable[[WholeRun], None]] = {
    "corpus": lambda whole: build_documents(whole.text),
    "decontaminate": lambda whole: decontaminate_documents(whole.text),
    "tokenizer": lambda whole: build_tokenizer(whole.text, whole.vocab),
    "tokens": lambda whole: build_run_tokens(whole.text, whole.vocab),
    "general": lambda whole: build_general(whole.text),
    "tasks": _tasks,
    "base": _base,
    "cpt": _cpt,
    "hf": export_models,
    "proxy": evaluate_beside,
    "merge": merge_models,
    "choose": choose_merge,
    "scores": score_models,
    "report": write_report,
    "benchmark": run_tasks,
    "contamination": lambda whole: search_contamination(whole.text),
    "comparison": compare_tasks,
}
"""Name of a step -> what it does; each reads what earlier ones left in the run's folder."""
