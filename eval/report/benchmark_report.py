"""The report of benchmark results: whether adaptation helped, by how much, and with which certainty."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError, check_known
from ...core.files import write_json, write_text
from ...core.log import counted
from ...core.manifest import Manifest, run_stage, versions
from ...core.training_cost import Spent
from ..benchmark.read_results import PLAN_FILE, Problem, Runs, read_runs
from ..models import ROLE_NAMES, Role
from ..statistics.choose_checkpoint import Progress, follow_checkpoints
from ..statistics.compare import Compared, Family, FamilyRole, GroupChange, compare
from ..statistics.contamination import read_contaminated
from ..statistics.multiple_testing import ClearRule
from ..tasks.suite import GROUPS, TASKS
from . import benchmark_tables as tables
from . import ranking_tables, settings_tables
from .benchmark_figures import Bar, Series, draw_averages, draw_progress, draw_tradeoff
from .page import Picture, data_uris, render
from .table_formats import Table, write_tables
from .texts import Words, check_language, format_number
from .theme import Theme, draw_twice

NUMBERS_FILE = "numbers.json"
"""`Compared`."""
Section = tuple[str, list[Table]]
"""Key of a section's heading, and its tables."""


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
    """

    folders: dict[str, Path]
    checkpoints: dict[str, str]
    test: str = ClearRule.HOLM
    contaminated: Path | None = None
    language: str = "en"
    training: dict[str, Spent] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)


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
    def problems(self) -> list[Problem]:
        """Results that were left out anywhere, each once."""
        problems = [*(problem for runs in self.runs for problem in runs.problems), *self.compared.problems]
        problems += [problem for progress in self.progress for problem in progress.problems]
        problems += [problem for task in TASKS for problem in ranking_tables.comparable_models(self.runs, task)[1]]
        by_key = {(problem.model.split("/")[-1], problem.task, problem.reason): problem for problem in problems}
        return list(by_key.values())


def build_benchmark_report(options: BenchmarkReportOptions, out: Path) -> Manifest:
    """Write `index.html`, `figures/*.png`, `tables/*.csv` and `*.tex`, and `numbers.json` (stage `benchmark-report`).

    Raises:
        UserError: a folder holds no results, nothing can be compared, a checkpoint, test, role's model or language is
            unknown, or a list is malformed.
    """
    check_language(options.language)
    check_known(options.test, list(ClearRule), "test", "--test")
    findings = read_findings(options)
    _check_comparable(findings)
    english = Words.read("en")
    for problem in findings.problems:
        log.warn(f"report: left out: {_problem_text(problem, english)}")
    inputs = {f"runs/{runs.name}": runs.folder / PLAN_FILE for runs in findings.runs}
    if options.contaminated is not None:
        inputs["contaminated"] = options.contaminated
    config: dict[str, Any] = {
        "test": options.test,
        "language": options.language,
        "checkpoints": options.checkpoints,
        "samples": sample_hashes(findings.runs),
        "training": {name: _cost(spent) for name, spent in options.training.items()},
    }
    config |= {"roles": options.roles} if options.roles else {}
    body = partial(_write_report, findings, ClearRule(options.test), Words.read(options.language))
    return run_stage("benchmark-report", inputs, config, out=out, body=body)


def _cost(spent: Spent) -> dict[str, Any]:
    """The JSON values of a training's cost; a record without faults is stated as before there were any."""
    return {name: value for name, value in asdict(spent).items() if name != "record_faults" or value}


