"""The whole way once: text -> documents -> tokens -> base -> checkpoints -> Hugging Face -> merged -> scores -> report.

Each stage keeps its own manifest in its own folder of the run, so a run that was interrupted goes on at the stage, and
within it at the place, where it stopped. What can fail is checked before the first step of training. What training
depends on stays as it is once that has begun; what comes after it may be chosen anew, and only what depends on the
choice is made again. A room is imported when its stage comes: torch would take this process to 0.8 GB beside the ranks
that train.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import log
from ..core.checkpoint import CHECKPOINTS
from ..core.errors import Failed, UserError
from ..core.integrity import check, stage_files
from ..core.log import counted
from ..core.manifest import Outdated, renew
from ..core.system.lock import locked
from ..recipes.fit_to_machine import ASSUMED, Fitted, before_text, fit, published
from ..recipes.hardware import Hardware, this_machine
from ..recipes.load import load
from ..recipes.schema import Part, Recipe, Shape, shape_of
from ..recipes.validate import validate
from ..training.inputs import Inputs, check_inputs
from ..training.run.folder import checkpoints, iteration
from ..training.run.listeners import trackers
from . import preflight
from .build_reports import ReportOptions, build_report, report_run
from .preflight import GENERAL, Base
from .prepare_text import (
    TOKENS,
    TextBuild,
    build_documents,
    build_general,
    build_run_tokens,
    build_tokenizer,
    general_files,
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
from .run_defaults import CPT, PRETRAIN
from .steps import Place, Step, array_part, flow_steps, step_called, write_done

if TYPE_CHECKING:
    from ..eval.models import Model


@dataclass(frozen=True)
class WholeRun:
    """A run of the whole.

    Attributes:
        request: what it is asked for.
        out: its folder.
        base: the user's, checked; None where a tiny one is trained.
        hardware: of this machine.
        began: whether something has been trained; from then on, what training depends on stays as it is.
        kept: what a run that began keeps of its fitted recipe.
        verify: whether each stage compares what it reads with the hashes that were written with it.
        chained: whether each step is a job of its own: training is another machine's, and its recipe is not fitted.
        part: of a step that is divided, the one that this process does; None for all.
    """

    request: Request
    out: Path
    base: Base | None
    hardware: Hardware
    began: bool
    kept: dict[str, int] | None
    verify: bool = True
    chained: bool = False
    part: int | None = None

    @cached_property
    def assumed(self) -> Recipe:
        """The recipe before the text is known."""
        return _recipe(self, ASSUMED, ASSUMED).recipe

    @cached_property
    def fitted(self) -> Fitted:
        """The recipe that is trained, once there are tokens."""
        return _recipe(self, *_sequences(self, self.out / TOKENS))

    @property
    def text(self) -> TextBuild:
        """The run as those see it who make its text."""
        return TextBuild(self.request, self.base, self.out, fresh=not self.began)


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
        _ = whole.assumed  # what is wrong with it is said before the text is read
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


def run_step(out: Path, name: str, *, verify: bool = True) -> None:
    """Do one step of the run whose request lies in `out`, as a job of a chain does.

    Raises:
        UserError: there is no such step, or ranks do it, which `pdapt launch` starts.
    """
    request = read_request(out)
    step = step_called(name, flow_steps(request))
    preflight.check_named(request)
    if step.place == Place.RANKS:
        raise UserError(f"{name} is done by ranks", where="--step", fix="`pdapt launch` writes its job")
    base = preflight.read_base(request.base) if request.base else None
    whole = chained_run(request, out, base, verify=verify)
    _do(replace(whole, part=array_part(step)), step)


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
        f"{out} has been trained by another request; these options differ now: {'; '.join(differing)}",
        where=str(error.out),
        allowed="another --title, --t, --documents or --questions, and with --base another --general: training depends "
        "on none of them",
        fix="choose another --out, or give what this run began with",
    )


def _recipe(whole: WholeRun, sequences: float, valid: float) -> Fitted:
    """The recipe of the continued pre-training, checked for this machine.

    With a base of the user's and no recipe it is the published one, fitted; with both, the recipe with the base's
    shape, as it is.
    """
    request, base = whole.request, whole.base
    if base is not None and request.recipe is None:
        keys, hardware = published(base.shape, base.dtype), whole.hardware
        fitted = fit(keys, request.overrides, sequences, hardware, kept=whole.kept, valid=valid)
    else:
        fitted = Fitted(_given(request, base), {}, [f"{request.recipe or CPT}, as it is"])
    if not whole.chained:
        preflight.check_machine(fitted.recipe, whole.hardware)
    if base is None:
        preflight.check_untrained(fitted.recipe)
    else:
        preflight.check_saved(base, fitted.recipe)
    notes = [f"set by you: {' '.join(request.overrides)}"] if request.overrides else []
    return replace(fitted, notes=fitted.notes + notes)


def _given(request: Request, base: Base | None) -> Recipe:
    """A recipe by its name, for the user's base, or on the domain's part of the text where a base is trained first."""
    recipe = load(request.recipe or CPT, request.overrides)
    if base is None:
        domain = [Part(sources=[f"{request.domain}-*"])]
        blend = domain if recipe.data.blend == [Part()] else recipe.data.blend
        return replace(recipe, data=replace(recipe.data, blend=blend))
    recipe = replace(recipe, model=replace(recipe.model, size=None, shape=Shape(**asdict(base.shape))))
    validate(recipe)
    return recipe


def _check_training(whole: WholeRun) -> None:
    """Check that everything is there that is needed in the end, before anything is spent on training."""
    from ..scaling.predicted_speed import warn_of_local_layers

    out, fitted = whole.out, whole.fitted
    for recipe in [fitted.recipe, *([] if whole.base else [pretraining(fitted.recipe)])]:
        check_inputs(recipe, Inputs(out / TOKENS, verify=whole.verify))
        trackers.check(recipe.log)
    preflight.check_space(fitted.recipe, out, whole.base)
    for line in fitted.notes:
        log.info(f"recipe: {line}")
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


def base_root(whole: WholeRun) -> Path:
    """The checkpoint root that training starts from."""
    return whole.out / "base" if whole.base else whole.out / "base" / CHECKPOINTS


def _sequences(whole: WholeRun, tokens: Path) -> tuple[float, float]:
    """How many sequences the recipe's layout makes of the training text, and of the validation text."""
    from ..training.blend import epoch, valid_sequences

    if whole.base is None or whole.request.recipe is not None:
        return ASSUMED, ASSUMED
    recipe = before_text(published(whole.base.shape, whole.base.dtype), whole.request.overrides)
    return epoch(tokens, recipe.data), valid_sequences(tokens, recipe.data)


