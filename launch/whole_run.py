"""A run of all stages, as each of its steps sees it: what is asked for, where, the base, and the recipe."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from ..core.checkpoint import CHECKPOINTS
from ..core.remarks.remark import Remark, RemarkKind
from ..core.slurm import SlurmOptions
from ..recipes.fit_to_machine import ASSUMED, Fitted, before_text, fit, published
from ..recipes.hardware import Hardware
from ..recipes.load import load
from ..recipes.schema import Part, Recipe, Shape, shape_of
from ..recipes.validate import validate
from . import preflight
from .preflight import GENERAL, Base
from .prepare_text import TOKENS, TextBuild
from .request import Request
from .run_defaults import CPT, PRETRAIN


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
        workers: of the parts of its text at a time; None for one for each core.
        slurm: options of Slurm's jobs that work on them; None for processes of this machine.
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
    workers: int | None = None
    slurm: SlurmOptions | None = None

    @property
    def vocab(self) -> int:
        """Rows of the model's embedding; of a base its weights are not looked at for it."""
        return self.base.shape.vocab if self.base else shape_of(self.assumed).vocab

    @cached_property
    def assumed(self) -> Recipe:
        """The recipe before the text is known."""
        return _recipe(self, ASSUMED, ASSUMED).recipe

    @cached_property
    def fitted(self) -> Fitted:
        """The recipe that is trained, once there are tokens."""
        return _recipe(self, *_sequences(self, self.out / TOKENS))

    @property
    def hf(self) -> Path:
        """Folder of the exported models."""
        return self.out / "hf"

    @property
    def text(self) -> TextBuild:
        """The run as the steps that make its text see it."""
        from ..data_prep.tasks.task_options import tasks_of

        parts = tasks_of(self.request.parts, self.workers, self.slurm, "data.parts")
        return TextBuild(self.request, self.base, self.out, fresh=not self.began, parts=parts)


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
        as_it_is = Remark(RemarkKind.RECIPE_AS_IT_IS, {"recipe": request.recipe or CPT})
        fitted = Fitted(_given(request, base), {}, [as_it_is])
    if not whole.chained:
        preflight.check_machine(fitted.recipe, whole.hardware)
    if base is None:
        preflight.check_untrained(fitted.recipe)
    else:
        preflight.check_saved(base, fitted.recipe)
    overrides = Remark(RemarkKind.RECIPE_OVERRIDES, {"overrides": " ".join(request.overrides)})
    return replace(fitted, notes=[*fitted.notes, *([overrides] if request.overrides else [])])


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


def _sequences(whole: WholeRun, tokens: Path) -> tuple[float, float]:
    """How many sequences the recipe's layout makes of the training text, and of the validation text."""
    from ..training.blend import epoch, valid_sequences

    if whole.base is None or whole.request.recipe is not None:
        return ASSUMED, ASSUMED
    recipe = before_text(published(whole.base.shape, whole.base.dtype), whole.request.overrides)
    return epoch(tokens, recipe.data), valid_sequences(tokens, recipe.data)


def base_root(whole: WholeRun) -> Path:
    """The checkpoint root that training starts from."""
    return whole.out / "base" if whole.base else whole.out / "base" / CHECKPOINTS


def pretraining(recipe: Recipe) -> Recipe:
    """The recipe of a tiny base: on as many ranks as are asked for, without model parallelism."""
    ranks = recipe.parallel.ranks_per_node
    pretrain = load(PRETRAIN, [f"parallel.ranks_per_node={ranks}", f"data.blend=[{{sources: ['{GENERAL}-*']}}]"])
    return replace(pretrain, model=recipe.model)


def base_folder(whole: WholeRun) -> Path:
    """The base's Hugging Face folder."""
    return whole.base.folder if whole.base else whole.out / "hf" / "base"
