"""A training run's folder: what it is a run of, and what is read out of it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import read_json, write_json, write_text
from .load import to_dict, to_yaml
from .schema import Recipe

CHECKPOINTS = "checkpoints"
IDENTITY = "run.json"
METRICS = "metrics.jsonl"
ACHIEVED = "achieved.json"
"""Which tokens of which data set the run has read after each checkpoint's step."""
# What may change between two starts of one run: none of it changes what is computed, but for rounding.
_FREE = ("parallel", "job", "checkpoint", "megatron")


def identity(recipe: Recipe, tokens: str, base: str | None) -> dict[str, Any]:
    """What makes two starts the same run: the recipe less the machine, the data and the weights it starts from."""
    values = {name: value for name, value in to_dict(recipe).items() if name not in _FREE}
    values["batch"] = {"global_size": recipe.batch.global_size}
    return {"recipe": values, "tokens": tokens, "base": base}


def claim(out: Path, recipe: Recipe, found: dict[str, Any]) -> None:
    """Make the folder this run's, or check that it is.

    Raises:
        UserError: the folder holds a run of another recipe, other data or another base, or something else.
    """
    if (out / IDENTITY).is_file():
        check_same(out, found)
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no run", where="--out", mend="choose another folder")
    write_json(out / IDENTITY, found)
    write_text(out / "recipe.yaml", to_yaml(recipe))


def check_same(out: Path, found: dict[str, Any]) -> None:
    """Check that a folder's run is the one that `found` identifies.

    Raises:
        UserError: it is another; the message says in what.
    """
    path = out / IDENTITY
    held = read_json(path)
    differing = [name for name in found if name != "recipe" and held[name] != found[name]]
    keys = {*_flat(held["recipe"]), *_flat(found["recipe"])}
    flat = (_flat(held["recipe"]), _flat(found["recipe"]))
    differing += [
        f"{key}: {flat[0].get(key)} there, {flat[1].get(key)} now"
        for key in sorted(keys)
        if flat[0].get(key) != flat[1].get(key)
    ]
    if differing:
        raise UserError(
            f"{path.parent} holds another run: {'; '.join(differing)}",
            where=str(path),
            allowed=f"another {', '.join(_FREE)} or micro-batch; all else as it was",
            mend="choose another --out, or give the recipe, tokens and base of that run",
        )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}{name}.") if isinstance(item, dict) else {f"{prefix}{name}": item}
    return flat


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second process from training into the same folder.

    Raises:
        UserError: another one does.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with (out.parent / f".{out.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is training into {out}", where="--out", mend="wait for it, or end it first"
            ) from None
        yield


def checkpoints(out: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first. One that is being written has no `metadata.json` yet."""
    return sorted(path.parent for path in (out / CHECKPOINTS).glob("iter_*/metadata.json"))


def iteration(checkpoint: Path) -> int:
    """The step a checkpoint was saved after."""
    return int(checkpoint.name.removeprefix("iter_"))


def read_metrics(tensorboard: Path, slots_a_step: int) -> list[dict[str, Any]]:
    """Loss by step from the trainer's event files; where a run was resumed, the later value of a step.

    Args:
        tensorboard: folder of event files.
        slots_a_step: slots of a global batch.

    Returns:
        Rows `{"iteration", "slots", "loss"}` and `{"iteration", "slots", "valid_loss"}`, nats a token.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names = {"lm loss": "loss", "lm loss validation": "valid_loss"}
    values: dict[tuple[int, str], float] = {}
    for path in sorted(tensorboard.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
        for tag in set(names) & set(events.Tags()["scalars"]):
            values |= {(event.step, names[tag]): event.value for event in events.Scalars(tag)}
    return [
        {"iteration": step, "slots": step * slots_a_step, name: value} for (step, name), value in sorted(values.items())
    ]
