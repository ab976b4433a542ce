"""Tables of a benchmark report, in the paper's form: results by task, groups, rules, parts of changes, sources."""

from collections.abc import Sequence

import numpy as np

from ..benchmark.read_results import Answers, Problem, Runs
from ..models import Role
from ..statistics.choose_checkpoint import OPTIMISM_SPLITS, Choice, Progress
from ..statistics.compare import CellChange, Compared, Family, FamilyRole, GroupChange, average_score
from ..statistics.estimates import Difference
from ..statistics.multiple_testing import FALSE_POSITIVE_RATE, LEVEL, ClearRule
from ..statistics.unpaired import UnpairedGroup
from ..tasks.task_suite import TaskSuite, union
from .table_formats import Entry, Mark, Row, Table, number_entry, score_entry
from .texts import Words, format_number

EMPTY_ENTRY = Entry("–")
LEAST_P = 0.001
"""The least p-value that is stated."""


def results_table(group: str, families: Sequence[Family], compared: Compared, test: ClearRule, w: Words) -> Table:
    """Tables 3 to 6: rows of base, adapted and merged, columns of the tasks that were run, and the weighted average."""
    run, suite = {task for family in families for _, task in family.runs.answers}, suite_of(families)
    tasks = [task for task in suite.of_group(group) if task.name in run]
    cells = {(c.pair.family, c.pair.role, c.pair.base.task): c for c in compared.cells}
    rows = []
    for family in families:
        runs = family.runs
        for role, model in family.members():
            answers = [runs.answers.get((model, task.name)) for task in tasks]
            entries = [
                _result(of_task, cells.get((runs.name, role, task.name)), test, w)
                for of_task, task in zip(answers, tasks, strict=True)
            ]
            present = [of_task for of_task in answers if of_task is not None]
            mean = average_entry(present, w) if present and len(present) == len(tasks) else EMPTY_ENTRY
            rows.append(Row(_model(runs.name, role, model, w), [*entries, mean], begins=role == FamilyRole.BASE))
    columns = [w("model"), *(task.abbreviation for task in tasks), w("average")]
    caption = _results_caption(group, families, [task.name for task in tasks], rows=rows, w=w)
    test_words = w(f"test_{test}", cells=len(compared.cells))
    return Table(f"results-{group}", f"{caption} {test_words}", columns, rows if tasks else [])


def suite_of(families: Sequence[Family]) -> TaskSuite:
    """The tasks of families, of which there is one at least."""
    return union(family.runs.suite for family in families)


def _results_caption(group: str, families: Sequence[Family], tasks: list[str], rows: list[Row], w: Words) -> str:
    """A caption: what a table of results shows, of how many questions, and what is bold in it, if anything is."""
    sizes = []
    for runs in (family.runs for family in families):
        (base,) = runs.with_role(Role.BASE)
        sizes.append(
            sum(len(runs.answers[base.name, task].right) for task in tasks if (base.name, task) in runs.answers)
        )
    shown = w("results_caption", group=w.group(group), questions=max(sizes, default=0), tasks=len(tasks))
    bold = [w("key_strong")] if any(entry.strong for row in rows for entry in row.entries) else []
    chose = any(family.chosen and family.runs.suite.target == group for family in families)
    chosen = [w("key_chosen")] if chose else []
    return " ".join([shown, *bold, *chosen])


def _model(family: str, role: FamilyRole, model: str, w: Words) -> str:
    return f"{family} ({w('base')})" if role == FamilyRole.BASE else f"+ {w(role)} ({model})"


def _result(answers: Answers | None, cell: CellChange | None, test: ClearRule, w: Words) -> Entry:
    if answers is None:
        return EMPTY_ENTRY
    mark = Mark.NONE if cell is None else Mark.of_sign(cell.clear(test))
    above = cell is not None and cell.change.value > 0
    return score_entry(
        100 * answers.score,
        100 * answers.stderr,
        w.language,
        mark=mark,
        mark_words=_mark_words(mark, w),
        strong=above,
    )


def average_entry(answers: Sequence[Answers], w: Words) -> Entry:
    """The average of one model's answers to several tasks, with its error."""
    value, stderr = average_score(answers)
    return score_entry(100 * value, 100 * stderr, w.language)


def groups_table(groups: Sequence[GroupChange], w: Words, *, target: str | None) -> Table:
    """Averages of the groups and their changes with intervals.

    Args:
        groups: the changes.
        w: words of the page.
        target: the group by which a checkpoint may have been chosen.
    """
    rows = [
        Row(
            _comparison_head(g, w),
            [
                number_entry(len(g.tasks), w.language, "d"),
                score_entry(100 * g.before[0], 100 * g.before[1], w.language),
                score_entry(100 * g.after[0], 100 * g.after[1], w.language),
                _points(g.change.value, w, clear_sign(g)),
                Entry(_interval(g.change.low, g.change.high, w)),
                p_entry(g.p_holm, w),
            ],
            begins=g.group == groups[0].group,
        )
        for g in groups
    ]
    columns = [w(key) for key in ("comparison", "tasks", "before", "after", "change", "interval", "p_holm")]
    chosen = [w("groups_chosen", area=w.area(target))] if target else []
    return Table("groups", " ".join([w("groups_caption", groups=len(groups)), *chosen]), columns, rows)


