"""Tables of a benchmark report, in the paper's form: results by task, groups, rules, ranking, all models, sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.training_cost import Spent
from ..benchmark.cells import Answers, Problem, Runs
from ..statistics.compare import TESTS, CellChange, Compared, Family, GroupChange, average
from ..statistics.estimates import FALSE_POSITIVE_RATE, LEVEL
from ..statistics.progress import SPLITS, Progress, Rule
from ..tasks.suite import GROUPS, SUITE
from .tabulate import Entry, Row, Table, plain, scored
from .words import fill, number

NONE = Entry("–")


@dataclass(frozen=True)
class Words:
    """A language and its words."""

    language: str
    texts: dict[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """Words by key, with numbers as the language writes them."""
        return fill(self.texts[key], values, self.language)


def results_table(group: str, families: Sequence[Family], compared: Compared, test: str, w: Words) -> Table:
    """Tables 3 to 6: rows of base, adapted and merged, columns of tasks and the weighted average."""
    tasks = [task for task in SUITE if task.group == group]
    cells = {(c.pair.family, c.pair.role, c.pair.base.task): c for c in compared.cells}
    rows = []
    for family in families:
        runs = family.runs
        for role, model in family.members():
            answers = [runs.answers.get((model, task.name)) for task in tasks]
            entries = [
                _result(its, cells.get((runs.name, role, task.name)), test, w)
                for its, task in zip(answers, tasks, strict=True)
            ]
            whole = [its for its in answers if its is not None]
            mean = average_entry(whole, w) if len(whole) == len(tasks) else NONE
            rows.append(Row(_model(runs.name, role, model, w), [*entries, mean], begins=role == "base"))
    caption = w(
        "results_caption", group=w(group), test=f"{w('key_strong')} {w(f'test_{test}', cells=len(compared.cells))}"
    )
    return Table(f"results-{group}", caption, [w("model"), *(task.abbreviation for task in tasks), w("average")], rows)


def _model(family: str, role: str, model: str, w: Words) -> str:
    return f"{family} ({w('base')})" if role == "base" else f"+ {w(role)} ({model})"


def _result(answers: Answers | None, cell: CellChange | None, test: str, w: Words) -> Entry:
    if answers is None:
        return NONE
    mark = "" if cell is None else _mark(cell.clear(test))
    above = cell is not None and cell.change.value > 0
    told = w(f"told_{mark}") if mark else ""
    return scored(100 * answers.score, 100 * answers.stderr, w.language, mark=(mark, told), strong=above)


def average_entry(answers: Sequence[Answers], w: Words) -> Entry:
    """Their average with its error."""
    value, stderr = average(answers)
    return scored(100 * value, 100 * stderr, w.language)


def _mark(sign: int) -> str:
    return {1: "better", -1: "worse", 0: ""}[sign]


def groups_table(groups: Sequence[GroupChange], w: Words) -> Table:
    """Averages of the groups and their changes with intervals."""
    rows = [
        Row(
            _compared(g, w),
            [
                plain(len(g.tasks), w.language, "d"),
                scored(100 * g.before[0], 100 * g.before[1], w.language),
                scored(100 * g.after[0], 100 * g.after[1], w.language),
                _points(g.change.value, w, clear(g)),
                Entry(_interval(g.change.low, g.change.high, w)),
                plain(g.p_holm, w.language, ".2g"),
            ],
            begins=g.group == GROUPS[0],
        )
        for g in groups
    ]
    columns = [w(key) for key in ("comparison", "tasks", "before", "after", "change", "interval", "p_holm")]
    return Table("groups", w("groups_caption", groups=len(groups)), columns, rows)


def clear(group: GroupChange) -> int:
    """1 or -1 where a group's change is clear after Holm, else 0."""
    return int(np.sign(group.change.value)) if group.p_holm < LEVEL else 0


def _compared(g: GroupChange, w: Words) -> str:
    its = w("of", group=w(g.group), what=f"{g.family}, {w(g.role)}")
    return f"{its} ({w('half')})" if g.half else its


def _points(value: float, w: Words, sign: int = 0) -> Entry:
    mark = _mark(sign)
    return Entry(number(100 * value, "+.1f", w.language), 100 * value, None, mark, w(f"told_{mark}") if mark else "")


def _interval(low: float, high: float, w: Words) -> str:
    return " … ".join(number(100 * end, "+.1f", w.language) for end in (low, high))