def _tasks(whole: WholeRun) -> None:
    """Make tasks from held-out documents: before training, which would be in vain without enough of them."""
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
    log.info("tasks: from held-out documents")
    chosen = {"documents": request.documents, "questions": request.questions}
    renew(tasks, lambda _: build_tasks(domains, tasks, **chosen))


def pretraining(recipe: Recipe) -> Recipe:
    """The recipe of a tiny base: on as many ranks as are asked for, without model parallelism."""
    ranks = recipe.parallel.ranks_per_node
    pretrain = load(PRETRAIN, [f"parallel.ranks_per_node={ranks}", f"data.blend=[{{sources: ['{GENERAL}-*']}}]"])
    return replace(pretrain, model=recipe.model)


def _base_folder(whole: WholeRun) -> Path:
    """The base's Hugging Face folder."""
    return whole.base.folder if whole.base else whole.out / "hf" / "base"


def _exports(whole: WholeRun) -> dict[Path, Path]:
    """Checkpoint -> its Hugging Face folder, oldest first."""
    return {path: whole.out / "hf" / f"cpt-{iteration(path):05d}" for path in checkpoints(whole.out / "cpt")}


def _hf(whole: WholeRun) -> None:
    """Export the base, where it was trained here, and every checkpoint."""
    from ..conversion.convert import export_hf

    if whole.base is None:
        export_hf(whole.out / "base" / CHECKPOINTS, _base_folder(whole), verify=whole.verify)
    for checkpoint, folder in _exports(whole).items():
        export_hf(checkpoint, folder, verify=whole.verify)