def p_entry(p: float, w: Words) -> Entry:
    """A p-value, of which no page needs the size where it is below 0.001."""
    text = w("below", value=LEAST_P) if p < LEAST_P else format_number(p, ".2g", w.language)
    return Entry(text, p)


def clear_sign(group: GroupChange) -> int:
    """1 or -1 where a group's change is clear after Holm, else 0."""
    return int(np.sign(group.change.value)) if group.p_holm < LEVEL else 0


def _comparison_head(g: GroupChange, w: Words) -> str:
    head = w("of", group=w.group(g.group), what=f"{g.family}, {w(g.role)}")
    return f"{head} ({w('half')})" if g.half else head


def _points(value: float, w: Words, sign: int = 0) -> Entry:
    mark = Mark.of_sign(sign)
    text = format_number(100 * value, "+.1f", w.language)
    return Entry(text, 100 * value, mark=mark, mark_words=_mark_words(mark, w))


def _mark_words(mark: Mark, w: Words) -> str:
    return w(f"told_{mark}") if mark else ""


def _interval(low: float, high: float, w: Words) -> str:
    return w("between_changes", low=100 * low, high=100 * high)


def unpaired_tables(groups: Sequence[UnpairedGroup], w: Words) -> list[Table]:
    """The groups whose answers cannot all be paired, and their tasks that cannot; none where all can."""
    if not groups:
        return []
    of_groups = [
        Row(_group_head(g, w), _unpaired_entries(g.before, g.after, g.change, p=g.p_holm, w=w)) for g in groups
    ]
    of_tasks = [
        Row(
            w("of", group=task.task, what=f"{g.family}, {w(g.role)}"),
            [
                *_unpaired_entries(
                    (task.before.score, task.before.stderr),
                    (task.after.score, task.after.stderr),
                    task.change,
                    p=task.change.p,
                    w=w,
                ),
                Entry(w(task.reason)),
            ],
        )
        for g in groups
        for task in g.tasks
    ]
    columns = [w(key) for key in ("comparison", "before", "after", "change", "interval")]
    return [
        Table("unpaired-groups", w("unpaired_groups_caption"), [*columns, w("p_holm")], of_groups),
        Table("unpaired-tasks", w("unpaired_tasks_caption"), [*columns, w("p_alone"), w("why")], of_tasks),
    ]


def _group_head(g: UnpairedGroup, w: Words) -> str:
    return w("of", group=w.group(g.group), what=f"{g.family}, {w(g.role)}")


def _unpaired_entries(
    before: tuple[float, float], after: tuple[float, float], change: Difference, p: float, w: Words
) -> list[Entry]:
    return [
        score_entry(100 * before[0], 100 * before[1], w.language),
        score_entry(100 * after[0], 100 * after[1], w.language),
        _points(change.value, w),
        Entry(_interval(change.low, change.high, w)),
        p_entry(p, w),
    ]


def suite_table(suite: TaskSuite, w: Words) -> Table:
    """The tasks, their groups, and the score that was taken of each."""
    rows = [Row(task.name, [Entry(w.group(task.group)), Entry(task.score_key)]) for task in suite.tasks.values()]
    return Table("tasks", w("suite_caption"), [w("task"), w("group"), w("score")], rows)


def rules_table(compared: Compared, w: Words) -> Table:
    """Numbers of changes that each rule calls clear, by group and role."""
    rules = list(reversed(ClearRule))
    rows = []
    for group in dict.fromkeys([*(g.group for g in compared.groups), *(c.pair.group for c in compared.cells)]):
        for role in (FamilyRole.ADAPTED, FamilyRole.MERGED):
            cells = [c for c in compared.cells if (c.pair.group, c.pair.role) == (group, role)]
            if cells:
                counts = [[c.clear(rule) for c in cells] for rule in rules]
                entries = [Entry(f"+{signs.count(1)} −{signs.count(-1)}") for signs in counts]
                chance = number_entry(FALSE_POSITIVE_RATE * len(cells), w.language, ".1f")
                rows.append(
                    Row(
                        w("of", group=w.group(group), what=w(role)),
                        [number_entry(len(cells), w.language, "d"), *entries, chance],
                    )
                )
    columns = [w("comparison"), w("comparisons"), *(w(f"rule_{rule}") for rule in rules), w("by_chance")]
    return Table("rules", w("rules_caption"), columns, rows)


