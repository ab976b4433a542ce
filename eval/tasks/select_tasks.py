"""The tasks that a command names: of the suite by name, group or pattern, and the user's own by path."""

from pathlib import Path

from ...core import log
from ...core.errors import UserError, check_known
from ...core.files import check_regular
from ...core.log import counted
from ..models import MODEL_NAME
from .all_tasks import ALL_GROUPS, ALL_TASKS, choose_tasks
from .own.asked_questions import EXAMPLES, QUESTION_FILES, is_examples, task_of_questions
from .own.asked_yaml import task_of_yaml
from .own.own_task import OwnTask
from .own.task_yaml import TaskYaml, read_task_yaml
from .questions import read_questions
from .suite import Benchmark

TASK_FILES = (".yaml", ".yml")
ALLOWED = "a file of questions (.csv, .jsonl), a task file of lm-eval (.yaml, .yml), or a folder of either"
FETCH = "give the folder that `pdapt eval fetch` made, or name files of your own with --tasks"
AnyTask = Benchmark | OwnTask


def is_path(pattern: str) -> bool:
    """Whether `--tasks` means a file or folder, not a name."""
    return "/" in pattern or Path(pattern).suffix.lower() in (*TASK_FILES, *QUESTION_FILES)


def select_tasks(patterns: list[str]) -> list[AnyTask]:
    """The tasks that are named, those of the suite first; without any, all 28 of the suite.

    Raises:
        UserError: a name matches no task, a path holds none or one that cannot be taken, or two have one name.
    """
    names = [pattern for pattern in patterns if not is_path(pattern)]
    for name in names:
        if name not in (*ALL_TASKS, *ALL_GROUPS) and Path(name).exists():
            raise UserError(f"{name} is a path without '/'", where="--tasks", fix=f"write ./{name}")
    of_suite = choose_tasks(names) if names or not patterns else []
    own = [task for pattern in patterns if is_path(pattern) for task in _own_tasks(Path(pattern))]
    by_name: dict[str, OwnTask] = {}
    for task in own:
        if task.name in (*ALL_TASKS, *ALL_GROUPS):
            raise UserError(
                f"{task.name} is the name of one of pdapt's own tasks or groups",
                where=str(task.file),
                fix="give it another name",
            )
        other = by_name.setdefault(task.name, task)
        if other.file.resolve() != task.file.resolve():
            raise UserError(f"two tasks are called {task.name}", where=f"{other.file}, {task.file}", fix="rename one")
    return [*of_suite, *by_name.values()]


def of_suite(tasks: list[AnyTask]) -> list[Benchmark]:
    """Those of the suite, whose data `pdapt eval fetch` prepares."""
    return [task for task in tasks if isinstance(task, Benchmark)]


def select_questions(patterns: list[str], data: Path | None) -> dict[str, list[list[str]]]:
    """The questions of tasks, for a search in a corpus: the text of each, then its choices, by name of the task.

    Args:
        patterns: as of `select_tasks`; without any, the suite's if there are `data`.
        data: a folder made by `pdapt eval fetch`, for tasks of the suite.

    Raises:
        UserError: as `select_tasks`; the data are missing or damaged, or a task file does not say which column is the
            question.
    """
    tasks = select_tasks(patterns) if patterns or data else []
    fetched = of_suite(tasks)
    if fetched and data is None:
        raise UserError(f"{fetched[0].name} needs the tasks' data", where="--data", fix=FETCH)
    of_fetched = read_questions(data, fetched) if data and fetched else {}
    return of_fetched | {task.name: _texts(task) for task in tasks if isinstance(task, OwnTask)}


def searchable_tasks(patterns: list[str]) -> list[AnyTask]:
    """The tasks of `select_tasks`, each of whose questions a corpus can be searched for.

    Raises:
        UserError: as `select_tasks`, or a task file does not say which column is the question.
    """
    tasks = select_tasks(patterns)
    for task in tasks:
        if isinstance(task, OwnTask):
            _texts(task)
    return tasks


