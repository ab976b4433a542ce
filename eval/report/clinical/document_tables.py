"""The table of scores on clinical documents."""

from collections.abc import Sequence

from ...statistics.document_scores import DocumentScore
from ...statistics.family import FamilyRole
from ...statistics.multiple_testing import LEVEL
from ...tasks.all_tasks import ALL_TASKS
from ..benchmark_tables import EMPTY_ENTRY, p_entry
from ..table_formats import Entry, Mark, Row, Table, number_entry
from ..texts import Words, format_number


def documents_table(rows: Sequence[DocumentScore], w: Words) -> Table | None:
    """Each model's scores on each task, the change against the base, and the score without contaminated questions."""
    if not rows:
        return None
    made, before = [], ("", "")
    for row in rows:
        begins, before = before != (row.task, row.metric), (row.task, row.metric)
        made.append(Row(_head(row, w), _entries(row, w), begins=begins))
    keys = ("document_score", "asked_questions", "document_value", "interval", "change", "interval", "p_holm")
    columns = [w("comparison"), *(w(key) for key in (*keys, "clean_questions", "removed"))]
    compared = sum(row.p is not None for row in rows)
    return Table("documents", w("documents_caption", comparisons=compared), columns, made)


def _head(row: DocumentScore, w: Words) -> str:
    role = f" ({w(row.role)})" if row.role else ""
    name = row.family if row.role == FamilyRole.BASE else row.model
    return w("of", group=ALL_TASKS[row.task].abbreviation, what=f"{name}{role}")


def _entries(row: DocumentScore, w: Words) -> list[Entry]:
    clean = [EMPTY_ENTRY] * 2
    if row.clean is not None:
        value, left = row.clean
        clean = [number_entry(100 * value, w.language, ".1f"), number_entry(row.questions - left, w.language, "d")]
    return [
        Entry(w(f"metric_{row.metric}")),
        number_entry(row.questions, w.language, "d"),
        number_entry(100 * row.value, w.language, ".1f"),
        Entry(w("between", low=100 * row.low, high=100 * row.high)),
        *_change_entries(row, w),
        *clean,
    ]


def _change_entries(row: DocumentScore, w: Words) -> list[Entry]:
    if row.change is None or row.p is None:
        return [EMPTY_ENTRY] * 3
    clear = row.p < LEVEL
    mark = (Mark.BETTER if row.change.value > 0 else Mark.WORSE) if clear else Mark.NONE
    value, low, high = (100 * each for each in (row.change.value, row.change.low, row.change.high))
    text = format_number(value, "+.1f", w.language)
    change = Entry(text, value, mark=mark, mark_words=w(f"told_{mark}") if mark else "")
    interval = w("between_changes", low=low, high=high)
    return [change, Entry(interval), p_entry(row.p, w)]
