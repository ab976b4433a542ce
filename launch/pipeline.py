"""The whole way once: text -> documents -> tokens -> base -> checkpoints -> Hugging Face -> merged -> scores -> report.

Each stage keeps its own manifest in its own folder of the run, so a run that was interrupted goes on at the stage, and
within it at the place, where it stopped. What can fail is checked before the first step of training. What training
depends on stays as it is once that has begun; what comes after it may be chosen anew, and only what depends on the
choice is made again. A room is imported when its stage comes: torch would take this process to 0.8 GB beside the ranks
that train.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import log
from ..core.checkpoint import CHECKPOINTS
from ..core.errors import UserError
from ..core.files import read_object
from ..core.integrity import check, stage_files
from ..core.jsonio import JsonObject
from ..core.log import counted
from ..core.manifest import MANIFEST_FILE, Manifest, Outdated, renew
from ..core.system.lock import locked
from ..recipes.fit_to_machine import ASSUMED, Fitted, before_text, fit, published
from ..recipes.hardware import Hardware, this_machine
from ..recipes.load import load
from ..recipes.schema import Part, Recipe, Shape, shape_of
from ..recipes.validate import validate
from ..training.inputs import Inputs, check_inputs
from ..training.run.folder import METRICS, checkpoints, iteration
from ..training.run.journal import JOURNAL_FILE, read_history
from ..training.run.listeners import trackers
from . import preflight
from .preflight import GENERAL, Base
from .prepare_text import GENERAL_CORPUS, UNSEEN, TextBuild, build_text
from .request import REQUEST_FILE, FittedRecipe, Request, changes, claim, training_began, write_request

if TYPE_CHECKING:
    from ..eval.models import Model
    from ..eval.statistics.verdict import ModelRow

PRETRAIN = "qwen3_tiny_pretrain_2xcpu"
CPT = "qwen3_tiny_cpt_2xcpu"


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
    """

    request: Request
    out: Path
    base: Base | None
    hardware: Hardware
    began: bool
    kept: dict[str, int] | None
    verify: bool = True


def run_whole(request: Request, out: Path, *, verify: bool = True) -> None:
    """Run every stage into `out`, and report progress on standard error.

    Raises:
        UserError: an input is unusable, or `out` holds a run whose training a change would alter.
    """
    preflight.check_request(request)
    base = preflight.read_base(request.base) if request.base else None
    with locked(out, "running into"):
        before, began = claim(out), training_began(out)
        kept = FittedRecipe.read(before).kept or None if before and began else None
        whole = WholeRun(request, out, base, hardware=this_machine(), began=began, kept=kept, verify=verify)
        recipe = _recipe(whole, ASSUMED, ASSUMED).recipe  # what is wrong with it is said before the text is read
        if not began:
            write_request(request, out)
        try:
            general = build_text(TextBuild(request, base, out, fresh=not began), shape_of(recipe).vocab)
            fitted = _train(whole, general)
        except Outdated as error:
            raise _refusal(out, before.values if before else {}, request, error) from None
        write_request(request, out, FittedRecipe(fitted.kept, fitted.notes))
        _evaluate_all(whole, fitted.recipe)


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


def _train(whole: WholeRun, general: list[Path]) -> Fitted:
    """Train, once everything is known to be there that is needed in the end."""
    from ..scaling.predicted_speed import warn_of_local_layers
    from ..training.train import train

    out, tokens = whole.out, whole.out / "tokens"
    _tasks(whole, general)
    fitted = _recipe(whole, *_sequences(whole, tokens))
    recipes = [fitted.recipe, *([] if whole.base else [_pretraining(fitted.recipe)])]
    for recipe in recipes:
        check_inputs(recipe, Inputs(tokens, verify=whole.verify))
        trackers.check(recipe.log)
    preflight.check_space(fitted.recipe, out, whole.base)
    for line in fitted.notes:
        log.info(f"recipe: {line}")
    warn_of_local_layers(fitted.recipe)
    if not whole.began:
        write_request(whole.request, out, FittedRecipe(fitted.kept, fitted.notes))
    base = _import(whole, whole.base) if whole.base else _pretrain(whole, recipes[-1])
    train(fitted.recipe, tokens, out / "cpt", base=base, verify=whole.verify)
    return fitted


def _sequences(whole: WholeRun, tokens: Path) -> tuple[float, float]:
    """How many sequences the recipe's layout makes of the training text, and of the validation text."""
    from ..training.blend import epoch, valid_sequences

    if whole.base is None or whole.request.recipe is not None:
        return ASSUMED, ASSUMED
    recipe = before_text(published(whole.base.shape, whole.base.dtype), whole.request.overrides)
    return epoch(tokens, recipe.data), valid_sequences(tokens, recipe.data)


def _tasks(whole: WholeRun, general: list[Path]) -> None:
    """Make tasks from held-out documents: before training, which would be in vain without enough of them."""
    from ..eval.heldout.build_tasks import build_tasks

    request, tasks, heldout = whole.request, whole.out / "tasks", whole.out / "tokens" / "heldout"
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


def _pretraining(recipe: Recipe) -> Recipe:
    """The recipe of a tiny base: on as many ranks as are asked for, without model parallelism."""
    ranks = recipe.parallel.ranks_per_node
    pretrain = load(PRETRAIN, [f"parallel.ranks_per_node={ranks}", f"data.blend=[{{sources: ['{GENERAL}-*']}}]"])
    return replace(pretrain, model=recipe.model)


def _import(whole: WholeRun, base: Base) -> Path:
    """The user's base as a Megatron checkpoint root."""
    from ..conversion.convert import import_hf

    out = whole.out / "base"
    log.info("base: importing")
    if whole.began:
        import_hf(base.folder, out, verify=whole.verify)
    else:
        renew(out, lambda _: import_hf(base.folder, out, verify=whole.verify))
    return out