def _texts(task: OwnTask) -> list[list[str]]:
    if task.texts is None:
        raise UserError(
            f"{task.name} does not say which column is the question",
            where=str(task.file),
            fix="add doc_to_decontamination_query: COLUMN",
        )
    return task.texts


def _own_tasks(path: Path) -> list[OwnTask]:
    """The tasks of a path."""
    if path.is_dir():
        return _of_folder(path)
    check_regular(path)
    if path.suffix.lower() in QUESTION_FILES:
        if is_examples(path):
            raise UserError(f"{path.name} holds worked examples", where="--tasks", fix="name the file of the questions")
        return [task_of_questions(path, _name(path.stem, str(path)))]
    if path.suffix.lower() not in TASK_FILES:
        raise UserError(f"{path.name} is not a task", where="--tasks", allowed=ALLOWED)
    task = read_task_yaml(path)
    if task.group:
        raise UserError(f"{path.name} is a group of tasks", where="--tasks", fix=f"give its folder: {path.parent}/")
    if not task.is_task:
        raise UserError(f"{path.name} defines no task", where=str(path), allowed="a key `task`, with its name")
    return [_of_yaml(task, {})]


def _of_folder(folder: Path) -> list[OwnTask]:
    """A folder's task files; where it has none, its files of questions."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    read = [read_task_yaml(path) for path in files if path.suffix.lower() in TASK_FILES]
    tasks = [task for task in read if task.is_task]
    for task in read:
        if "task" in task.config and not task.is_task and not task.group:
            raise UserError(
                f"{task.path.name} is neither a task nor a group",
                where=str(task.path),
                allowed="task: NAME; or group: NAME and task: [NAME, ...]",
            )
    if tasks:
        groups = _groups(read, [str(task.config["task"]) for task in tasks])
        made = [_of_yaml(task, groups) for task in tasks]
        _say_what_is_left(files, read, made)
        return made
    questions = [path for path in files if path.suffix.lower() in QUESTION_FILES]
    names = [path.stem for path in questions]
    for path in filter(is_examples, questions):
        if path.stem.removesuffix(EXAMPLES) not in names:
            raise UserError(f"{path.name} holds worked examples without a file of questions", where=str(path))
    questions = [path for path in questions if not is_examples(path)]
    if not questions:
        raise UserError("the folder holds no tasks", where=str(folder), allowed=ALLOWED)
    return [task_of_questions(path, _name(path.stem, str(path))) for path in questions]


def _say_what_is_left(files: list[Path], read: list[TaskYaml], tasks: list[OwnTask]) -> None:
    """Say which files of a folder look like tasks but are not."""
    data = {file.content.resolve() for task in tasks for file in task.data if isinstance(file.content, Path)}
    left = [each.path.name for each in read if not each.is_task and not each.group]
    left += [path.name for path in files if path.suffix.lower() in QUESTION_FILES and path.resolve() not in data]
    if left:
        log.info(f"eval: not tasks, beside {counted(len(tasks), 'task file')}: {', '.join(left)}")


def _groups(read: list[TaskYaml], tasks: list[str]) -> dict[str, str]:
    """Task -> its group, by the groups of a folder."""
    groups: dict[str, str] = {}
    for each in read:
        if each.group:
            name, members = each.group
            where = f"{each.path}: task"
            for member in members:
                check_known(str(member), tasks, "task", where)
                if groups.setdefault(member, _name(name, where)) != name:
                    raise UserError(f"{member} is in {groups[member]}, too", where=where)
    return groups


def _of_yaml(task: TaskYaml, groups: dict[str, str]) -> OwnTask:
    name = _name(str(task.config["task"]), str(task.path))
    return task_of_yaml(task, name, groups.get(name, name))


def _name(name: str, where: str) -> str:
    """A name that a folder of results can have, beside a model's files there."""
    if not MODEL_NAME.fullmatch(name) or "." in name:
        raise UserError(
            f"{name!r} cannot name a task",
            where=where,
            allowed="letters, digits, '_' and '-', a letter or digit first",
            fix="rename it",
        )
    return name
