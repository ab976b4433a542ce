"""Models given on the command line -> folders -> scores."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core import log
from ..core.checkpoint import IDENTITY
from ..core.errors import UserError, check_known
from ..core.files import read_object
from ..core.log import counted
from ..core.manifest import MANIFEST_FILE, Manifest
from ..eval.harness.backends import Limits
from ..eval.heldout.build_tasks import build_tasks
from ..eval.heldout.domains import read_domains
from ..eval.heldout.proxy import run_proxy
from ..eval.models import ROLES, Model, Role, parse_roles
from ..eval.scores import Scores
from ..training.run.folder import checkpoints, iteration
from ..training.run.run_state import STATE
from .hf_models import EXPORTS, TASKS, exported_steps, merged_model
from .request import REQUEST_FILE, merge_points

PAUSE = 20.0
"""Seconds between two looks for a new checkpoint."""
MERGES = ("merge", "sweep", "average")
"""Stages that make one model out of several."""


def resolve(given: list[str], exports: Path, roles: list[str] | None = None, *, verify: bool = True) -> list[Model]:
    """The models that `[NAME=]PATH` stand for.

    A Hugging Face folder is one. A folder of `pdapt run` stands for its base, its checkpoints and the merged one, and a
    training run for its checkpoints, which are exported to `exports` where that has not been done. With a NAME these
    are called `NAME-…`.

    A model's role is what `roles` says; else its name, where that is a role's; else what made its folder: the export of
    a run's checkpoint, or a merge. Beside a base, any other folder that was given a name is a tuned one, whoever made
    it: it was named to be compared. A folder without a name takes part in rankings only.

    Args:
        given: the models.
        exports: folder of exported checkpoints.
        roles: `NAME=ROLE`.
        verify: whether checkpoints that are exported are compared with their hashes.

    Raises:
        UserError: a path is none of these, or a role or the name of its model is unknown.
    """
    stated = parse_roles(roles or [])
    resolved = [(model, _named(item)[0]) for item in given for model in _models(*_named(item), exports, verify)]
    models = [replace(model, role=stated.get(model.name, model.role)) for model, _ in resolved]
    for name in stated:
        check_known(name, [model.name for model in models], "model", "--role")
    if any(model.role == Role.BASE for model in models):
        named = {name for model, name in resolved if model.name == name} - stated.keys() - ROLES.keys()
        models = [replace(m, role=Role.CHECKPOINT) if m.name in named and m.role == Role.OTHER else m for m in models]
    return models


def _named(given: str) -> tuple[str, Path]:
    name, equals, path = given.partition("=")
    return (name, Path(path)) if equals else ("", Path(given))


def _models(name: str, path: Path, exports: Path, verify: bool) -> Iterator[Model]:
    prefix = f"{name}-" if name else ""
    if (path / REQUEST_FILE).is_file():
        yield from _of_whole(path, prefix)
    elif (path / IDENTITY).is_file():
        yield from _of_training(path, f"{name or path.resolve().name}-", exports, verify)
    elif not path.is_dir():
        raise UserError(
            f"no such folder: {path.name}",
            where=str(path),
            allowed="a Hugging Face folder, a training run, or a folder of `pdapt run`",
            fix="`pdapt eval fetch --out FOLDER NAME` downloads a baseline" if not path.exists() else "",
        )
    else:
        yield _of_folder(name or path.resolve().name, path)


def _of_folder(name: str, path: Path) -> Model:
    made = Manifest.read(path) if (path / MANIFEST_FILE).is_file() else None
    if name in ROLES or made is None:
        return Model(name, ROLES.get(name, Role.OTHER), path)
    if made.stage in MERGES:
        return Model(name, Role.MERGED, path)
    step = made.counts.get("step")
    return Model(name, Role.CHECKPOINT, path, step) if isinstance(step, int) else Model(name, Role.OTHER, path)


def _of_whole(run: Path, prefix: str) -> Iterator[Model]:
    request = read_object(run / REQUEST_FILE)
    base = request.text("base", "")
    yield Model(f"{prefix}base", Role.BASE, Path(base) if base else run / "hf" / "base")
    for folder, step in exported_steps(run / "hf", "cpt-"):
        yield Model(f"{prefix}{folder.name}", Role.CHECKPOINT, folder, step)
    merged = merged_model(run, merge_points(request))
    if merged is not None and merged.path.is_dir():
        yield replace(merged, name=f"{prefix}{merged.name}")


def _of_training(run: Path, prefix: str, exports: Path, verify: bool) -> Iterator[Model]:
    from ..conversion.convert import export_hf

    for checkpoint in checkpoints(run):
        folder = exports / f"{prefix}{iteration(checkpoint):05d}"
        if not (folder / MANIFEST_FILE).is_file():
            export_hf(checkpoint, folder, verify=verify)
    # Not only those that are still there: training removes what its recipe does not keep.
    for folder, step in exported_steps(exports, prefix):
        yield Model(folder.name, Role.CHECKPOINT, folder, step)


def proxy(
    given: list[str],
    heldout: list[str],
    out: Path,
    *,
    limits: Limits,
    batch_size: int,
    follow: bool,
    roles: list[str] | None = None,
    verify: bool = True,
) -> dict[str, Any]:
    """Measure models on held-out text; with `follow`, until the training runs among them have ended.

    `<out>/.tasks` holds the tasks, `<out>/.hf` exported checkpoints: no model's name begins with a point. Returns what
    `as_table` does.
    """
    tasks, exports = out / TASKS, out / EXPORTS
    build_tasks(read_domains(heldout, verify=verify), tasks)
    while True:
        ended = _ended(given)
        models = resolve(given, exports, roles, verify=verify)
        if models or not follow:
            scores = run_proxy(models, tasks, out, limits=limits, batch_size=batch_size, verify=verify)
            if ended or not follow:
                return as_table(scores)
            log.info(f"eval: {counted(len(models), 'model')} measured, training goes on")
        time.sleep(PAUSE)


def _ended(given: list[str]) -> bool:
    """Whether no training run among the models is active; asked before checkpoints are listed, to miss none."""
    runs = [path for _, path in map(_named, given) if (path / IDENTITY).is_file()]
    return all((run / MANIFEST_FILE).is_file() or (run / STATE).is_file() for run in runs)


def as_table(scores: Scores) -> dict[str, Any]:
    """Scores as JSON: model -> domain, or domain/source -> `perplexity`, `gold_logprob` and their errors."""
    names = {"byte_perplexity": "perplexity", "gold_logprob": "gold_logprob"}
    table: dict[str, Any] = {name: {} for name, _ in scores.models}
    for score in scores.scores:
        if score.metric in names:
            place = f"{score.domain}/{score.source}" if score.source else score.domain
            cell = table[score.model].setdefault(place, {})
            cell[names[score.metric]], cell[f"{names[score.metric]}_stderr"] = score.value, score.stderr
    return table


def follow_run(
    run: Path, out: Path | None, heldout: list[str], *, keep_last: int | None, poll: float, once: bool, verify: bool
) -> list[str]:
    """Export each checkpoint of a run; where held-out text is given, evaluate it before the next.

    Args:
        run: run folder of `pdapt train`.
        out: see `follow`; by default `hf` in the run folder.
        heldout: `DOMAIN=PATH`; scores go to `<out>/scores/<checkpoint>`.
        keep_last, poll, once, verify: see `follow`.
    """
    from ..conversion.follow import follow

    out = out or run / "hf"
    then = _evaluation(heldout, out, verify=verify) if heldout else None
    return follow(run, out, keep_last=keep_last, poll=poll, once=once, then=then, verify=verify)


def _evaluation(heldout: list[str], out: Path, *, verify: bool) -> Callable[[Path], None]:
    from ..eval.heldout.evaluate import evaluate

    tasks, scores = out / TASKS, out / "scores"
    build_tasks(read_domains(heldout, verify=verify), tasks)

    def then(folder: Path) -> None:
        evaluate([Model(folder.name, Role.CHECKPOINT, folder)], tasks, scores / folder.name, verify=verify)

    return then
