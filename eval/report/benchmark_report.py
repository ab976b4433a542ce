"""The report of benchmark runs: did adaptation help, by how much, and how sure is that?"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError, check_known
from ...core.files import write_json, write_text
from ...core.manifest import Manifest, run_stage, versions
from ...core.training_cost import Spent
from ..benchmark.cells import PLAN, Problem, Runs, read_runs
from ..scores import SPOKEN, Role
from ..statistics.compare import TESTS, Compared, Family, GroupChange, as_json, compare
from ..statistics.contamination import read_contaminated
from ..statistics.progress import Progress, progress
from ..tasks.suite import GROUPS, TASKS
from . import benchmark_tables as tables
from . import ranking_tables
from .benchmark_figures import Bar, Series, draw_averages, draw_progress, draw_trade
from .benchmark_tables import Words
from .figures import draw_twice
from .page import Picture, inline, render
from .tabulate import Table, write_tables
from .words import check_language, number, texts

NUMBERS = "numbers.json"


@dataclass(frozen=True)
class Wanted:
    """What a report is asked for.

    Attributes:
        folders: name -> folder of runs of one base, its checkpoints, its merged model and any others.
        checkpoints: name -> checkpoint to report; by default the one that our rule chooses (see `progress`).
        test: which rule colours the tables; one of TESTS.
        contaminated: list of contaminated questions.
        language: of the page.
        training: name -> what its training took, for the page's costs.
        roles: name of a model -> its role, where that is another than it was run with.
    """

    folders: dict[str, Path]
    checkpoints: dict[str, str]
    test: str = "holm"
    contaminated: Path | None = None
    language: str = "en"
    training: dict[str, Spent] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """All that a report is made of."""

    runs: list[Runs]
    families: list[Family]
    progress: list[Progress]
    compared: Compared
    contaminated: dict[str, set[str]] | None
    training: dict[str, Spent]

    @property
    def problems(self) -> list[Problem]:
        """What was left out anywhere, each once."""
        found = [*(p for its in self.runs for p in its.problems), *self.compared.problems]
        found += [p for its in self.progress for p in its.problems]
        found += [p for task in TASKS for p in ranking_tables.comparable_models(self.runs, task)[1]]
        keyed = {(p.model.split("/")[-1], p.task, p.reason): p for p in found}
        return list(keyed.values())


def build_benchmark_report(wanted: Wanted, out: Path) -> Manifest:
    """Write `index.html`, `figures/*.png`, `tables/*.csv` and `*.tex`, and `numbers.json` (stage `benchmark-report`).

    Raises:
        UserError: a folder holds no runs, nothing can be compared, a checkpoint, test, role's model or language is
            unknown, or a list is malformed.
    """
    check_language(wanted.language)
    check_known(wanted.test, TESTS, "test", "--test")
    found = find(wanted)
    _check_compared(found)
    for problem in found.problems:
        w = Words("en", texts("en"))
        log.warn(f"report: left out: {problem.model}, {problem.task}: {w(problem.reason, **problem.values)}")
    inputs = {f"runs/{its.name}": its.folder / PLAN for its in found.runs}
    if wanted.contaminated is not None:
        inputs["contaminated"] = wanted.contaminated
    samples = {f"{its.name}/{m}/{t}": a.digest for its in found.runs for (m, t), a in its.answers.items()}
    config = {"test": wanted.test, "language": wanted.language, "checkpoints": wanted.checkpoints, "samples": samples}
    config |= {"roles": wanted.roles} if wanted.roles else {}
    config["training"] = {name: asdict(its) for name, its in wanted.training.items()}

    def body(work: Path) -> dict[str, Any]:
        w = Words(wanted.language, texts(wanted.language))
        sections = _sections(found, wanted.test, w)
        pictures = list(_pictures(found, w, work / "figures"))
        write_tables([table for _, its in sections for table in its], work / "tables")
        write_json(work / NUMBERS, as_json(found.compared))
        page = render(
            "benchmark.html.jinja",
            title=w("title"),
            language=w.language,
            w=w,
            lead=w("lead", models=sum(len(its.members) for its in found.runs), tasks=_tasks(found)),
            sentences=sentences(found.compared.groups, w),
            sections=sections,
            pictures=pictures,
            contaminated=found.contaminated is not None,
            problems=bool(found.problems),
        )
        write_text(work / "index.html", page)
        return {"figures": len(pictures), "comparisons": len(found.compared.cells), "left_out": len(found.problems)}

    return run_stage("benchmark-report", inputs, config, out, body)


def find(wanted: Wanted) -> Findings:
    """Read and compare everything.

    Raises:
        UserError: see `build_benchmark_report`.
    """
    runs = with_roles([read_runs(folder, name) for name, folder in wanted.folders.items()], wanted.roles)
    along = {its.name: progress(its) for its in runs}
    families = []
    for its in runs:
        if len(its.named("base")) > 1:
            raise UserError(f"{its.name} has several bases", where=str(its.folder / PLAN), allowed="one base a folder")
        if its.named("base") and (its.named("checkpoint") or its.named("merged")):
            families.append(_family(its, along[its.name], wanted.checkpoints.get(its.name)))
    unknown = wanted.checkpoints.keys() - {its.runs.name for its in families}
    if unknown:
        raise UserError(
            f"a checkpoint is given for {', '.join(sorted(unknown))}, which is not among the runs",
            where="--checkpoint",
            allowed=", ".join(its.runs.name for its in families) or "nothing: no folder has a base with checkpoints",
        )
    contaminated = None if wanted.contaminated is None else read_contaminated(wanted.contaminated)
    compared, known = compare(families, contaminated), [p for p in along.values() if p]
    return Findings(runs, families, known, compared, contaminated, wanted.training)


def with_roles(runs: list[Runs], roles: dict[str, Role]) -> list[Runs]:
    """Runs in which the models that are named have other roles.

    Raises:
        UserError: no folder has a model of a name.
    """
    for name in roles:
        check_known(name, [member.name for its in runs for member in its.members], "model", "--role")
    return [replace(its, members=[replace(m, role=roles.get(m.name, m.role)) for m in its.members]) for its in runs]


def _family(runs: Runs, along: Progress | None, asked: str | None) -> Family:
    names = [member.name for member in runs.named("checkpoint")]
    if asked is not None and asked not in names:
        raise UserError(f"{runs.name} has no checkpoint {asked!r}", where="--checkpoint", allowed=", ".join(names))
    merged = [member.name for member in runs.named("merged")]
    # Of one checkpoint none is chosen, and all questions tell.
    chosen = along if asked is None and len(names) > 1 else None
    adapted = asked or (chosen.ours.model if chosen else next(iter(names[-1:]), None))
    return Family(runs, adapted, merged[0] if merged else None, chosen=chosen is not None)


def _check_compared(found: Findings) -> None:
    """Refuse to make a page that says nothing. Runs of other models alone are ranked.

    Raises:
        UserError: roles ask for a comparison, or there is one model, and nothing can be compared.
    """
    members = [member for its in found.runs for member in its.members]
    ranked = any(len(ranking_tables.comparable_models(found.runs, task)[0]) > 1 for task in TASKS)
    if found.compared.cells or (ranked and all(member.role == "other" for member in members)):
        return
    words = Words("en", texts("en"))
    why = [f"{p.model}, {p.task}: {words(p.reason, **p.values)}" for p in found.problems[:3]]
    told = f"{len(found.problems)} results were left out, such as {'; '.join(why)}" if why else "no two models fit"
    raise UserError(
        f"nothing can be compared: {told}",
        where=", ".join(str(its.folder) for its in found.runs),
        allowed="a base, and a tuned or a merged model that answered the same tasks; here are "
        + ", ".join(f"{m.name} ({SPOKEN.get(m.role, m.role)})" for m in members),
        mend="say what a model is: --role NAME=base|tuned|merged, or run the tasks that one of them lacks",
    )


def sentences(groups: Sequence[GroupChange], w: Words) -> list[tuple[str, str]]:
    """What happened: a claim and its evidence for each comparison of a group."""
    found = []
    for g in groups:
        percent = {
            key: number(100 * value, ".1f", w.language)
            for key, value in (("before", g.before[0]), ("after", g.after[0]))
        }
        change = {"change": g.change.value, "low": g.change.low, "high": g.change.high}
        percent |= {key: number(100 * value, "+.1f", w.language) for key, value in change.items()}
        verdict = w(f"verdict_{tables.clear(g)}")
        p = number(g.p_holm, ".2g", w.language)
        evidence = w("change_sentence", **percent, p=p, verdict=verdict)
        evidence = f"{evidence} {w('half_sentence', questions=g.change.documents)}" if g.half else evidence
        found.append((f"{w(g.group)}, {g.family} ({w(g.role)})", evidence))
    return found


def _tasks(found: Findings) -> int:
    return len({task for its in found.runs for _, task in its.answers})


def _sections(found: Findings, test: str, w: Words) -> list[tuple[str, list[Table]]]:
    """Key of a section's heading -> its tables."""
    groups, compared = found.compared.groups, found.compared
    sections: list[tuple[str, list[Table]]] = []
    if found.families:
        sections.append(("groups", [tables.groups_table(groups, w)]))
        its = [tables.results_table(g, found.families, compared, test, w) for g in GROUPS]
        sections.append(("results", its))
        sections.append(("rules", [tables.rules_table(compared, w)]))
        margins = [tables.margins_table(g, compared, w) for g in GROUPS]
        sections.append(("made_of", [tables.made_of_table(groups, w), *(m for m in margins if m)]))
        listed = found.contaminated
        count = sum(len(questions) for questions in listed.values()) if listed is not None else 0
        sections.append(("contamination", [] if listed is None else [tables.contamination_table(groups, count, w)]))
    if found.progress:
        sections.append(("progress", [table for its in found.progress for table in tables.progress_tables(its, w)]))
    ranking = [ranking_tables.ranking_table(g, found.runs, w) for g in GROUPS]
    sections.append(("ranking", [table for table in ranking if table]))
    sections.append(("all_models", ranking_tables.all_models_tables(found.runs, w)))
    cost = [tables.training_table(found.training, w)] if found.training else []
    made = tables.making_tables(found.runs, w)
    sections.append(("settings", [*made, *tables.settings_tables(found.runs, versions(), w), *cost]))
    sections.append(("left_out", [tables.left_out_table(found.problems, w)] if found.problems else []))
    sections.append(("trace", [tables.trace_table(found.runs, w)]))
    return sections


