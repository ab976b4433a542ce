"""The share of altered doses and laboratory values: a table, and a sentence beside the page's answer."""

from collections.abc import Sequence

from ...clinical.numbers.number_tasks import ALTERED, TENFOLD
from ...clinical.numbers.score_numbers import Outcome
from ...statistics.alterations import EVERY_TASK, AlteredShare
from ...statistics.family import FamilyRole
from ...statistics.multiple_testing import LEVEL
from ..benchmark_tables import EMPTY_ENTRY, p_entry
from ..table_formats import Entry, Mark, Row, Table, number_entry
from ..texts import Words, format_number

SHARES = (Outcome.EXACT.value, Outcome.EQUAL.value, Outcome.ABSENT.value)


def altered_sentences(rows: Sequence[AlteredShare], w: Words) -> tuple[str, ...]:
    """A sentence for each family on the share that its models altered, of all tasks that they did."""
    sentences = []
    for family in dict.fromkeys(row.family for row in rows if row.role):
        of_family = [row for row in rows if row.family == family and row.role]
        whole = [row for row in of_family if row.task == EVERY_TASK] or of_family
        shown = [_in_words(row, w) for row in whole if row.task == whole[0].task]
        sentences.append(
            w("altered_sentence", family=family, quantities=whole[0].quantities, shares=w("semicolon").join(shown))
        )
    return tuple(sentences)


def _in_words(row: AlteredShare, w: Words) -> str:
    assert row.role, "of a family"
    values = {"role": w(row.role), "share": 100 * row.altered, "low": 100 * row.low, "high": 100 * row.high}
    return w(f"altered_{_verdict(row)}", **values)


def _verdict(row: AlteredShare) -> str:
    if row.change is None or row.p is None:
        return "alone"
    if row.p >= LEVEL:
        return "unclear"
    return "more" if row.change.value > 0 else "less"


def altered_table(rows: Sequence[AlteredShare], w: Words) -> Table | None:
    """Each model on each task: how its answers are, the share that is altered, and the change against the base."""
    if not rows:
        return None
    made, before = [], ("", "")
    for row in rows:
        begins, before = before != (row.family, row.model), (row.family, row.model)
        made.append(Row(_head(row, w), _entries(row, w), begins=begins))
    keys = ("asked_quantities", *(f"outcome_{share}" for share in SHARES), "outcome_altered", "interval")
    columns = [w("comparison"), *(w(key) for key in (*keys, "outcome_tenfold", "change", "interval", "p_holm"))]
    compared = sum(row.p is not None for row in rows)
    return Table("altered-numbers", w("altered_caption", comparisons=compared), columns, made)


def _head(row: AlteredShare, w: Words) -> str:
    task = w("task_every_number" if row.task == EVERY_TASK else f"task_{row.task}")
    role = f" ({w(row.role)})" if row.role else ""
    name = row.family if row.role == FamilyRole.BASE else row.model
    return w("of", group=f"{name}{role}", what=task)


def _entries(row: AlteredShare, w: Words) -> list[Entry]:
    def percent(value: float) -> Entry:
        return number_entry(100 * value, w.language, ".1f")

    between = w("between", low=100 * row.low, high=100 * row.high)
    return [
        number_entry(row.quantities, w.language, "d"),
        *(percent(row.shares[share]) for share in SHARES),
        percent(row.shares[ALTERED]),
        Entry(between),
        percent(row.shares[TENFOLD]),
        *_change_entries(row, w),
    ]


def _change_entries(row: AlteredShare, w: Words) -> list[Entry]:
    """Change, interval and p; fewer altered quantities are better."""
    if row.change is None or row.p is None:
        return [EMPTY_ENTRY] * 3
    mark = {"more": Mark.WORSE, "less": Mark.BETTER}.get(_verdict(row), Mark.NONE)
    value, low, high = (100 * each for each in (row.change.value, row.change.low, row.change.high))
    text = format_number(value, "+.1f", w.language)
    change = Entry(text, value, mark=mark, mark_words=w(f"told_{mark}") if mark else "")
    return [change, Entry(w("between_changes", low=low, high=high)), p_entry(row.p, w)]