def rules_table(compared: Compared, w: Words) -> Table:
    """How many changes each rule calls clear, by group and role."""
    rows = []
    for group in GROUPS:
        for role in ("adapted", "merged"):
            cells = [c for c in compared.cells if (c.pair.group, c.pair.role) == (group, role)]
            if cells:
                counts = [[c.clear(test) for c in cells] for test in reversed(TESTS)]
                entries = [Entry(f"+{signs.count(1)} −{signs.count(-1)}") for signs in counts]
                chance = plain(FALSE_POSITIVE_RATE * len(cells), w.language, ".1f")
                rows.append(
                    Row(w("of", group=w(group), what=w(role)), [plain(len(cells), w.language, "d"), *entries, chance])
                )
    columns = [w("comparison"), w("comparisons"), *(w(f"rule_{test}") for test in reversed(TESTS)), w("by_chance")]
    return Table("rules", w("rules_caption"), columns, rows)


def made_of_table(groups: Sequence[GroupChange], w: Words) -> Table:
    """Change split into knowledge and format, and rates of unreadable and truncated answers."""

    def rates(pair: tuple[float, float] | None) -> Entry:
        return NONE if pair is None else Entry(" → ".join(number(100 * rate, ".1f", w.language) for rate in pair))

    rows = [
        Row(
            _compared(g, w),
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


def margins_table(group: str, compared: Compared, w: Words) -> Table | None:
    """Changes of the gold margin on a group's multiple-choice tasks; None where it has none."""
    cells = [c for c in compared.cells if c.pair.group == group and c.margin is not None]
    tasks = [task for task in SUITE if task.group == group and any(c.pair.base.task == task.name for c in cells)]
    rows = []
    for family, role in dict.fromkeys((c.pair.family, c.pair.role) for c in cells):
        its = {c.pair.base.task: c.margin for c in cells if (c.pair.family, c.pair.role) == (family, role)}
        entries = []
        for task in tasks:
            margin = its.get(task.name)
            if margin is None:
                entries.append(NONE)
                continue
            mark = _mark(int(np.sign(margin.value)) if margin.p < LEVEL else 0)
            text = f"{number(margin.value, '+.2f', w.language)} ± {number(margin.stderr, '.2f', w.language)}"
            entries.append(Entry(text, margin.value, margin.stderr, mark, w(f"told_{mark}") if mark else ""))
        rows.append(Row(f"{family}, {w(role)}", entries))
    if not rows:
        return None
    return Table(
        f"margins-{group}", w("margins_caption", group=w(group)), [w("model"), *(t.abbreviation for t in tasks)], rows
    )


def contamination_table(groups: Sequence[GroupChange], count: int, w: Words) -> Table:
    """Changes with and without contaminated questions."""
    rows = [
        Row(
            _compared(g, w),
            [
                _points(g.change.value, w),
                NONE if g.without is None else _points(g.without.value, w),
                Entry("–" if g.without is None else _interval(g.without.low, g.without.high, w)),
                plain(g.change.documents - (0 if g.without is None else g.without.documents), w.language, "d"),
            ],
        )
        for g in groups
    ]
    columns = [w(key) for key in ("comparison", "all_questions", "clean_questions", "interval", "removed")]
    return Table("contamination", w("contamination_caption", count=count), columns, rows)


def progress_tables(found: Progress, w: Words) -> list[Table]:
    """A family's averages by checkpoint, and what each rule chooses."""
    groups = [group for group in GROUPS if any(point.group == group for point in found.points)]
    rows = []
    for model in dict.fromkeys(point.model for point in found.points):
        its = {point.group: point for point in found.points if point.model == model}
        rows.append(Row(model, [scored(100 * its[g].value, 100 * its[g].stderr, w.language) for g in groups]))
    columns = [w("checkpoint"), *(w(group) for group in groups)]
    along = Table(f"progress-{found.family}", w("progress_caption", family=found.family), columns, rows)

    def row(name: str, rule: Rule) -> Row:
        points = [_points(value, w) for value in (rule.seen, rule.unseen, rule.optimism)]
        return Row(w(name), [Entry(rule.model), *points])

    columns = [w(key) for key in ("rule", "chosen", "seen", "unseen", "optimism")]
    caption = w("choice_caption", family=found.family, splits=SPLITS)
    return [
        along,
        Table(f"choice-{found.family}", caption, columns, [row("ours", found.ours), row("papers", found.papers)]),
    ]


def left_out_table(problems: Sequence[Problem], w: Words) -> Table:
    """What was left out, and why."""
    rows = [Row(p.model, [Entry(p.task), Entry(w(p.reason, **p.values))]) for p in problems]
    return Table("left-out", w("left_out_caption"), [w("model"), w("task"), w("why")], rows)


def trace_table(runs: Sequence[Runs], w: Words) -> Table:
    """The samples file behind each score."""
    rows = [
        Row(
            f"{its.name}: {model}, {task}",
            [
                plain(100 * answers.score, w.language, ".2f"),
                plain(len(answers.right), w.language, "d"),
                Entry(f"{model}/{task}/{answers.path.name}"),
                Entry(answers.digest),
            ],
        )
        for its in runs
        for (model, task), answers in its.answers.items()
    ]
    columns = [w("model"), w("score"), w("questions"), w("samples"), "SHA-256"]
    return Table("trace", w("trace_caption"), columns, rows)


def training_table(training: dict[str, Spent], w: Words) -> Table:
    """What the training of each family took."""
    columns = ("steps", "tokens", "hours", "rank_hours", "goodput_percent")
    digits = (",d", ",d", ".2f", ",.1f", ".1f")
    rows = []
    for name, its in training.items():
        values = (its.steps, its.tokens, its.hours, its.rank_hours, 100 * its.goodput)
        shown = [NONE if v is None else plain(v, w.language, d) for v, d in zip(values, digits, strict=True)]
        if its.lost:
            shown[:2] = [Entry(f"≥ {entry.text}") for entry in shown[:2]]
        if its.unknown:
            shown[4] = Entry(f"{shown[4].text} – {plain(100 * (its.goodput + its.unknown), w.language, '.1f').text}")
        energy = NONE if its.joules is None else plain(its.joules / 3.6e6, w.language, ",.1f")
        rows.append(Row(name, [*shown, energy]))
    return Table("train-cost", w("training_caption"), [w("model"), *map(w, columns), "kWh"], rows)


def making_tables(runs: Sequence[Runs], w: Words) -> list[Table]:
    """How each model was asked: batch sizes, what was cut, chat template, warnings; and advice that was not heeded."""
    answers = {
        f"{its.name}: {member.name}": [a for (model, _), a in its.answers.items() if model == member.name]
        for its in runs
        for member in its.members
    }
    columns = ("batch_choices", "batch_text", "prompts_cut", "texts_cut", "chat_template", "warnings")
    rows = [Row(head, _making(found, w)) for head, found in answers.items()]
    making = Table("making", w("making_caption"), [w("model"), *map(w, columns)], rows)
    advice = {head: _advice(found) for head, found in answers.items()}
    rows = [Row(head, [Entry(keys)]) for head, keys in advice.items() if keys]
    return [making, *([Table("advice", w("advice_caption"), [w("model"), w("advice")], rows)] if rows else [])]


def _making(answers: Sequence[Answers], w: Words) -> list[Entry]:
    made = [its.made for its in answers if its.made]
    warnings = sum(row["times"] for one in made for row in one["warnings"])
    return [
        _listed({one["batch_size"].get("size", "–") for one in made if "generation" not in one}),
        _listed({one["batch_size"].get("size", "–") for one in made if "generation" in one}),
        _counted([its.cut for its in answers], w),
        _counted([its.truncated for its in answers], w),
        _listed({w("yes_" if one["chat_template"] else "no_") for one in made}),
        plain(warnings, w.language, ",d") if made else NONE,
    ]


def _advice(answers: Sequence[Answers]) -> str:
    unused = [its.made.get("generation_config_unused", {}) for its in answers]
    return ", ".join(sorted({f"{key}={value}" for advice in unused for key, value in advice.items()}))


def _listed(values: set[Any]) -> Entry:
    return Entry(", ".join(sorted(map(str, values)))) if values else NONE


def _counted(flags: Sequence[np.ndarray | None], w: Words) -> Entry:
    """How many of those that were noted."""
    noted = [its for its in flags if its is not None]
    if not noted:
        return NONE
    return Entry(w("n_of", count=sum(int(its.sum()) for its in noted), all=sum(map(len, noted))))


def settings_tables(runs: Sequence[Runs], versions: dict[str, str], w: Words) -> list[Table]:
    """Limits and versions of the runs, and what they took."""
    settings = [
        Row(f"{its.name}: {key}", [Entry("–" if value is None else str(value))])
        for its in runs
        for key, value in its.config.items()
    ]
    asked = sorted({str(answers.asked["lm_eval"]) for its in runs for answers in its.answers.values()})
    settings += [Row("lm-eval", [Entry(", ".join(asked))])] + [Row(k, [Entry(v)]) for k, v in versions.items()]
    cost = [
        Row(
            f"{its.name}: {member.name}",
            [plain(sum(a.seconds for (m, _), a in its.answers.items() if m == member.name) / 3600, w.language, ".2f")],
        )
        for its in runs
        for member in its.members
    ]
    return [
        Table("settings", w("settings_caption"), [w("setting"), w("value")], settings),
        Table("cost", w("cost_caption"), [w("model"), w("hours")], cost),
    ]
