"""A folder of results: its models and tasks, which of them are done, and which process works on which."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...core.errors import UserError, check_known
from ...core.files import read_object, write_json
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE, fingerprint
from ...core.system import lock
from ..models import Model, Role, check_name
from ..tasks.all_tasks import ALL_TASKS
from ..tasks.suite import Benchmark

PLAN_FILE = "runs.json"
"""`Plan`."""
MODEL_FILE = "model.json"
"""In a model's folder: `ModelIdentity`."""
CLAIM_TRIES = 3
"""Tries to claim a folder, because a process that only looks whether there is a claim holds it for a moment."""


class TaskState(StrEnum):
    """Progress of a model's task."""

    DONE = "done"
    RUNNING = "running"
    LEFT = "left"


@dataclass(frozen=True)
class Member:
    """A model of a folder of results.

    Attributes:
        name: of its folder.
        role: what it is compared as.
        step: of a checkpoint, if known.
    """

    name: str
    role: Role
    step: int | None = None

    @staticmethod
    def from_json(row: JsonObject) -> "Member":
        """Check and take over JSON values.

        Raises:
            UserError: a value is missing or of another type, or the name cannot be that of a folder.
        """
        name, role = row.text("name"), row.text("role")
        check_name(name, row.where)
        check_known(role, list(Role), "role", row.where)
        return Member(name, Role(role), row.integer("step") if "step" in row else None)


@dataclass(frozen=True)
class Plan:
    """The models and tasks of a folder of results, finished or not.

    Attributes:
        models: all that were asked for so far.
        tasks: their names, in the order of the suite.
        config: settings that all results share: backend, limits, version of lm-eval.
    """

    models: list[Member]
    tasks: list[str]
    config: dict[str, Any]

    @staticmethod
    def read(out: Path) -> "Plan":
        """Read a folder's plan.

        Raises:
            UserError: the folder has none, or it is damaged.
        """
        value = read_object(out / PLAN_FILE)
        try:
            models = [Member.from_json(JsonObject(row, f"{value.where}: models")) for row in value.list("models")]
            tasks = value.list("tasks")
            for task in tasks:
                check_name(task, f"{value.where}: tasks", kind="task")
            return Plan(models, tasks, value.object("config").values)
        except UserError as error:
            raise UserError(f"{PLAN_FILE} is not a plan of runs: {error.what}", where=error.where) from None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ModelIdentity:
    """The model whose results a folder `<out>/<model>` holds.

    Attributes:
        name: of the folder.
        sha256: of the model's files.
        chat_template: whether it was asked in the form of a conversation.
    """

    name: str
    sha256: str
    chat_template: bool = False

    @staticmethod
    def read(path: Path) -> "ModelIdentity":
        """Read a model's file.

        Raises:
            UserError: it is damaged.
        """
        value = read_object(path)
        return ModelIdentity(value.text("name"), value.text("sha256"), value.flag("chat_template", False))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"name": self.name, "sha256": self.sha256} | ({"chat_template": True} if self.chat_template else {})


@dataclass(frozen=True)
class Status:
    """Progress of a folder of results: model -> state -> tasks."""

    models: dict[str, dict[TaskState, list[str]]]
    config: dict[str, Any]

    @property
    def states(self) -> list[TaskState]:
        """The states, in the order of their lists."""
        return list(TaskState)

    def count(self, state: TaskState) -> int:
        """Tasks of all models in a state."""
        return sum(len(states[state]) for states in self.models.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON values: `models`, `config`, and the number of tasks in each state."""
        return {**asdict(self), **{state: self.count(state) for state in TaskState}}


def read_status(out: Path) -> Status:
    """Which tasks of a folder of results are done, running and left.

    Raises:
        UserError: the folder holds no results.
    """
    plan = Plan.read(out)
    models = {}
    for member in plan.models:
        states: dict[TaskState, list[str]] = {state: [] for state in TaskState}
        for task in plan.tasks:
            states[_state(out / member.name / task)].append(task)
        models[member.name] = states
    return Status(models, plan.config)


def _state(folder: Path) -> TaskState:
    if (folder / MANIFEST_FILE).is_file():
        return TaskState.DONE
    if not _claim_file(folder).exists():
        return TaskState.LEFT
    with claimed(folder) as mine:
        return TaskState.LEFT if mine else TaskState.RUNNING


def write_plan(models: list[Model], tasks: list[Benchmark], config: dict[str, Any], out: Path) -> None:
    """Add models and tasks to a folder's plan.

    Raises:
        UserError: its results have other settings.
    """
    with claimed(out / PLAN_FILE, wait=True):
        plan = Plan.read(out) if (out / PLAN_FILE).is_file() else Plan([], [], config)
        differing = [name for name in plan.config if plan.config[name] != config.get(name)]
        if differing:
            raise UserError(
                f"{out} holds results with another {', '.join(differing)}",
                where=str(out / PLAN_FILE),
                allowed=json.dumps(plan.config),
                fix="give the same options again, or choose another --out: results of other options are not compared",
            )
        members = {member.name: member for member in plan.models}
        members |= {model.name: Member(model.name, model.role, model.step) for model in models}
        names = {*plan.tasks, *(task.name for task in tasks)}
        merged = Plan(list(members.values()), [name for name in ALL_TASKS if name in names], plan.config)
        write_json(out / PLAN_FILE, merged.to_json())


def leave_out_other_merges(out: Path, models: list[Model]) -> list[str]:
    """Take merged models that are not among `models` out of a folder's plan; their results stay.

    Returns:
        Their names.
    """
    if not (out / PLAN_FILE).is_file():
        return []
    kept = {model.name for model in models}
    with claimed(out / PLAN_FILE, wait=True):
        plan = Plan.read(out)
        others = [member for member in plan.models if member.role == Role.MERGED and member.name not in kept]
        if others:
            members = [member for member in plan.models if member not in others]
            write_json(out / PLAN_FILE, replace(plan, models=members).to_json())
    return [member.name for member in others]


def check_identity(model: Model, out: Path, *, chat_template: bool = False) -> None:
    """Check that a model's folder holds results of this model, asked in this way; record it if it is new.

    Raises:
        UserError: it is another model, or prompts were put into its chat template, or not, unlike now.
    """
    path = out / model.name / MODEL_FILE
    identity = ModelIdentity(model.name, fingerprint(model.path), chat_template)
    recorded = ModelIdentity.read(path) if path.is_file() else identity
    if recorded.sha256 != identity.sha256:
        raise UserError(
            f"{out} holds results of another model called {model.name}",
            where=str(path),
            fix="name this one differently (NAME=FOLDER), or choose another --out",
        )
    if recorded != identity:
        raise UserError(
            f"{out} holds results of {model.name} {'without' if chat_template else 'with'} its chat template",
            where=str(path),
            fix="name it differently (NAME=FOLDER), or choose another --out: such results are not compared",
        )
    write_json(path, identity.to_json())


def _claim_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.claim"  # not the lock of the stage that fills the folder


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Claim `folder` for this process until the block ends; False where another process has it.

    A killed process's claim ends with it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for tries_left in reversed(range(1 if wait else CLAIM_TRIES)):
        with lock.claimed(_claim_file(folder), wait=wait) as mine:
            if mine or not tries_left:
                yield mine
                return
        time.sleep(0.1)
