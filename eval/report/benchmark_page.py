"""The page of a benchmark report: its answer, and its details, of which each group of tasks is one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from ...core.manifest import versions
from ..statistics.compare import FamilyRole, GroupChange
from ..statistics.multiple_testing import ClearRule
from ..statistics.unpaired import UnpairedGroup
from ..tasks.suite import TASKS
from . import benchmark_tables as tables
from . import ranking_tables, settings_tables
from .answer import Answer, answer, role_looks, span
from .benchmark_figures import Panel, Series, draw_averages, draw_progress, draw_tradeoff
from .benchmark_findings import Findings
from .clinical.altered_numbers import altered_sentences, altered_table
from .clinical.document_tables import documents_table
from .headline import AreaChange
from .page import Detail, Paragraph, Picture, draw_picture
from .table_formats import Table
from .texts import Words
from .theme import Look


@dataclass(frozen=True)
class BenchmarkPage:
    """The contents of a page on results; its figures are written to a folder, which is made."""

    findings: Findings
    test: ClearRule
    w: Words
    figures: Path

    def __post_init__(self) -> None:
        self.figures.mkdir(exist_ok=True)

    @cached_property
    def answer(self) -> Answer:
        """The answer; for models without a base, the one that ranks first."""
        changes = area_changes(self._all_changes(), self.w)
        if changes:
            on_changes = answer(changes, self.w, self.figures)
            on_numbers = altered_sentences(self.findings.altered, self.w)
            return replace(on_changes, sentences=(*on_changes.sentences, *on_numbers))
        return Answer((self.w("nothing_compared"), self._first_of_ranking()))

    def _first_of_ranking(self) -> str:
        suite = self.findings.suite
        for group in (*([suite.target] if suite.target else []), *suite.groups):
            table = ranking_tables.ranking_table(group, self.findings.runs, self.w)
            if table:
                best, tasks = table.rows[0], ranking_tables.ranked_tasks(group, self.findings.runs)
                area, rank = self.w.area(group), best.entries[0].value
                return self.w(
                    "head_ranked", models=len(table.rows), model=best.head, group=area, rank=rank, tasks=len(tasks)
                )
        return self.w("ranked_nowhere")

    def details(self) -> list[Detail]:
        """The details, those of the groups first."""
        w, findings = self.w, self.findings
        of_groups = [
            Detail(g, w.group(g), pictures=self._pictures(g), tables=self._tables(g)) for g in findings.suite.groups
        ]
        altered = altered_table(findings.altered, w)
        rest = [Detail("numbers", w("numbers"), tables=[altered] if altered else []), self._on_documents()]
        rest += self._of_comparisons() if findings.families else []
        target = str(findings.suite.target)  # checkpoints are followed only where there is one
        along = [
            table for progress in findings.progress for table in tables.progress_tables(progress, w, target=target)
        ]
        rest.append(Detail("progress", w("progress"), tables=along))
        has_paper_tasks = any(task in findings.suite.tasks for task in TASKS)
        every = ranking_tables.all_models_tables(findings.runs, w) if has_paper_tasks else []
        rest.append(Detail("all_models", w("all_models"), tables=every))
        if not findings.is_of_paper:
            rest.append(Detail("tasks", w("suite"), tables=[tables.suite_table(findings.suite, w)]))
        rest.append(Detail("settings", w("settings"), tables=self._settings()))
        problems = findings.problems
        left_out = [tables.left_out_table(problems, w)] if problems else []
        none = [] if problems else [Paragraph(w("left_out_none"))]
        rest.append(Detail("left_out", w("left_out"), none, tables=left_out))
        rest.append(Detail("trace", w("trace"), tables=[tables.trace_table(findings.runs, w)]))
        return [*of_groups, *rest]

    def _on_documents(self) -> Detail:
        table = documents_table(self.findings.documents, self.w)
        unknown = [Paragraph(self.w("documents_contamination"))] if table and self.findings.contaminated is None else []
        return Detail("documents", self.w("documents_detail"), unknown, tables=[table] if table else [])

    def _of_comparisons(self) -> list[Detail]:
        w, compared, listed = self.w, self.findings.compared, self.findings.contaminated
        groups = compared.groups
        count = sum(map(len, listed.values())) if listed is not None else 0
        decisions = self.answer.all_decisions
        contamination = [] if listed is None else [tables.contamination_table(groups, count, w)]
        unknown = [Paragraph(w("contamination_none"))] if listed is None else []
        return [
            Detail("all_decisions", w("all_decisions"), tables=[decisions] if decisions else []),
            Detail(
                "groups",
                w("groups"),
                pictures=list(self._tradeoffs()),
                tables=[tables.groups_table(groups, w, target=self.findings.suite.target)] if groups else [],
            ),
            Detail("unpaired", w("unpaired"), tables=tables.unpaired_tables(compared.unpaired, w)),
            Detail("rules", w("rules"), tables=[tables.rules_table(compared, w)] if compared.cells else []),
            Detail("made_of", w("made_of"), tables=[tables.made_of_table(groups, w)] if groups else []),
            Detail("contamination", w("contamination"), unknown, tables=contamination),
        ]

    def _tables(self, group: str) -> list[Table]:
        """Results, margins and ranking of a group, as far as there are."""
        findings, w = self.findings, self.w
        made: list[Table | None] = []
        if findings.families:
            made.append(tables.results_table(group, findings.families, findings.compared, test=self.test, w=w))
            made.append(tables.margins_table(group, findings.suite, findings.compared, w))
        made.append(ranking_tables.ranking_table(group, findings.runs, w))
        return [table for table in made if table and table.rows]

    def _settings(self) -> list[Table]:
        runs, w = self.findings.runs, self.w
        return [
            *settings_tables.answer_settings_tables(runs, w),
            *settings_tables.run_settings_tables(runs, versions(), w),
            *settings_tables.training_cost_tables(self.findings.training, w),
        ]

    def _pictures(self, group: str) -> list[Picture]:
        """Averages along training, and of base, adapted and merged models; on one scale for all groups."""
        w, pictures = self.w, []
        lines = [line for line in self._progress(group) if line.places]
        if lines:
            panel = Panel((w("axis_steps"), w("axis_right")), self._scale)
            caption = w("figure_progress", group=w.group(group), questions=self._progress_questions(group))
            draw = partial(draw_progress, lines, panel)
            pictures.append(draw_picture(draw, self.figures, f"figure-1-{group}", caption=caption, w=w))
        changes = [change for change in self._all_changes() if change.group == group]
        if changes:
            names, series = average_series(changes, w)
            panel = Panel(("", w("axis_right")), self._scale)
            draw = partial(draw_averages, names, series, panel, self._roles(changes))
            caption = w("figure_averages", group=w.group(group), basis=self._basis(group))
            pictures.append(draw_picture(draw, self.figures, f"figure-2-{group}", caption=caption, w=w))
        return pictures

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Ends of the axis of right answers, the same for all groups and for figures beside each other."""
        lines = [line for each in self.findings.suite.groups for line in self._progress(each)]
        return limits([*lines, *average_series(self._all_changes(), self.w)[1]])

    def _basis(self, group: str) -> str:
        """The tasks and the number of questions that a group's averages are of, each family's if they differ."""
        w, parts = self.w, {}
        for change in reversed(self._all_changes()):  # of what is paired, where a family has both
            if change.group == group:
                paired = isinstance(change, GroupChange)
                tasks = change.tasks if paired else change.all_tasks
                key = "basis_half" if paired and change.half else "basis_all"
                parts[change.family] = w(key, questions=change.change.documents, tasks=len(tasks))
        if len(set(parts.values())) == 1:
            return next(iter(parts.values()))
        return w("semicolon").join(w("of", group=family, what=part) for family, part in parts.items())

    def _progress_questions(self, group: str) -> str:
        """The number of questions of a group that checkpoints are followed on, of the families from least to most."""
        counts = [p.questions for progress in self.findings.progress for p in progress.points if p.group == group]
        return span(counts, self.w)

    def _all_changes(self) -> list[GroupChange | UnpairedGroup]:
        """The changes of all groups: those of paired answers, then those of scores alone."""
        return [*self.findings.compared.groups, *self.findings.compared.unpaired]

    def _roles(self, changes: Sequence[GroupChange | UnpairedGroup]) -> list[tuple[str, Look]]:
        """The base and those roles that a figure of changes draws."""
        present = {FamilyRole.BASE, *(change.role for change in changes)}
        return role_looks([role for role in FamilyRole if role in present], self.w)

    def _progress(self, group: str) -> list[Series]:
        """A line for each family, from the base at step 0 on; the interval is that of the change."""
        lines = []
        for number, family in enumerate(family.runs.name for family in self.findings.families):
            progress = next((p for p in self.findings.progress if p.family == family), None)
            points = [point for point in progress.points if point.group == group] if progress else []
            if not points or not all(point.step for point in points):  # an unknown step has no place on the axis
                continue
            start = 100 * (points[0].value - points[0].change)
            bars = [(start, start, start)]
            bars += [(100 * p.value, start + 100 * p.low, start + 100 * p.high) for p in points]
            lines.append(Series(family, [0.0, *(float(p.step or 0) for p in points)], bars, Look(number, 1)))
        return lines

    def _tradeoffs(self) -> Iterator[Picture]:
        w, groups = self.w, self.findings.compared.groups
        every = [point for language in ("FR", "EN") for point in tradeoff_series(groups, language)]
        for language in ("FR", "EN"):
            points = tradeoff_series(groups, language)
            if points:
                panel = Panel((w("axis_other"), w("axis_medical")), limits(every), limits(every, across=True))
                shown = [g for g in groups if g.group.startswith(language)]
                draw = partial(draw_tradeoff, points, panel, self._roles(shown)[1:])
                bases = w("semicolon").join(
                    f"{w(g)}, {self._basis(g)}" for g in (f"{language}-MEDICAL", f"{language}-OTHER")
                )
                caption = w("figure_trade", language=w(language), basis=bases)
                yield draw_picture(draw, self.figures, f"trade-{language}", caption=caption, w=w)