def made_of_table(groups: Sequence[GroupChange], w: Words) -> Table:
    """Change split into knowledge and format, and rates of unreadable and truncated answers."""

    def rates(pair: tuple[float, float] | None) -> Entry:
        return (
            EMPTY_ENTRY
            if pair is None
            else Entry(" → ".join(format_number(100 * rate, ".1f", w.language) for rate in pair))
        )

    rows = [
        Row(
            _comparison_head(g, w),
            [
                _points(g.change.value, w),
                _points(g.knowledge, w),
                _points(g.format, w),
                rates(g.unparseable),
                rates(g.truncated),
            ],
        )
        for g in groups
    ]
    columns = [w(key) for key in ("comparison", "change", "knowledge", "format", "unparseable", "truncated")]
    return Table("made-of", w("made_of_caption"), columns, rows)


def margins_table(group: str, suite: TaskSuite, compared: Compared, w: Words) -> Table | None:
    """Changes of the gold margin on a group's multiple-choice tasks; None where it has none."""
    cells = [c for c in compared.cells if c.pair.group == group and c.margin is not None]
    tasks = [task for task in suite.of_group(group) if any(c.pair.base.task == task.name for c in cells)]
    rows = []
    for family, role in dict.fromkeys((c.pair.family, c.pair.role) for c in cells):
        margins = {c.pair.base.task: c.margin for c in cells if (c.pair.family, c.pair.role) == (family, role)}
        entries = []
        for task in tasks:
            margin = margins.get(task.name)
            if margin is None:
                entries.append(EMPTY_ENTRY)
                continue
            mark = Mark.of_sign(int(np.sign(margin.value)) if margin.p < LEVEL else 0)
            text = (
                f"{format_number(margin.value, '+.2f', w.language)} ± {format_number(margin.stderr, '.2f', w.language)}"
            )
            entries.append(Entry(text, margin.value, margin.stderr, mark=mark, mark_words=_mark_words(mark, w)))
        rows.append(Row(f"{family}, {w(role)}", entries))
    if not rows:
        return None
    return Table(
        f"margins-{group}",
        w("margins_caption", group=w.group(group)),
        [w("model"), *(t.abbreviation for t in tasks)],
        rows,
    )


def contamination_table(groups: Sequence[GroupChange], count: int, w: Words) -> Table:
    """Changes with and without contaminated questions."""
    rows = [
        Row(
            _comparison_head(g, w),
            [
                _points(g.change.value, w),
                EMPTY_ENTRY if g.without is None else _points(g.without.value, w),
                Entry("–" if g.without is None else _interval(g.without.low, g.without.high, w)),
                number_entry(g.change.documents - (0 if g.without is None else g.without.documents), w.language, "d"),
            ],
        )
        for g in groups
    ]
    columns = [w(key) for key in ("comparison", "all_questions", "clean_questions", "interval", "removed")]
    return Table("contamination", w("contamination_caption", count=count), columns, rows)


def progress_tables(progress: Progress, w: Words, *, target: str) -> list[Table]:
    """A family's averages by checkpoint, and the choice of each rule, which looks at the target group."""
    groups = list(dict.fromkeys(point.group for point in progress.points))
    rows = []
    for model in dict.fromkeys(point.model for point in progress.points):
        points = {point.group: point for point in progress.points if point.model == model}
        rows.append(
            Row(model, [score_entry(100 * points[g].value, 100 * points[g].stderr, w.language) for g in groups])
        )
    columns = [w("checkpoint"), *(w.group(group) for group in groups)]
    along = Table(f"progress-{progress.family}", w("progress_caption", family=progress.family), columns, rows)

    def row(rule: str, choice: Choice) -> Row:
        points = [_points(value, w) for value in (choice.seen, choice.unseen, choice.optimism)]
        return Row(w(rule), [Entry(choice.model), *points])

    columns = [w(key) for key in ("rule", "chosen", "seen", "unseen", "optimism")]
    caption = w("choice_caption", family=progress.family, splits=OPTIMISM_SPLITS, area=w.area(target))
    return [
        along,
        Table(
            f"choice-{progress.family}", caption, columns, [row("ours", progress.ours), row("papers", progress.papers)]
        ),
    ]


def left_out_table(problems: Sequence[Problem], w: Words) -> Table:
    """Results that were left out, and why."""
    rows = [Row(p.model, [Entry(p.task), Entry(w(p.reason, **p.values))]) for p in problems]
    return Table("left-out", w("left_out_caption"), [w("model"), w("task"), w("why")], rows)


def trace_table(runs: Sequence[Runs], w: Words) -> Table:
    """The samples file of each score, with its hash."""
    rows = [
        Row(
            w("of", group=of_folder.name, what=f"{model}, {task}"),
            [
                number_entry(100 * answers.score, w.language, ".2f"),
                number_entry(len(answers.right), w.language, "d"),
                Entry(f"{model}/{task}/{answers.path.name}"),
                Entry(answers.digest),
            ],
        )
        for of_folder in runs
        for (model, task), answers in of_folder.answers.items()
    ]
    columns = [w("model"), w("score"), w("questions"), w("samples"), "SHA-256"]
    return Table("trace", w("trace_caption"), columns, rows)