def _write_report(findings: Findings, test: ClearRule, w: Words, work: Path) -> dict[str, int]:
    """Fill the report's folder; the manifest's counts."""
    compared, problems = findings.compared, findings.problems
    sections = _sections(findings, test, w)
    pictures = list(_pictures(findings, w, work / "figures"))
    write_tables([table for _, of_section in sections for table in of_section], work / "tables")
    write_json(work / NUMBERS_FILE, compared.to_json())
    models = sum(len(runs.members) for runs in findings.runs)
    tasks = len({task for runs in findings.runs for _, task in runs.answers})
    page = render(
        "benchmark.html.jinja",
        title=w("title"),
        language=w.language,
        w=w,
        lead=w("lead", models=models, tasks=tasks),
        sentences=group_sentences(compared.groups, w),
        sections=sections,
        pictures=pictures,
        contaminated=findings.contaminated is not None,
        problems=bool(problems),
    )
    write_text(work / "index.html", page)
    return {"figures": len(pictures), "comparisons": len(compared.cells), "left_out": len(problems)}


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
        UserError: see `build_benchmark_report`.
    """
    runs = with_roles([read_runs(folder, name) for name, folder in options.folders.items()], options.roles)
    progress = {of_folder.name: follow_checkpoints(of_folder) for of_folder in runs}
    families = []
    for of_folder in runs:
        bases, checkpoints, merged = (of_folder.with_role(role) for role in (Role.BASE, Role.CHECKPOINT, Role.MERGED))
        if len(bases) > 1:
            where = str(of_folder.folder / PLAN_FILE)
            raise UserError(f"{of_folder.name} has several bases", where=where, allowed="one base a folder")
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
    contaminated = None if options.contaminated is None else read_contaminated(options.contaminated)
    return Findings(
        runs=runs,
        families=families,
        progress=[of_folder for of_folder in progress.values() if of_folder],
        compared=compare(families, contaminated),
        contaminated=contaminated,
        training=options.training,
    )


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
    adapted = checkpoint or (choice.ours.model if choice else next(iter(names[-1:]), None))
    return Family(runs, adapted, merged[0] if merged else None, chosen=choice is not None)


def _problem_text(problem: Problem, w: Words) -> str:
    return f"{problem.model}, {problem.task}: {w(problem.reason, **problem.values)}"


def _check_comparable(findings: Findings) -> None:
    """Refuse to make a page without a comparison. Models with other roles alone are ranked.

    Raises:
        UserError: roles ask for a comparison, or there is one model, and nothing can be compared.
    """
    members = [member for runs in findings.runs for member in runs.members]
    ranked = any(len(ranking_tables.comparable_models(findings.runs, task)[0]) > 1 for task in TASKS)
    if findings.compared.cells or (ranked and all(member.role == Role.OTHER for member in members)):
        return
    english, problems = Words.read("en"), findings.problems
    examples = "; ".join(_problem_text(problem, english) for problem in problems[:3])
    left_out = counted(len(problems), "result was left out", "results were left out")
    reason = f"{left_out}, such as {examples}" if problems else "no two models fit"
    raise UserError(
        f"nothing can be compared: {reason}",
        where=", ".join(str(runs.folder) for runs in findings.runs),
        allowed="a base, and a tuned or a merged model that answered the same tasks; here are "
        + ", ".join(f"{member.name} ({ROLE_NAMES[member.role]})" for member in members),
        fix="set a model's role with --role NAME=base|tuned|merged, or run the tasks that one of them lacks",
    )


def group_sentences(groups: Sequence[GroupChange], w: Words) -> list[tuple[str, str]]:
    """A claim and its evidence for each comparison of a group."""
    sentences = []
    for g in groups:
        percent = {
            key: format_number(100 * value, ".1f", w.language)
            for key, value in (("before", g.before[0]), ("after", g.after[0]))
        }
        change = {"change": g.change.value, "low": g.change.low, "high": g.change.high}
        percent |= {key: format_number(100 * value, "+.1f", w.language) for key, value in change.items()}
        verdict = w(f"verdict_{tables.clear_sign(g)}")
        p = format_number(g.p_holm, ".2g", w.language)
        evidence = w("change_sentence", **percent, p=p, verdict=verdict)
        evidence = f"{evidence} {w('half_sentence', questions=g.change.documents)}" if g.half else evidence
        sentences.append((f"{w(g.group)}, {g.family} ({w(g.role)})", evidence))
    return sentences


def _sections(findings: Findings, test: ClearRule, w: Words) -> list[Section]:
    sections = _comparison_sections(findings, test, w) if findings.families else []
    if findings.progress:
        along = [table for progress in findings.progress for table in tables.progress_tables(progress, w)]
        sections.append(("progress", along))
    runs, problems = findings.runs, findings.problems
    rankings = [ranking_tables.ranking_table(group, runs, w) for group in GROUPS]
    sections.append(("ranking", [table for table in rankings if table]))
    sections.append(("all_models", ranking_tables.all_models_tables(runs, w)))
    settings = settings_tables.answer_settings_tables(runs, w) + settings_tables.run_settings_tables(
        runs, versions(), w
    )
    settings += settings_tables.training_cost_tables(findings.training, w)
    sections.append(("settings", settings))
    sections.append(("left_out", [tables.left_out_table(problems, w)] if problems else []))
    sections.append(("trace", [tables.trace_table(runs, w)]))
    return sections


def _comparison_sections(findings: Findings, test: ClearRule, w: Words) -> list[Section]:
    compared, groups, listed = findings.compared, findings.compared.groups, findings.contaminated
    margins = [tables.margins_table(group, compared, w) for group in GROUPS]
    count = sum(map(len, listed.values())) if listed is not None else 0
    return [
        ("groups", [tables.groups_table(groups, w)]),
        ("results", [tables.results_table(group, findings.families, compared, test=test, w=w) for group in GROUPS]),
        ("rules", [tables.rules_table(compared, w)]),
        ("made_of", [tables.made_of_table(groups, w), *(table for table in margins if table)]),
        ("contamination", [] if listed is None else [tables.contamination_table(groups, count, w)]),
    ]


def _pictures(findings: Findings, w: Words, folder: Path) -> Iterator[Picture]:
    folder.mkdir(exist_ok=True)
    groups = findings.compared.groups
    for group in GROUPS:
        lines = [line for progress in findings.progress if (line := _progress_line(progress, group)).places]
        if lines:
            draw = partial(draw_progress, lines, (w("axis_steps"), w("axis_right")))
            yield draw_picture(draw, folder, f"figure-1-{group}", caption=w("figure_progress", group=w(group)), w=w)
    for group in GROUPS:
        changes = [change for change in groups if change.group == group]
        if changes:
            names, series = average_series(changes, w)
            draw = partial(draw_averages, names, series, w("axis_right"))
            yield draw_picture(draw, folder, f"figure-2-{group}", caption=w("figure_averages", group=w(group)), w=w)
    for language in ("FR", "EN"):
        points = _tradeoff_points(groups, language, w)
        if points:
            draw = partial(draw_tradeoff, points, (w("axis_other"), w("axis_medical")))
            yield draw_picture(draw, folder, f"trade-{language}", caption=w("figure_trade", language=w(language)), w=w)


def draw_picture(draw: Callable[[Theme, Path], None], folder: Path, name: str, caption: str, w: Words) -> Picture:
    """Draw a figure in both themes, as `<folder>/<name>-<theme>.png`."""
    return Picture(data_uris(draw_twice(draw, folder, name)), caption, f"{caption} {w('values_in_tables')}")


def _progress_line(progress: Progress, group: str) -> Series:
    """A family's averages, from the base at step 0 on; the interval is that of the change."""
    points = [point for point in progress.points if point.group == group]
    if not all(point.step for point in points) or not points:  # a model without a known step has no place on the axis
        return Series(progress.family, [], [])
    start = 100 * (points[0].value - points[0].change)
    bars = [(start, start, start)]
    bars += [(100 * p.value, start + 100 * p.low, start + 100 * p.high) for p in points]
    return Series(progress.family, [0.0, *(float(p.step) for p in points)], bars)


