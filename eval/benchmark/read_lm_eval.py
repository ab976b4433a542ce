"""Results of lm-eval from anywhere, of any tasks: folders with `results_*.json` and, where kept, `samples_*.jsonl`."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from ...core import log
from ...core.errors import UserError, check_known
from ...core.files import read_object
from ...core.jsonio import JsonObject
from ...core.reading.yaml_mapping import read_mapping
from ..harness.result_files import TaskResults, is_finite
from ..models import ROLES, Role, check_name
from ..tasks.task_suite import OtherTask, ScoredTask, TaskSuite
from .read_results import Answers, Member, Problem, Reason, Runs, StatedScore, Unusable, read_answers

MOST_GROUPS_BYTES = 2**20
"""Largest size of a file of groups."""


@dataclass(frozen=True)
class LmEvalFolders:
    """Folders of lm-eval's results, one of each model, and how they are read.

    Attributes:
        folders: name of a model -> its folder; base, tuned and merged are roles, too.
        roles: name of a model -> another role.
        metric: `NAME` or `NAME,FILTER` of the score; by default the first of each task's own list.
        groups: YAML file, group -> names or patterns of its tasks; by default lm-eval's own groups.
        target: the group that training was for.
    """

    folders: dict[str, Path]
    roles: dict[str, Role] = field(default_factory=dict)
    metric: str = ""
    groups: Path | None = None
    target: str | None = None

    @property
    def members(self) -> list[Member]:
        """The models with their roles; beside a base, one that has no other role is a tuned model.

        Raises:
            UserError: a role is given to a model that is not there.
        """
        for name in self.roles:
            check_known(name, list(self.folders), "model", "--role")
        named = {name: self.roles.get(name, ROLES.get(name)) for name in self.folders}
        others = Role.CHECKPOINT if Role.BASE in named.values() else Role.OTHER
        return [Member(name, role or others) for name, role in named.items()]

    @property
    def family(self) -> str:
        """The base's name, after which the models are called together; without a base the first one's."""
        return next((member.name for member in self.members if member.role == Role.BASE), next(iter(self.folders)))


@dataclass(frozen=True)
class _Result:
    """A task in a file of results: the file, its values, and the file of its samples, which may not be there."""

    path: Path
    values: JsonObject
    samples: Path


def results_files(folder: Path) -> list[Path]:
    """lm-eval's files of results in a folder, or in its one sub-folder, the oldest first.

    Raises:
        UserError: several sub-folders have results, which are of several models.
    """
    here = sorted(folder.glob("results*.json"))
    below = sorted(folder.glob("*/results*.json"))
    if not here and len({path.parent for path in below}) > 1:
        models = ", ".join(sorted({path.parent.name for path in below}))
        raise UserError(f"results of several models: {models}", where=str(folder), fix="give NAME=FOLDER for each")
    return here or below


def read_lm_eval(given: LmEvalFolders) -> Runs:
    """Read the results of models on the tasks that they have.

    Raises:
        UserError: a folder has no results, a metric is unknown or no share of right answers, models share no task, or
            groups do not go with the tasks.
    """
    results = {name: _results(name, folder) for name, folder in given.folders.items()}
    tasks = list(dict.fromkeys(task for of_model in results.values() for task in of_model))
    if len(results) > 1 and not any(sum(task in of_model for of_model in results.values()) > 1 for task in tasks):
        listed = "; ".join(f"{name}: {', '.join(of_model)}" for name, of_model in results.items())
        raise UserError("the folders have no task in common", where="FOLDER", allowed=listed)
    suite = _suite(results, tasks, given)
    members, base = given.members, given.family
    answers: dict[tuple[str, str], Answers] = {}
    stated: dict[tuple[str, str], StatedScore] = {}
    problems: list[Problem] = []
    for name, of_model in results.items():
        for task, result in of_model.items():
            try:
                stated[name, task] = _stated(result, suite.tasks[task])
                if result.samples.is_file():
                    answers[name, task] = read_answers(result.path, result.samples, name, suite.tasks[task])
            except Unusable as error:
                if error.reason == Reason.GRADED:
                    continue  # compared by the score
                stated.pop((name, task), None)
                problems.append(Problem(name, task, error.reason, error.values))
        absent = [task for task in tasks if task not in of_model]
        problems += [Problem(name, task, Reason.MISSING, {"what": "results*.json"}) for task in absent]
    if not stated:
        first = problems[0]
        raise UserError(
            f"no result of any model can be used; the first problem: {first.model}, {first.task}: {first.reason}",
            where=str(given.folders[base]),
        )
    inputs = {f"{name}/{task}": result.path for name, of_model in results.items() for task, result in of_model.items()}
    folder = given.folders[base]
    return Runs(
        base, folder, members, answers=answers, problems=problems, config={}, suite=suite, stated=stated, inputs=inputs
    )


def _results(name: str, folder: Path) -> dict[str, _Result]:
    """Task -> the newest result of it."""
    files = results_files(folder)
    if not files:
        raise UserError(
            f"there are no results of lm-eval for {name}", where=str(folder), allowed="a folder with results*.json"
        )
    tasks: dict[str, _Result] = {}
    for path in files:
        values = read_object(path, nan=True)
        for task in values.object("configs").values:
            check_name(task, f"{path}: configs", kind="task")
            if task in tasks:
                log.warn(f"report: {name}: {task} is in {tasks[task].path.name}, too; {path.name} is newer and counts")
            date = path.stem.removeprefix("results")
            samples = path.with_name(f"samples_{task}{date}.jsonl")
            tasks[task] = _Result(path, values, samples)
    return tasks


def _suite(results: dict[str, dict[str, _Result]], tasks: list[str], given: LmEvalFolders) -> TaskSuite:
    groups = _groups(results, tasks, given.groups)
    made = {}
    for task in tasks:
        of_models = [of_model[task] for of_model in results.values() if task in of_model]
        metric, filter_name = _metric(task, of_models[0], given.metric)
        config = of_models[0].values.object("configs").object(task)
        made[task] = OtherTask(
            task, groups[task], metric=metric, filter=filter_name, output_type=config.text("output_type", "")
        )
    names = tuple(dict.fromkeys(groups[task] for task in tasks))
    if given.target is not None:
        check_known(given.target, list(names), "group", "--target")
    return TaskSuite(made, names, given.target)


def _groups(results: dict[str, dict[str, _Result]], tasks: list[str], file: Path | None) -> dict[str, str]:
    """Task -> its group: by a file, else lm-eval's smallest group that has it, else the task alone."""
    if file is not None:
        return read_groups(file, tasks)
    groups = {task: task for task in tasks}
    for of_model in results.values():
        for result in of_model.values():
            if "group_subtasks" not in result.values:
                continue
            stated = result.values.object("group_subtasks")
            lists = {group: stated.list(group) for group in stated.values}
            for group, members in sorted(lists.items(), key=lambda item: -len(item[1])):
                for task in set(tasks).intersection(name for name in members if isinstance(name, str)):
                    groups[task] = group
    return groups


