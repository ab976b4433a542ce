"""Checks of everything that can fail in a run of all stages, before anything is spent on it."""

import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path

from ..core.errors import UserError
from ..core.files import list_files
from ..core.log import counted
from ..core.memory import MOMENTS, WEIGHT, WHOLE_MOMENTS, WHOLE_WEIGHT
from ..core.qwen3 import Qwen3Config, read_config
from ..recipes.hardware import Hardware
from ..recipes.schema import SAVED, Recipe, shape_of
from ..recipes.validate import check_device
from .hf_models import MERGES_FOLDER
from .request import Request

GENERAL = "general"
NONE, SAMPLE = "none", "sample"
"""Instead of general text: leave it out; the embedded sample's."""
DOMAIN = re.compile(r"[a-z0-9-]+")
LEAST = 4
"""Least documents and questions of a domain: a question has this many choices, each from another document."""
LARGEST_UNTRAINED = 100e6
"""Parameters of a base that is trained here, from nothing."""


@dataclass(frozen=True)
class Base:
    """A base of the user's: its folder, and its shape."""

    folder: Path
    shape: Qwen3Config

    @cached_property
    def dtype(self) -> str:
        """The type of its weights, in config.json's spelling.

        Raises:
            UserError: they are incomplete, or not of one type.
        """
        from ..core.hf.model import check_weights
        from ..core.hf.weights import NAMES, Weights

        return NAMES[check_weights(Weights(self.folder), self.shape)]


def check_request(request: Request) -> None:
    """Check names and numbers.

    Raises:
        UserError: one cannot be.
    """
    from ..data_prep.clean.profiles import profile_of
    from ..data_prep.dedup.corpus_duplicates import treatment_of
    from ..data_prep.licences.editions import edition_of
    from ..data_prep.screening.masking import kinds_to_mask

    if not DOMAIN.fullmatch(request.domain) or request.domain.split("-")[0] == GENERAL:
        raise UserError(
            f"{request.domain!r} cannot name the domain",
            where="--domain",
            allowed=f"lower-case letters, digits and hyphens; not {GENERAL}, which names the other text",
        )
    if request.base is None and request.general == [NONE]:
        raise UserError(
            f"without --base a tiny base is trained on general text, and --general {NONE} leaves that out",
            where="--general",
            fix="give --general PATH, or --base with a Hugging Face Qwen3 folder",
        )
    if {NONE, SAMPLE} & set(request.general) and len(request.general) > 1:
        raise UserError(
            f"--general {NONE} and --general {SAMPLE} cannot be combined with other text",
            where=f"--general {' '.join(request.general)}",
        )
    edition_of(request.edition)
    profile_of(request.profile)
    treatment_of(request.duplicates)
    kinds_to_mask(request.mask)
    if request.topics is not None and not Path(request.topics).is_file():
        raise UserError(
            f"no such file: {request.topics}", where="--topics", fix="`pdapt corpus topics --out` writes one"
        )
    if request.decontaminate is not None:
        from ..eval.tasks.data_index import tasks_with_data

        tasks_with_data(Path(request.decontaminate))
    _check_merges(request)
    if request.parts < 1:
        raise UserError(f"parts is {request.parts}", where="data.parts", allowed="1 or more")
    if request.jobs < 0 or (request.jobs and request.parts == 1):
        fix = "data.parts divides each source" if request.jobs > 0 else ""
        raise UserError(f"jobs is {request.jobs}", where="data.jobs", allowed="0, or with several parts more", fix=fix)
    for name in ("documents", "questions"):
        value = getattr(request, name)
        if value < LEAST:
            raise UserError(f"--{name} is {value}", where=f"--{name}", allowed=f"{LEAST} or more")


def _check_merges(request: Request) -> None:
    from ..merge.factors import Factors, point_name

    Factors(tuple(request.t))
    if len(request.t) == 1:
        return
    from ..eval.statistics.loss_limit import check_max_loss

    if len(request.t) != len(set(map(point_name, request.t))):
        raise UserError(f"a value of t is given twice: {request.t}", where="--t", fix="give each once")
    if request.general == [NONE]:
        raise UserError(
            f"several merges are asked for, and --general {NONE} leaves out the text by which a rule chooses one",
            where="--t",
            fix="give --general PATH, or one t",
        )
    check_max_loss(request.max_loss)


def check_named(request: Request) -> None:
    """Check that a recipe is named where its training is another machine's.

    Raises:
        UserError: it is not.
    """
    if request.base is not None and request.recipe is None:
        raise UserError(
            "no recipe is given, and the recipe that pdapt fits to the text is for one machine",
            where="recipe",
            fix="name a recipe, such as qwen3_8b_cpt_48xh100_packed",
        )


