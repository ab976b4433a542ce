"""A folder of results: its models and tasks, which of them are done, and which process works on which."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...core.errors import UserError, check_known
from ...core.files import read_object, write_json
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE, fingerprint
from ...core.system import lock
from ..models import Model, Role, check_name
from ..tasks.all_tasks import ALL_TASKS, suite_of_tasks
from ..tasks.own.own_task import OwnTask
from ..tasks.select_tasks import AnyTask
from ..tasks.suite import TARGET_GROUP
from ..tasks.task_suite import OtherTask, ScoredTask, TaskSuite

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
        name: the model's name, also of its folder.
        role: role in comparisons.
        step: training step of a checkpoint, if known.
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
class PlannedTask:
    """A task of the user's in a folder of results.

    Attributes:
        group: group in whose average the task counts.
        metric: lm-eval's name of the score.
        filter: lm-eval's name of the filter of answers that the score is of.
        output_type: lm-eval's name of the kind of request.
        sha256: SHA-256 of the hashes of the task's files.
    """

    group: str
    metric: str
    filter: str
    output_type: str
    sha256: str

    @staticmethod
    def of(task: OwnTask) -> "PlannedTask":
        """The record of a task."""
        return PlannedTask(
            group=task.group,
            metric=task.metric,
            filter=task.filter,
            output_type=task.output_type,
            sha256=task.sha256,
        )

    @staticmethod
    def from_json(row: JsonObject) -> "PlannedTask":
        """Check and take over JSON values.

        Raises:
            UserError: a value is missing or of another type, or the group cannot be that of a table.
        """
        check_name(row.values.get("group"), row.where, kind="group")
        return PlannedTask(**{name: row.text(name) for name in ("group", "metric", "filter", "output_type", "sha256")})

    def scored(self, name: str) -> OtherTask:
        """The task as reports see it."""
        return OtherTask(name, self.group, metric=self.metric, filter=self.filter, output_type=self.output_type)


@dataclass(frozen=True)
class Plan:
    """The models and tasks of a folder of results, finished or not.

    Attributes:
        models: all models that were requested so far.
        tasks: names of the tasks, in the order of the suite, then the user's own.
        config: settings that all results share: backend, limits, version of lm-eval.
        own: name -> task, for the user's own tasks; left out if there are none.
    """

    models: list[Member]
    tasks: list[str]
    config: dict[str, Any]
    own: dict[str, PlannedTask] = field(default_factory=dict)

    @property
    def suite(self) -> TaskSuite:
        """The tasks with their groups: pdapt's suites where none is the user's own, else those that were asked."""
        if not self.own:
            return suite_of_tasks(self.tasks)
        others: dict[str, ScoredTask] = {name: task for name, task in ALL_TASKS.items() if name in self.tasks}
        tasks = others | {name: task.scored(name) for name, task in self.own.items()}
        groups = tuple(dict.fromkeys(task.group for task in tasks.values()))
        return TaskSuite(tasks, groups, TARGET_GROUP if TARGET_GROUP in groups else None)

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
            own = value.objects("own") if "own" in value else {}
            for task in own:
                check_name(task, f"{value.where}: own", kind="task")
            planned = {name: PlannedTask.from_json(row) for name, row in own.items()}
            return Plan(models, tasks, value.object("config").values, planned)
        except UserError as error:
            raise UserError(f"{PLAN_FILE} is not a plan of runs: {error.what}", where=error.where) from None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: value for name, value in asdict(self).items() if name != "own" or value}


@dataclass(frozen=True)
class ModelIdentity:
    """The model whose results a folder `<out>/<model>` holds.

    Attributes:
        name: the model's name, also of the folder.
        sha256: SHA-256 of the model's files.
        chat_template: whether prompts were put into the model's chat template.
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


def write_plan(models: list[Model], tasks: Sequence[AnyTask], config: dict[str, Any], out: Path) -> None:
    """Add models and tasks to a folder's plan.

    Raises:
        UserError: its results have other settings, or are of another task of the user's that has the same name.
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
        own = plan.own | _own_records(tasks, plan, out)
        names = {*plan.tasks, *(task.name for task in tasks)}
        in_order = [*(name for name in ALL_TASKS if name in names), *own]
        merged = Plan(list(members.values()), in_order, plan.config, own)
        write_json(out / PLAN_FILE, merged.to_json())


def _own_records(tasks: Sequence[AnyTask], plan: Plan, out: Path) -> dict[str, PlannedTask]:
    """Name -> record of the user's own tasks, which are as they were."""
    records = {task.name: PlannedTask.of(task) for task in tasks if isinstance(task, OwnTask)}
    for name, record in records.items():
        if name in plan.own and plan.own[name].sha256 != record.sha256:
            raise UserError(
                f"{name} has changed: {out} holds results of its files as they were",
                where=str(out / PLAN_FILE),
                fix="undo the change, rename the task, or choose another --out: answers to other questions are not "
                "compared",
            )
    return records


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
