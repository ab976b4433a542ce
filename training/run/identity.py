"""The identity of a training run: whether a folder holds the run that is requested."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core import log
from ...core.checkpoint import IDENTITY
from ...core.errors import UserError
from ...core.files import read_object, write_json, write_text
from ...core.manifest import MANIFEST_FILE
from ...recipes.load import complete_data, to_dict, to_yaml
from ...recipes.overrides import flat
from ...recipes.schema import Recipe
from .folder import JOBS

# Sections that may change between two starts of a run: apart from rounding, none changes what is computed.
_FREE = ("parallel", "machine", "job", "checkpoint", "guard", "log", "engine", "megatron")


@dataclass(frozen=True)
class RunIdentity:
    """All that decides the steps of a run, kept in its `run.json`.

    Attributes:
        recipe: the recipe's values without the machine: see `recipe_values`.
        tokens: fingerprint of the tokens.
        tokenizer: fingerprint of their tokenizer.
        base: fingerprint of the weights that the run starts from; None for random weights.
    """

    recipe: dict[str, Any]
    tokens: str
    tokenizer: str
    base: str | None

    @property
    def inputs(self) -> dict[str, str | None]:
        """Name of an input -> its fingerprint."""
        return {"tokens": self.tokens, "tokenizer": self.tokenizer, "base": self.base}

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe["steps"]

    @staticmethod
    def read(out: Path) -> "RunIdentity":
        """Read the identity of the run that a folder holds.

        Raises:
            UserError: the file is damaged.
        """
        held = read_object(out / IDENTITY)
        held.object("recipe").integer("steps")
        return RunIdentity(
            recipe=held.object("recipe").values,
            tokens=held.text("tokens"),
            tokenizer=held.text("tokenizer"),
            base=held.text("base", "") or None,
        )


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """A recipe's values that decide what a step computes: without the machine, and how the batch is spread over it."""
    values = {name: value for name, value in to_dict(recipe).items() if name not in _FREE}
    values["batch"] = {"global_size": recipe.batch.global_size}
    del values["optimizer"]["grads"], values["model"]["transformer_impl"]
    return values


def claim(out: Path, recipe: Recipe, requested: RunIdentity, *, other_data: bool = False) -> None:
    """Claim the folder for this run, or check that it already is this run's; `other_data` as in `check_same`.

    Raises:
        UserError: the folder holds a run of another recipe, other data or another base, or something else.
    """
    check_claim(out, lambda: requested, other_data=other_data)
    (out / MANIFEST_FILE).unlink(missing_ok=True)  # a finished run that is extended is not finished any more
    write_json(out / IDENTITY, asdict(requested))
    write_text(out / "recipe.yaml", to_yaml(recipe))


def check_claim(out: Path, identify: Callable[[], RunIdentity], *, other_data: bool = False) -> None:
    """Check that a folder holds the run, or can; `identify` is called only if there is a run to compare with.

    Raises:
        UserError: see `claim`.
    """
    if (out / IDENTITY).is_file():
        check_same(out, identify(), other_data=other_data)
    elif out.is_dir() and any(path.name != JOBS for path in out.iterdir()):
        raise UserError(f"{out} is not empty and does not hold a run", where="--out", fix="choose another folder")


def check_same(out: Path, requested: RunIdentity, *, other_data: bool) -> None:
    """Check that the run in a folder is the one that `requested` identifies.

    Args:
        out: run folder.
        requested: the run that is asked for.
        other_data: whether tokens and tokenizer may differ.

    Raises:
        UserError: it is another run; the message says how they differ.
    """
    path = out / IDENTITY
    held = RunIdentity.read(out)
    differing = [name for name in ("tokens", "tokenizer") if held.inputs[name] != requested.inputs[name]]
    if differing and other_data:
        log.warn(f"train: continuing on other data than the run began with: {', '.join(differing)} differ")
    elif differing:
        raise UserError(
            f"{out} was trained on other data: {', '.join(differing)} differ",
            where=str(path),
            allowed="the data it began with: the samples' order depends on it",
            fix="give the first --tokens again, choose another --out, or give --other-data if the change is intended",
        )
    _check_rest(out, held, requested)


def _check_rest(out: Path, held: RunIdentity, requested: RunIdentity) -> None:
    differing = ["base"] if held.base != requested.base else []
    # Options that the run's older release did not have count as the defaults.
    recorded = flat(held.recipe | {"data": complete_data(held.recipe.get("data"))})
    there, now = flat(_defaults()) | recorded, flat(requested.recipe)
    if there["steps"] < now["steps"]:  # see `extend_run.py`
        del there["steps"], now["steps"]
    differing += [
        f"{key}: {there.get(key)} there, {now.get(key)} now"
        for key in sorted({*recorded, *now})
        if there.get(key) != now.get(key)
    ]
    if differing:
        raise UserError(
            f"{out} holds another run: {'; '.join(differing)}",
            where=str(out / IDENTITY),
            allowed=f"other values of {', '.join(_FREE)}, model.transformer_impl, optimizer.grads and "
            "batch.micro_size; all other keys decide what a step computes, and must stay the same",
            fix="choose another --out, or give the recipe, tokens and base of that run",
        )


def steps_before(out: Path, requested: RunIdentity) -> int | None:
    """Steps that the run at `out` was planned for, if `requested` asks for more of them; else None."""
    held = RunIdentity.read(out).steps
    return held if held < requested.steps else None


def _defaults() -> dict[str, Any]:
    values = to_dict(Recipe())
    del values["model"]["shape"]
    return values