def _pictures(found: Findings, w: Words, folder: Path) -> Iterator[Picture]:
    folder.mkdir(exist_ok=True)

    def picture(draw: Any, name: str, caption: str) -> Picture:
        return Picture(inline(draw_twice(draw, folder, name)), caption, f"{caption} {w('values_in_tables')}")

    groups = found.compared.groups
    for group in GROUPS:
        lines = [line for its in found.progress if (line := _line(its, group)).places]
        if lines:
            draw = partial(draw_progress, lines, (w("axis_steps"), w("axis_right")))
            yield picture(draw, f"figure-1-{group}", w("figure_progress", group=w(group)))
    for group in GROUPS:
        its = [g for g in groups if g.group == group]
        if its:
            names, series = average_series(its, w)
            draw = partial(draw_averages, names, series, w("axis_right"))
            yield picture(draw, f"figure-2-{group}", w("figure_averages", group=w(group)))
    for language in ("FR", "EN"):
        points = _trades(groups, language, w)
        if points:
            draw = partial(draw_trade, points, (w("axis_other"), w("axis_medical")))
            yield picture(draw, f"trade-{language}", w("figure_trade", language=w(language)))


def _line(its: Progress, group: str) -> Series:
    """A family's averages, from the base at step 0 on; the interval is that of the change."""
    points = [point for point in its.points if point.group == group]
    if not all(point.step for point in points) or not points:  # a model of others' making has no place on the axis
        return Series(its.family, [], [])
    start = 100 * (points[0].value - points[0].change)
    bars = [(start, start, start)]
    bars += [(100 * p.value, start + 100 * p.low, start + 100 * p.high) for p in points]
    return Series(its.family, [0.0, *(float(p.step) for p in points)], bars)