def read_groups(file: Path, tasks: list[str]) -> dict[str, str]:
    """Task -> its group, by a YAML file of group -> names or patterns of tasks; a task in none is a group of its own.

    Raises:
        UserError: the file has another form, or names no task, or one in two groups.
    """
    value = read_mapping(file, MOST_GROUPS_BYTES)
    if not all(isinstance(members, list) and members for members in value.values()):
        raise UserError("this is not a file of groups", where=str(file), allowed="a line such as `law: [task, task_*]`")
    groups: dict[str, str] = {}
    for group, patterns in value.items():
        check_name(group, str(file), kind="group")
        for pattern in map(str, patterns):
            matching = [task for task in tasks if fnmatchcase(task, pattern)]
            if not matching:
                raise UserError(f"no task is called {pattern!r}", where=f"{file}: {group}", allowed=", ".join(tasks))
            twice = [task for task in matching if groups.get(task, group) != group]
            if twice:
                raise UserError(f"{twice[0]} is in {groups[twice[0]]}, too", where=f"{file}: {group}")
            for task in matching:
                groups[task] = group
    return {task: groups.get(task, task) for task in tasks}


def _metric(task: str, result: _Result, wanted: str) -> tuple[str, str]:
    """Metric and filter of the score of a task."""
    scores = _task_scores(task, result)
    listed = result.values.object("configs").object(task).values.get("metric_list")
    rows = listed if isinstance(listed, list) else []
    own = [row["metric"] for row in rows if isinstance(row, dict) and isinstance(row.get("metric"), str)]
    order = [wanted] if wanted else [*own, *(key.partition(",")[0] for key in scores)]
    keys = [key for name in order for key in scores if name in (key, key.partition(",")[0])]
    if not keys:
        raise UserError(
            f"{task} has no metric {wanted!r}" if wanted else f"{task} has no score",
            where=f"{result.path}: {task}",
            allowed=", ".join(scores) or "a number beside the name of a metric",
            fix="give another --metric" if wanted else "",
        )
    name, _, filter_name = keys[0].partition(",")
    return name, filter_name


def _check_share(result: _Result, task: ScoredTask, score: float) -> None:
    better = result.values.object("higher_is_better").object(task.name).values if _directed(result, task.name) else {}
    if not 0 <= score <= 1 or better.get(task.metric) is False:
        raise UserError(
            f"{task.score_key} is {score:g}, which is not a share of right answers",
            where=f"{result.path}: {task.name}",
            allowed="a metric between 0 and 1 for which higher is better; here are "
            + ", ".join(_task_scores(task.name, result)),
            fix="give another --metric",
        )


def _directed(result: _Result, task: str) -> bool:
    return "higher_is_better" in result.values and task in result.values.object("higher_is_better")


def _task_scores(task: str, result: _Result) -> dict[str, float]:
    """Key -> score, without errors; one that is not a number is refused where it is read."""
    values = result.values.object("results").object(task).values.items()
    return {
        key: float(value) if is_finite(value) else 0.0
        for key, value in values
        if "," in key and "_stderr," not in key and isinstance(value, int | float)
    }


def _stated(result: _Result, task: ScoredTask) -> StatedScore:
    try:
        results = TaskResults.read(result.path, task)
        stderr = result.values.object("results").object(task.name).values.get(f"{task.metric}_stderr,{task.filter}")
    except UserError as error:
        raise Unusable(Reason.UNREADABLE, what=result.path.name, why=str(error)) from None
    for key, value in ((task.score_key, results.score), (f"{task.metric}_stderr,{task.filter}", stderr)):
        if not is_finite(value):
            raise Unusable(Reason.NOT_A_NUMBER, what=key)
    _check_share(result, task, float(results.score))
    if results.answered < 2:
        raise Unusable(Reason.PARTIAL, found=results.answered, wanted=2)
    return StatedScore(float(results.score), float(stderr or 0), results.answered, results.protocol)
