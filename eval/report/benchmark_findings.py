"""All results of a benchmark report, read and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ...core.errors import UserError, check_known
from ...core.training_cost import Spent
from ..benchmark.read_lm_eval import LmEvalFolders, read_groups, read_lm_eval
from ..benchmark.read_results import PLAN_FILE, Problem, Runs, read_runs
from ..models import Role
from ..statistics.alterations import AlteredShare, altered_shares
from ..statistics.choose_checkpoint import Progress, follow_checkpoints
from ..statistics.compare import Compared, Family, compare
from ..statistics.contamination import read_contaminated
from ..statistics.document_scores import DocumentScore, document_scores
from ..statistics.multiple_testing import ClearRule
from ..tasks.all_tasks import ALL_GROUPS, ALL_TASKS
from ..tasks.suite import PAPER_SUITE
from ..tasks.task_suite import OtherTask, TaskSuite, union
from . import ranking_tables


@dataclass(frozen=True)
class BenchmarkReportOptions:
    """Options of a report.

    Attributes:
        folders: name -> folder of results of one base, its checkpoints, its merged model and any others.
        checkpoints: name -> checkpoint to report; by default the one that our rule chooses (see `choose_checkpoint`).
        test: rule by which tables are coloured; one of `ClearRule`.
        contaminated: list of contaminated questions.
        language: of the page.
        training: name -> time and cost of its training, for the page.
        roles: name of a model -> its role, where it was run with another.
        lm_eval: folders of lm-eval's own results, a model each, in the place of `folders`.
        groups: YAML file, group -> names or patterns of its tasks, of the user's own tasks in `folders`.
        target: the group that training was for, where these have some.
    """

    folders: dict[str, Path]
    checkpoints: dict[str, str]
    test: str = ClearRule.HOLM
    contaminated: Path | None = None
    language: str = "en"
    training: dict[str, Spent] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    lm_eval: LmEvalFolders | None = None
    groups: Path | None = None
    target: str | None = None


@dataclass(frozen=True)
class Findings:
    """All results and comparisons of a report."""

    runs: list[Runs]
    families: list[Family]
    progress: list[Progress]
    compared: Compared
    contaminated: dict[str, set[str]] | None
    training: dict[str, Spent]

    @property
    def suite(self) -> TaskSuite:
        """The tasks of all results."""
        return union(runs.suite for runs in self.runs)

    @cached_property
    def altered(self) -> list[AlteredShare]:
        """The shares of altered quantities, of the models that did tasks on numbers."""
        return altered_shares(self.runs, self.families)

    @cached_property
    def documents(self) -> list[DocumentScore]:
        """The scores on clinical documents, of the models that did such tasks."""
        return document_scores(self.runs, self.families, self.contaminated)

    @property
    def is_of_paper(self) -> bool:
        """Whether all tasks are of the paper's, whose tables are made then."""
        return all(runs.suite == PAPER_SUITE for runs in self.runs)

    @property
    def problems(self) -> list[Problem]:
        """Results that were left out anywhere, each once."""
        problems = [*(problem for runs in self.runs for problem in runs.problems), *self.compared.problems]
        problems += [problem for progress in self.progress for problem in progress.problems]
        for task in self.suite.tasks:
            problems += ranking_tables.comparable_models(self.runs, task)[1]
        by_key = {(problem.model.split("/")[-1], problem.task, problem.reason): problem for problem in problems}
        return list(by_key.values())


def sample_hashes(runs: Sequence[Runs]) -> dict[str, str]:
    """`<folder>/<model>/<task>` -> SHA-256 of its samples."""
    return {
        f"{of_folder.name}/{model}/{task}": answers.digest
        for of_folder in runs
        for (model, task), answers in of_folder.answers.items()
    }


