"""What a folder of runs is to hold, which models those are, and who is at what."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_object, write_json
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE, fingerprint
from ...core.system import lock
from ..scores import Model, check_name
from ..tasks.suite import SUITE, Benchmark

PLAN = "runs.json"
"""What a folder of runs is to hold: `models`, `tasks`, `config`."""
IDENTITY = "model.json"
"""Which model a folder `<out>/<model>` holds the results of: `name`, `sha256` of its folder, `chat_template`."""

TRIES = 3
"""How often a claim is tried, since who only looks whether there is one holds it a moment."""


def read_plan(out: Path) -> JsonObject:
    """What a folder of runs is to hold; see `PLAN`.

    Raises:
        UserError: the folder holds no runs, or what says so is damaged.
    """
    plan = read_object(out / PLAN)
    try:
        for row in plan.list("models"):
            _check_member(JsonObject(row, f"{plan.where}: models"))
        for task in plan.list("tasks"):
            check_name(task, f"{plan.where}: tasks", kind="task")
        plan.object("config")
    except UserError as error:
        raise UserError(f"{PLAN} is no plan of runs: {error.what}", where=error.where) from None
    return plan


def _check_member(model: JsonObject) -> None:
    check_name(model.text("name"), model.where)
    model.text("role")
    if "step" in model:
        model.integer("step")


def status(out: Path) -> dict[str, Any]:
    """What is done and what is left of a folder of runs.

    Returns:
        `models`: name -> `done`, `running`, `left` (lists of tasks); `done`, `running` and `left` in all; `config`.

    Raises:
        UserError: the folder holds no runs.
    """
    plan = read_plan(out).values
    models = {}
    for model in plan["models"]:
        states: dict[str, list[str]] = {"done": [], "running": [], "left": []}
        for task in plan["tasks"]:
            states[_state(out / model["name"] / task)].append(task)
        models[model["name"]] = states
    totals = {name: sum(len(states[name]) for states in models.values()) for name in ("done", "running", "left")}
    return {"models": models, "config": plan["config"], **totals}


def _state(folder: Path) -> str:
    if (folder / MANIFEST_FILE).is_file():
        return "done"
    if not _claim(folder).exists():
        return "left"
    with claimed(folder) as mine:
        return "left" if mine else "running"


def write_plan(models: list[Model], tasks: list[Benchmark], config: dict[str, Any], out: Path) -> None:
    """Write down what the folder is to hold, beside what earlier calls wanted.

    Raises:
        UserError: those had other settings.
    """
    wanted = {model.name: {"name": model.name, "role": model.role, "step": model.step} for model in models}
    with claimed(out / PLAN, wait=True):
        held: dict[str, Any] = read_plan(out).values if (out / PLAN).is_file() else {"models": [], "tasks": []}
        before = held.get("config", config)
        differing = [name for name in before if before[name] != config.get(name)]
        if differing:
            raise UserError(
                f"{out} holds results with another {', '.join(differing)}",
                where=str(out / PLAN),
                allowed=json.dumps(before),
                mend="give the same again, or choose another --out: such results are not compared",
            )
        names = {*held["tasks"], *(task.name for task in tasks)}
        plan = {
            "models": list(({model["name"]: model for model in held["models"]} | wanted).values()),
            "tasks": [task.name for task in SUITE if task.name in names],
            "config": before,
        }
        write_json(out / PLAN, plan)


def identify(model: Model, out: Path, *, chat_template: bool = False) -> None:
    """Write down which model a name stands for, and whether it is asked through its chat template, or check that.

    Raises:
        UserError: it is another, or asked in the other way.
    """
    path = out / model.name / IDENTITY
    found = {"name": model.name, "sha256": fingerprint(model.path)}
    found |= {"chat_template": True} if chat_template else {}
    held = read_object(path).values if path.is_file() else found
    if held.get("sha256") != found["sha256"]:
        raise UserError(
            f"{out} holds results of another model called {model.name}",
            where=str(path),
            mend="name this one differently (NAME=FOLDER), or choose another --out",
        )
    if held != found:
        raise UserError(
            f"{out} holds results of {model.name} {'without' if chat_template else 'with'} its chat template",
            where=str(path),
            mend="name it differently (NAME=FOLDER), or choose another --out: such results are not compared",
        )
    write_json(path, found)


def _claim(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.claim"  # not the lock of the stage that fills the folder


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process alone is at `folder` until the block ends. A killed process's claim goes with it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(1 if wait else TRIES)):
        with lock.claimed(_claim(folder), wait=wait) as mine:
            if mine or not left:
                yield mine
                return
        time.sleep(0.1)