def read_base(folder: str) -> Base:
    """Check a base of the user's: whole, of a known type, with its tokenizer, and readable for lm-eval.

    Raises:
        UserError: it is not.
    """
    from ..data_prep.tokens.tokenizer import load_tokenizer
    from ..eval.harness.backends import Limits, check_folder, model_arguments

    base = base_of_text(folder)
    _ = base.dtype
    load_tokenizer(base.folder, base.shape.vocab)
    check_folder("base", base.folder)
    model_arguments("hf", base.folder, Limits())
    return base


def base_of_text(folder: str) -> Base:
    """A base as the steps that make text need it: its weights are not read, and torch is not loaded.

    Raises:
        UserError: its configuration is not a Qwen3's.
    """
    path = Path(folder)
    return Base(path, read_config(path))


def check_saved(base: Base, recipe: Recipe) -> None:
    """Check that training saves the base's type: the merge of the two would be refused in the end.

    Raises:
        UserError: it saves another.
    """
    if base.dtype != SAVED[recipe.model.precision]:
        raise UserError(
            f"the base's weights are {base.dtype}, and model.precision={recipe.model.precision} saves another type",
            where=str(base.folder),
            allowed=", ".join(f"{saved} with model.precision={name}" for name, saved in SAVED.items()),
        )


def check_machine(recipe: Recipe, hardware: Hardware) -> None:
    """Check that this machine can run a recipe as it is.

    Raises:
        UserError: it wants several nodes, more GPUs or more memory.
    """
    from ..recipes.fit_to_machine import holds

    ranks = recipe.parallel.ranks_per_node
    if recipe.parallel.nodes > 1:
        raise UserError(
            f"the recipe needs {recipe.parallel.nodes} nodes, and `pdapt run` works on one",
            where="parallel.nodes",
            fix="parallel.nodes=1, or the stages one by one: `pdapt launch RECIPE --print` writes the Slurm script",
        )
    if hardware.gpus and ranks > hardware.gpus:
        raise UserError(
            f"the recipe needs {ranks} GPUs, and this machine has {hardware}",
            where="parallel.ranks_per_node",
            allowed=f"up to {hardware.gpus}",
        )
    check_device(recipe, gpu=hardware.gpus > 0)
    if not holds(recipe, hardware):
        raise UserError(
            f"the recipe, for {shape_of(recipe).parameters / 1e9:.2f} G parameters, is predicted to need more memory "
            f"than this machine has ({hardware})",
            where="parallel, batch.micro_size",
            fix="smaller batch.micro_size, larger parallel.tp, or another machine",
        )


def check_untrained(recipe: Recipe) -> None:
    """Check that a base that is trained here, from nothing, is a tiny one.

    Raises:
        UserError: it is not.
    """
    parameters = shape_of(recipe).parameters
    if parameters > LARGEST_UNTRAINED:
        raise UserError(
            f"without --base a base is trained from scratch, and the recipe's has {parameters / 1e9:.2f} G parameters",
            where="--recipe",
            allowed=f"up to {LARGEST_UNTRAINED / 1e9:g} G parameters",
            fix="give --base with the Hugging Face folder of a Qwen3-Base",
        )


def check_space(recipe: Recipe, out: Path, base: Base | None, *, merges: int = 1) -> None:
    """Check that the disk holds what the run will write, beside what it has written.

    Raises:
        UserError: it does not.
    """
    parameters, saves = shape_of(recipe).parameters, ceil(recipe.steps / recipe.checkpoint.every)
    whole = recipe.model.precision == "bf16"
    weights = parameters * (WEIGHT if whole else WHOLE_WEIGHT)
    checkpoint = parameters * (WEIGHT + MOMENTS if whole else WHOLE_WEIGHT + WHOLE_MOMENTS)
    # The base in Megatron's form (or with its optimizer, and exported), checkpoints and their exports, the merged ones.
    needed = (weights if base else checkpoint + weights) + saves * (checkpoint + weights) + merges * weights
    there = sum(path.stat().st_size for name in ("base", "cpt", "hf", MERGES_FOLDER) for path in _files(out / name))
    free = shutil.disk_usage(_existing(out)).free
    if needed - there > free:
        raise UserError(
            f"the run would write {needed / 1e9:,.1f} GB ({counted(saves, 'checkpoint')} of {checkpoint / 1e9:,.1f} "
            f"GB, as many exports of {weights / 1e9:,.1f} GB, base and {counted(merges, 'merged model')}), and the "
            f"disk has {free / 1e9:,.1f} GB free",
            where=str(out),
            fix=f"free space, choose an --out on another disk, or save less often (checkpoint.every={recipe.steps})",
        )


def _files(folder: Path) -> list[Path]:
    return list_files(folder) if folder.is_dir() else []


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