def area_changes(groups: Sequence[GroupChange | UnpairedGroup], w: Words) -> list[AreaChange]:
    """The changes of groups, in points, the target group first."""
    families = list(dict.fromkeys(g.family for g in groups))
    changes = [
        AreaChange(
            family=g.family,
            role=g.role,
            model=g.model,
            area=w.area(g.group),
            label=w.group(g.group),
            change=100 * g.change.value,
            low=100 * g.change.low,
            high=100 * g.change.high,
            p=g.p_holm,
            units=g.change.documents,
            target=g.target,
            paired=isinstance(g, GroupChange),
            colour=families.index(g.family),
        )
        for g in groups
    ]
    return sorted(changes, key=lambda change: not change.target)


def average_series(groups: Sequence[GroupChange | UnpairedGroup], w: Words) -> tuple[list[str], list[Series]]:
    """Families, and a series of averages for each family, a place for base, adapted and merged.

    The bars are one standard error to each side.
    """
    names = list(dict.fromkeys(g.family for g in groups))
    series = []
    for g in groups:
        look, place = names.index(g.family), float(names.index(g.family))
        averages = {g.role: g.after} | ({FamilyRole.BASE: g.before} if g.role == FamilyRole.ADAPTED else {})
        if g.role == FamilyRole.MERGED and not any(
            (h.family, h.role) == (g.family, FamilyRole.ADAPTED) for h in groups
        ):
            averages[FamilyRole.BASE] = g.before
        for role, (share, error) in averages.items():
            value, stderr, marker = 100 * share, 100 * error, list(FamilyRole).index(role)
            bar = (value, value - stderr, value + stderr)
            series.append(Series(w(role), [place + 0.16 * (marker - 1)], [bar], Look(look, marker)))
    return names, series


def tradeoff_series(groups: Sequence[GroupChange], language: str) -> list[Series]:
    """A point for each model that has both groups of a language: change elsewhere, and in medicine."""
    changes = {(g.family, g.role, g.group): g.change for g in groups}
    families = list(dict.fromkeys(g.family for g in groups))
    series = []
    for family, role in dict.fromkeys((g.family, g.role) for g in groups):
        other, medical = (changes.get((family, role, f"{language}-{topic}")) for topic in ("OTHER", "MEDICAL"))
        if other is not None and medical is not None:
            across, up = ((100 * c.value, 100 * c.low, 100 * c.high) for c in (other, medical))
            look = Look(families.index(family), list(FamilyRole).index(role))
            series.append(Series(family, [across[0]], [up], look, across=[across]))
    return series


def limits(series: Sequence[Series], *, across: bool = False) -> tuple[float, float]:
    """Ends of an axis that all bars of series fit on, so that neighbouring figures have one scale."""
    bars = [bar for each in series for bar in (each.across if across else each.values)]
    low, high = min(bar[1] for bar in bars), max(bar[2] for bar in bars)
    room = 0.06 * (high - low or 1)
    return low - room, high + room