def average_series(groups: Sequence[GroupChange], w: Words) -> tuple[list[str], list[Series]]:
    """Families, and a series of averages with one standard error to each side for base, adapted and merged."""
    names = list(dict.fromkeys(g.family for g in groups))
    found: dict[str, list[tuple[float, Bar]]] = {}
    for g in groups:
        place = float(names.index(g.family))
        values = {g.role: g.after} | ({"base": g.before} if g.role == "adapted" else {})
        for role in sorted(values, key=("base", "adapted", "merged").index):
            value, stderr = (100 * x for x in values[role])
            found.setdefault(role, []).append((place, (value, value - stderr, value + stderr)))
    return names, [Series(w(role), [p for p, _ in its], [b for _, b in its]) for role, its in found.items()]


def _trades(groups: Sequence[GroupChange], language: str, w: Words) -> list[tuple[str, Bar, Bar]]:
    changes = {(g.family, g.role, g.group): g.change for g in groups}
    points = []
    for family, role in dict.fromkeys((g.family, g.role) for g in groups):
        across, up = (changes.get((family, role, f"{language}-{kind}")) for kind in ("OTHER", "MEDICAL"))
        if across is not None and up is not None:
            bars = [(100 * c.value, 100 * c.low, 100 * c.high) for c in (across, up)]
            points.append((f"{family}, {w(role)}", bars[0], bars[1]))
    return points