def average_series(groups: Sequence[GroupChange], w: Words) -> tuple[list[str], list[Series]]:
    """Families, and a series of averages with one standard error to each side for base, adapted and merged."""
    names = list(dict.fromkeys(g.family for g in groups))
    by_role: dict[FamilyRole, list[tuple[float, Bar]]] = {}
    for g in groups:
        place = float(names.index(g.family))
        averages = {g.role: g.after} | ({FamilyRole.BASE: g.before} if g.role == FamilyRole.ADAPTED else {})
        for role in sorted(averages, key=list(FamilyRole).index):
            value, stderr = (100 * share for share in averages[role])
            by_role.setdefault(role, []).append((place, (value, value - stderr, value + stderr)))
    return names, [
        Series(w(role), [place for place, _ in points], [bar for _, bar in points]) for role, points in by_role.items()
    ]


def _tradeoff_points(groups: Sequence[GroupChange], language: str, w: Words) -> list[tuple[str, Bar, Bar]]:
    changes = {(g.family, g.role, g.group): g.change for g in groups}
    points = []
    for family, role in dict.fromkeys((g.family, g.role) for g in groups):
        other, medical = (changes.get((family, role, f"{language}-{topic}")) for topic in ("OTHER", "MEDICAL"))
        if other is not None and medical is not None:
            bars = [(100 * c.value, 100 * c.low, 100 * c.high) for c in (other, medical)]
            points.append((f"{family}, {w(role)}", bars[0], bars[1]))
    return points