def _merge(whole: WholeRun) -> None:
    """Merge the last checkpoint with the base."""
    from ..merge.run import merge

    t, last = whole.request.t, list(_exports(whole).values())[-1]
    log.info(f"merge: SLERP of {last.name} with its base, t = {t:g}")
    merged = whole.out / "hf" / "merged"
    renew(merged, lambda _: merge(_base_folder(whole), last, merged, t=t, verify=whole.verify))


def _models(whole: WholeRun) -> "list[Model]":
    """Hugging Face folders: the base, every checkpoint, and the last one merged with the base."""
    from ..eval.models import Model, Role

    return [
        Model("base", Role.BASE, _base_folder(whole)),
        *(Model(folder.name, Role.CHECKPOINT, folder) for folder in _exports(whole).values()),
        Model("merged", Role.MERGED, whole.out / "hf" / "merged"),
    ]


def _scores(whole: WholeRun) -> None:
    """Score every model on the held-out documents; of an evaluation with other choices, what still holds is kept."""
    from ..eval.harness.backends import Limits
    from ..eval.heldout.evaluate import evaluate

    models, recipe = _models(whole), whole.fitted.recipe
    log.info(f"eval: {counted(len(models), 'model')}")
    limits = Limits(max_length=recipe.data.seq_length)
    scores, tasks = whole.out / "scores", whole.out / "tasks"
    renew(
        scores,
        lambda outdated: evaluate(models, tasks, scores, limits=limits, earlier=outdated, verify=whole.verify),
    )


def _report(whole: WholeRun) -> None:
    """Write the report."""
    log.info("report")
    renew(whole.out / "report", lambda _: report_run(whole.out, whole.out / "report"))


def _benchmark(whole: WholeRun) -> None:
    """Let base, last checkpoint and merged model do the tasks, or one of them."""
    from ..eval.benchmark.run import BenchmarkSettings, run_benchmark
    from ..eval.harness.backends import Limits
    from ..eval.tasks.suite import choose_tasks

    asked = whole.request.benchmark
    assert asked is not None
    every = choose_tasks(asked.tasks)
    tasks = every if whole.part is None else [every[whole.part]]
    base, *_, last, merged = _models(whole)
    models = [base, last, replace(merged, name=f"merged-{whole.request.t:g}")]
    settings = BenchmarkSettings(limits=Limits(asked.limit))
    outcome = run_benchmark(
        models, tasks, Path(asked.data), whole.out / "benchmark", settings=settings, verify=whole.verify
    )
    if outcome.elsewhere:
        raise Failed(f"another process works on {', '.join(outcome.elsewhere)}; run the step again when it is done")


def _comparison(whole: WholeRun) -> None:
    """Write the report on the tasks."""
    out, results = whole.out / "comparison", str(whole.out / "benchmark")
    renew(out, lambda _: build_report([results], out, ReportOptions(test="holm")))


WORK: dict[str, Callable[[WholeRun], None]] = {
    "corpus": lambda whole: build_documents(whole.text),
    "tokenizer": lambda whole: build_tokenizer(whole.text, shape_of(whole.assumed).vocab),
    "tokens": lambda whole: build_run_tokens(whole.text, shape_of(whole.assumed).vocab),
    "general": lambda whole: build_general(whole.text),
    "tasks": _tasks,
    "base": _base,
    "cpt": _cpt,
    "hf": _hf,
    "merge": _merge,
    "scores": _scores,
    "report": _report,
    "benchmark": _benchmark,
    "comparison": _comparison,
}
"""Name of a step -> what it does; each reads what earlier ones left in the run's folder."""