def read_findings(options: BenchmarkReportOptions) -> Findings:
    """Read and compare all results.

    Raises:
        UserError: see `benchmark_report.build_benchmark_report`.
    """
    read = [_regrouped(read_runs(folder, name), options) for name, folder in options.folders.items()]
    runs = with_roles(read, options.roles)
    runs += [read_lm_eval(options.lm_eval)] if options.lm_eval else []
    progress = {of_folder.name: follow_checkpoints(of_folder) for of_folder in runs}
    families = []
    for of_folder in runs:
        bases, checkpoints, merged = (of_folder.with_role(role) for role in (Role.BASE, Role.CHECKPOINT, Role.MERGED))
        if len(bases) > 1:
            where = str(of_folder.folder / PLAN_FILE)
            raise UserError(f"{of_folder.name} holds several bases", where=where, allowed="one base a folder")
        if bases and (checkpoints or merged):
            checkpoint = options.checkpoints.get(of_folder.name)
            families.append(_family(of_folder, progress[of_folder.name], checkpoint))
    unknown = options.checkpoints.keys() - {family.runs.name for family in families}
    if unknown:
        raise UserError(
            f"a checkpoint is given for {', '.join(sorted(unknown))}, which is not among the runs",
            where="--checkpoint",
            allowed=", ".join(family.runs.name for family in families)
            or "nothing: no folder has a base with checkpoints",
        )
    tasks = union(of_folder.suite for of_folder in runs).tasks
    contaminated = None if options.contaminated is None else read_contaminated(options.contaminated, tasks)
    return Findings(
        runs=runs,
        families=families,
        progress=[of_folder for of_folder in progress.values() if of_folder],
        compared=compare(families, contaminated),
        contaminated=contaminated,
        training=options.training,
    )


def _regrouped(runs: Runs, options: BenchmarkReportOptions) -> Runs:
    """Runs with the groups and the target that the user gives, for tasks of the user's own."""
    if options.groups is None and options.target is None:
        return runs
    own = [task for task in runs.suite.tasks if task not in ALL_TASKS]
    if not own:
        raise UserError(
            f"{runs.name} holds no tasks of your own",
            where="--groups, --target",
            fix="leave them out: each of pdapt's own tasks has its group",
        )
    groups = read_groups(options.groups, own) if options.groups else {}
    for group in groups.values():
        if group in ALL_GROUPS:
            raise UserError(
                f"{group} is a group of pdapt's own tasks", where=str(options.groups), fix="name it differently"
            )
    tasks = {
        name: replace(task, group=groups[name]) if isinstance(task, OtherTask) and name in groups else task
        for name, task in runs.suite.tasks.items()
    }
    names = tuple(dict.fromkeys(task.group for task in tasks.values()))
    if options.target is not None:
        check_known(options.target, list(names), "group", "--target")
    return replace(runs, suite=TaskSuite(tasks, names, options.target or runs.suite.target))


def with_roles(runs: list[Runs], roles: dict[str, Role]) -> list[Runs]:
    """Runs in which the models that are named have other roles.

    Raises:
        UserError: no folder has a model of a name.
    """
    for name in roles:
        check_known(name, [member.name for of_folder in runs for member in of_folder.members], "model", "--role")
    return [
        replace(of_folder, members=[replace(m, role=roles.get(m.name, m.role)) for m in of_folder.members])
        for of_folder in runs
    ]


def _family(runs: Runs, progress: Progress | None, checkpoint: str | None) -> Family:
    """The family of a folder; `checkpoint` is the user's."""
    names = [member.name for member in runs.with_role(Role.CHECKPOINT)]
    if checkpoint is not None and checkpoint not in names:
        raise UserError(f"{runs.name} has no checkpoint {checkpoint!r}", where="--checkpoint", allowed=", ".join(names))
    merged = [member.name for member in runs.with_role(Role.MERGED)]
    # A single checkpoint is not chosen, so all questions count.
    choice = progress if checkpoint is None and len(names) > 1 else None
    if checkpoint is None and len(names) > 1 and choice is None and runs.suite.target is None:
        raise UserError(
            f"{runs.name} has {len(names)} tuned models: {', '.join(names)}",
            where=str(runs.folder),
            fix="say which is reported (--checkpoint), or by which group one is chosen (--target GROUP)",
        )
    adapted = checkpoint or (choice.ours.model if choice else next(iter(names[-1:]), None))
    return Family(runs, adapted, merged[0] if merged else None, chosen=choice is not None)
