"""A training run's folder: what it is a run of, and what is read out of it."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core import log
from ...core.checkpoint import CHECKPOINTS, HASHES_FILE, IDENTITY
from ...core.errors import UserError
from ...core.files import read_list, read_object, read_objects, write_json, write_text
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE
from ...recipes.load import to_dict, to_yaml
from ...recipes.overrides import flat
from ...recipes.schema import Recipe

METRICS = "metrics.jsonl"
PROVENANCE = "provenance.json"
"""Provenance of the run, which goes into each checkpoint's `pdapt.json`."""
STOP_AT = "--stop-at"
"""The reason of a stop that was asked for when the run was started."""
SKIPPED = "skipped.json"
"""Steps whose batches are left out: the guard went back from them."""
ACHIEVED = "achieved.json"
"""Which tokens of which data set the run has read after each checkpoint's step."""
# What may change between two starts of one run: none of it changes what is computed, but for rounding.
_FREE = ("parallel", "machine", "job", "checkpoint", "guard", "log", "megatron")


def identity(recipe: Recipe, inputs: dict[str, Any]) -> dict[str, Any]:
    """Identify a run, by the recipe without the machine and the fingerprints of its inputs.

    Args:
        recipe: the recipe.
        inputs: fingerprints of `tokens`, `tokenizer` and `base`, the weights that it starts from.
    """
    values = {name: value for name, value in to_dict(recipe).items() if name not in _FREE}
    values["batch"] = {"global_size": recipe.batch.global_size}
    del values["optimizer"]["grads"], values["model"]["transformer_impl"]
    return {"recipe": values, **inputs}


def claim(out: Path, recipe: Recipe, requested: dict[str, Any], *, other_data: bool = False) -> None:
    """Make the folder this run's, or check that it is; `other_data` as in `check_same`.

    Raises:
        UserError: the folder holds a run of another recipe, other data or another base, or something else.
    """
    check_claim(out, lambda: requested, other_data=other_data)
    (out / MANIFEST_FILE).unlink(missing_ok=True)  # of a finished run that is made longer: whole only when it is again
    write_json(out / IDENTITY, requested)
    write_text(out / "recipe.yaml", to_yaml(recipe))


def check_claim(out: Path, identify: Callable[[], dict[str, Any]], *, other_data: bool = False) -> None:
    """Check that a folder is the run's, or can become it; `identify` is asked only where there is a run to compare.

    Raises:
        UserError: see `claim`.
    """
    if (out / IDENTITY).is_file():
        check_same(out, identify(), other_data=other_data)
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and does not hold a run", where="--out", fix="choose another folder")


def check_same(out: Path, requested: dict[str, Any], *, other_data: bool) -> None:
    """Check that a folder's run is the one that `requested` identifies.

    Args:
        out: run folder.
        requested: from `identity`.
        other_data: whether tokens and tokenizer may be others.

    Raises:
        UserError: it is another; the message says in what.
    """
    path = out / IDENTITY
    held = read_identity(out).values
    differing = [name for name in ("tokens", "tokenizer") if held[name] != requested[name]]
    if differing and other_data:
        log.warn(f"train: continuing on other data than the run began with: {', '.join(differing)} differ")
    elif differing:
        raise UserError(
            f"{out} was trained on other data: {', '.join(differing)} differ",
            where=str(path),
            allowed="the data it began with: the samples' order, and what has been read already, depend on it",
            fix="give that --tokens, choose another --out, or say --other-data if the change is meant",
        )
    _check_rest(out, held, requested)


def _check_rest(out: Path, held: dict[str, Any], requested: dict[str, Any]) -> None:
    differing = ["base"] if held.get("base") != requested["base"] else []
    # Of what an older release did not know, the run has the defaults.
    there, now = flat(_defaults()) | flat(held["recipe"]), flat(requested["recipe"])
    if there["steps"] < now["steps"]:  # see `extend_run.py`
        del there["steps"], now["steps"]
    differing += [
        f"{key}: {there.get(key)} there, {now.get(key)} now"
        for key in sorted({*flat(held["recipe"]), *now})
        if there.get(key) != now.get(key)
    ]
    if differing:
        raise UserError(
            f"{out} holds another run: {'; '.join(differing)}",
            where=str(out / IDENTITY),
            allowed=f"another {', '.join(_FREE)}, model.transformer_impl, optimizer.grads or batch.micro_size; all "
            "else decides what a step is, and stays",
            fix="choose another --out, or give the recipe, tokens and base of that run",
        )


def read_identity(out: Path) -> JsonObject:
    """Read the identity of the run that a folder holds: see `identity`.

    Raises:
        UserError: what says so is damaged.
    """
    held = read_object(out / IDENTITY)
    held.text("tokens"), held.text("tokenizer"), held.object("recipe").integer("steps")
    return held


def steps_before(out: Path, requested: dict[str, Any]) -> int | None:
    """Steps that the run at `out` was to have, where `requested` asks for more of them; None where it does not."""
    held = read_identity(out).object("recipe").integer("steps")
    return held if held < requested["recipe"]["steps"] else None


def _defaults() -> dict[str, Any]:
    values = to_dict(Recipe())
    del values["model"]["shape"]
    return values


def checkpoints(out: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first. One still being written has neither `metadata.json` nor hashes yet."""
    folders = iterations(out / CHECKPOINTS)
    return [folder for folder in folders if any((folder / name).is_file() for name in ("metadata.json", HASHES_FILE))]


def iterations(root: Path) -> list[Path]:
    """The folders of checkpoints under a root, whole or not, oldest first; what others are called is none of them."""
    return sorted(path for path in root.glob("iter_*") if re.fullmatch(r"iter_[0-9]{1,10}", path.name))


def skipped(out: Path) -> list[int]:
    """Steps whose batches the run leaves out, because the guard went back from them.

    Raises:
        UserError: the file that says so is damaged.
    """
    return read_list(out / SKIPPED, int) if os.path.lexists(out / SKIPPED) else []


def read_achieved(out: Path, step: int) -> dict[str, JsonObject]:
    """Read the `tokens` and `epochs` of each data set that the run has read after the step of a checkpoint.

    Raises:
        UserError: nothing says so, or what does is damaged.
    """
    for row in read_objects(out / ACHIEVED):
        if row.integer("step") == step:
            sources = row.objects("sources")
            for source in sources.values():
                source.integer("tokens"), source.number("epochs")
            return sources
    raise UserError(f"{ACHIEVED} has no entry for step {step}", where=str(out / ACHIEVED))


def iteration(checkpoint: Path) -> int:
    """The step a checkpoint was saved after."""
    return int(checkpoint.name.removeprefix("iter_"))
