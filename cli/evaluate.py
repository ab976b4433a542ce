"""Held-out text and models -> tasks -> scores."""

from pathlib import Path

from ..core.errors import UserError
from ..core.manifest import Manifest
from ..eval.heldout import build_tasks
from ..eval.run import evaluate
from ..eval.scores import Model


def evaluate_folders(
    models: list[str],
    merged: str | None,
    heldout: list[str],
    out: Path,
    *,
    limit: int | None,
    batch_size: int,
    max_length: int | None,
) -> Manifest:
    """Make the tasks beside `out` and evaluate models on them.

    Args:
        models: `[NAME=]FOLDER`; the first is the base, the others are its checkpoints in order.
        merged: `[NAME=]FOLDER`.
        heldout: `DOMAIN=PATH`, several for one domain if wanted.
        out: the folder of scores to make; `<out>-tasks` holds the tasks.
        limit, batch_size, max_length: see `eval.run.evaluate`.
    """
    named = [_named(model) for model in models]
    chosen = [Model(name, "checkpoint" if n else "base", path) for n, (name, path) in enumerate(named)]
    if merged is not None:
        name, path = _named(merged)
        chosen.append(Model(name, "merged", path))
    tasks = out.with_name(f"{out.name}-tasks")
    build_tasks(domains(heldout), tasks)
    return evaluate(chosen, tasks, out, limit=limit, batch_size=batch_size, max_length=max_length)


def _named(given: str) -> tuple[str, Path]:
    name, equals, path = given.partition("=")
    return (name, Path(path)) if equals else (Path(given).name, Path(given))


def domains(heldout: list[str]) -> dict[str, list[Path]]:
    """Domain -> its held-out text.

    Args:
        heldout: `DOMAIN=PATH`, several for one domain if wanted.

    Raises:
        UserError: an item names no domain.
    """
    found: dict[str, list[Path]] = {}
    for item in heldout:
        domain, equals, path = item.partition("=")
        if not equals:
            raise UserError(f"{item!r} names no domain", where="--heldout", allowed="DOMAIN=FOLDER")
        found.setdefault(domain, []).append(Path(path))
    return found