def _pretrain(whole: WholeRun, recipe: Recipe) -> Path:
    """A tiny base, trained on the general text."""
    from ..training.train import train

    out = whole.out / "base"
    train(recipe, whole.out / "tokens", out, verify=whole.verify)
    return out / CHECKPOINTS


def _evaluate_all(whole: WholeRun, recipe: Recipe) -> None:
    """Export, merge, evaluate and report; whatever was chosen anew is done again."""
    out = whole.out
    models = _models(whole)
    log.info(f"eval: {counted(len(models), 'model')}")
    _evaluate(whole, recipe, models)
    log.info("report")
    renew(out / "report", lambda _: report_run(out, out / "report"))


def _models(whole: WholeRun) -> "list[Model]":
    """Hugging Face folders: the base, every checkpoint, and the last one merged with the base."""
    from ..conversion.convert import export_hf
    from ..eval.models import Model, Role
    from ..merge.run import merge

    out, t = whole.out, whole.request.t
    base = whole.base.folder if whole.base else out / "hf" / "base"
    if whole.base is None:
        export_hf(out / "base" / CHECKPOINTS, base, verify=whole.verify)
    models = [Model("base", Role.BASE, base)]
    for checkpoint in checkpoints(out / "cpt"):
        name = f"cpt-{iteration(checkpoint):05d}"
        export_hf(checkpoint, out / "hf" / name, verify=whole.verify)
        models.append(Model(name, Role.CHECKPOINT, out / "hf" / name))
    last, merged = models[-1], out / "hf" / "merged"
    log.info(f"merge: SLERP of {last.name} with its base, t = {t:g}")
    renew(merged, lambda _: merge(base, last.path, merged, t=t, verify=whole.verify))
    return [*models, Model("merged", Role.MERGED, merged)]


def _evaluate(whole: WholeRun, recipe: Recipe, models: "list[Model]") -> None:
    """Score every model on the held-out documents; of an evaluation with other choices, what still holds is kept."""
    from ..eval.harness.backends import Limits
    from ..eval.heldout.evaluate import evaluate

    limits = Limits(max_length=recipe.data.seq_length)
    scores, tasks = whole.out / "scores", whole.out / "tasks"
    renew(
        scores,
        lambda outdated: evaluate(models, tasks, scores, limits=limits, earlier=outdated, verify=whole.verify),
    )


def report_run(run: Path, out: Path) -> Manifest:
    """Write the report of a run of the whole.

    Raises:
        UserError: the folder holds no such run, or a stage of it is not finished.
    """
    from ..eval.report.heldout_report import build_heldout_report

    request = read_object(run / REQUEST_FILE)
    trained = [folder / METRICS for folder in (run / "base", run / "cpt") if _was_trained(folder)]
    stages = ["sample", "corpus", "tokenizer", "tokens", GENERAL_CORPUS, UNSEEN, "tasks", "base", "cpt"]
    stages += ["hf/base", *(f"hf/{path.name}" for path in sorted((run / "hf").glob("cpt-*"))), "hf/merged"]
    finished = [run / name for name in stages if (run / name / MANIFEST_FILE).is_file()]
    return build_heldout_report(
        request.text("title"),
        run / "scores",
        trained,
        finished,
        out=out,
        settings=_settings(request, run),
        record_faults=[fault for path in trained for fault in _record_faults(path.parent)],
    )


def _record_faults(training: Path) -> list[str]:
    """Sentences on damage to a training's record; logged as they are by whoever reads it."""
    if not (training / JOURNAL_FILE).is_file():
        return [f"{training.name}: {JOURNAL_FILE} is missing."]
    history = read_history(training / JOURNAL_FILE)
    history.say()
    return [f"{training.name}: {fault}" for fault in history.faults()]


def _was_trained(folder: Path) -> bool:
    """Whether a base was trained here and not imported; a curve of a training run is missed where it is not there."""
    return (folder / MANIFEST_FILE).is_file() and Manifest.read(folder).stage == "train"


def _settings(request: JsonObject, run: Path) -> dict[str, Any]:
    recipe, merged = _config(run / "cpt"), _config(run / "hf" / "merged")
    parallel, data = recipe.object("parallel"), recipe.object("data")
    nodes, ranks, tp, pp = (parallel.integer(name) for name in ("nodes", "ranks_per_node", "tp", "pp"))
    notes = FittedRecipe.read(request).notes
    return {
        **{f"recipe ({number})": line for number, line in enumerate(notes, start=1)},
        "base": request.text("base", "") or f"trained here on the {GENERAL} text ({PRETRAIN})",
        "domain": request.text("domain"),
        "steps": recipe.integer("steps"),
        "sequences a step": recipe.object("batch").integer("global_size"),
        "tokens a sequence": data.integer("seq_length"),
        "layout": data.text("layout"),
        "learning rate": f"{recipe.object('optimizer').number('lr'):g}, constant",
        "precision": recipe.object("model").text("precision"),
        "ranks": f"{nodes} x {ranks} (TP {tp}, PP {pp})",
        "merge": f"SLERP, t = {merged.number('t'):g}",
        "seed": recipe.integer("seed"),
    }


def _config(folder: Path) -> JsonObject:
    """The options that a stage's folder was made with."""
    return JsonObject(Manifest.read(folder).config, f"{folder / MANIFEST_FILE}: config")


def summary(out: Path) -> tuple[list["ModelRow"], list[str]]:
    """The final table's rows, and the sentences that say what happened."""
    from ..eval.statistics.verdict import summary_table, verdict

    return summary_table(out / "scores"), verdict(out / "scores")
