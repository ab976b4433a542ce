"""Cleaning all documents of a source, in two passes if the profile needs facts about the source, else in one.

Between the passes the documents wait in a file, since reading them again may take long (PDF) or fetch them again (the
Hub). Memory does not grow with the source.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from ...core import log
from ...core.files import remove
from ..documents.faults import printable
from ..documents.record import Record, Rejected
from .characters import restore_characters, trim_ends
from .profiles import Profile, run_steps
from .source_facts import MOST_WORDS, NO_FACTS, SourceFacts, SourceLook, SourceSearch
from .value_check import changed_values

SHOWN = 100
"""Lines of boilerplate that the counts name."""
READ_BYTES = 2**20


@dataclass(frozen=True)
class Cleaned:
    """A document after cleaning.

    Attributes:
        record: the document as the source gives it.
        text: its text after cleaning; empty where nothing is left.
        changes: what was changed, by kind.
    """

    record: Record
    text: str
    changes: Counter[str]


@dataclass
class CleaningCounts:
    """Effects of cleaning on a source.

    Attributes:
        profile: name of the profile.
        version: its version.
        steps: its steps, in their order.
        altered: documents that are not as they came.
        emptied: documents that cleaning left no text of.
        documents_with_changed_values: documents of which cleaning changed a value (`changed_values`).
        changed_values: changed values, by kind.
        kept_as_they_came: documents that are left uncleaned because cleaning would change a value.
        cut_words_not_looked_for: line ends whose cut word stays cut, because the limit of words to look for was
            reached.
        boilerplate: lines of boilerplate -> documents that hold them, of the most frequent.
    """

    profile: str
    version: int
    steps: list[str]
    altered: int = 0
    emptied: int = 0
    documents_with_changed_values: int = 0
    changed_values: Counter[str] = field(default_factory=Counter)
    kept_as_they_came: int = 0
    cut_words_not_looked_for: int = 0
    boilerplate: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of(profile: Profile) -> "CleaningCounts":
        """Counts of nothing yet."""
        return CleaningCounts(profile.name, profile.version, [step.name for step in profile.steps])


def cleaning_sentences(changes: Counter[str], counts: CleaningCounts) -> Iterator[str]:
    """Effects of cleaning on a source, as lines of a log."""
    if changes:
        yield "changes by cleaning: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(changes.items()))
    if counts.emptied:
        yield f"documents of which cleaning left nothing: {counts.emptied:,}"
    if counts.cut_words_not_looked_for:
        yield f"words that stay cut at line ends, past the first {MOST_WORDS:,}: {counts.cut_words_not_looked_for:,}"
    if counts.documents_with_changed_values:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.changed_values.most_common())
        yield f"documents with changed values: {counts.documents_with_changed_values:,} ({kinds})"


def clean_source(
    items: Iterable[Record | Rejected], profile: Profile, waiting: Path, counts: CleaningCounts
) -> Iterator[Cleaned | Rejected]:
    """The documents of a source, cleaned, in their order.

    Args:
        items: as they are read.
        profile: how they are cleaned.
        waiting: file that they wait in; removed at the end.
        counts: added to.
    """
    if not profile.from_source:
        for item in items:
            yield item if isinstance(item, Rejected) else _finish(_begin(item, profile), profile, NO_FACTS, counts)
        return
    try:
        look = look_at(items, profile, waiting)
        yield from finish_source(waiting, profile, search_in(waiting, look).facts(), counts)
    finally:
        remove(waiting)


def look_at(items: Iterable[Record | Rejected], profile: Profile, waiting: Path) -> SourceLook:
    """First pass over a source, or over a part of it: its documents are begun, and wait in a file."""
    look = SourceLook()
    _write(waiting, _looked_at(items, profile, look))
    return look


def search_in(waiting: Path, look: SourceLook) -> SourceSearch:
    """Second pass over the waiting documents, if the first pass over the whole source asks for it."""
    search = SourceSearch(look)
    if not look.is_enough:
        for item in _read(waiting):
            if isinstance(item, Cleaned):
                search.search(item.text)
    return search


def finish_source(
    waiting: Path, profile: Profile, facts: SourceFacts, counts: CleaningCounts
) -> Iterator[Cleaned | Rejected]:
    """Last pass: the documents that wait, cleaned by the facts about the whole source."""
    counts.cut_words_not_looked_for = facts.not_looked_for
    lines = Counter(facts.boilerplate.furniture | facts.boilerplate.edges)
    counts.boilerplate = dict(lines.most_common(SHOWN))
    for item in _read(waiting):
        yield item if isinstance(item, Rejected) else _finish(item, profile, facts, counts)


def _begin(record: Record, profile: Profile) -> Cleaned:
    """A document after the steps that need no facts about its source."""
    changes: Counter[str] = Counter()
    return Cleaned(record, run_steps(profile.before_source, record.text, changes), changes)


def _looked_at(items: Iterable[Record | Rejected], profile: Profile, look: SourceLook) -> Iterator[Cleaned | Rejected]:
    for item in items:
        if isinstance(item, Record):
            item = _begin(item, profile)
            look.look(item.text)
        yield item


def _finish(begun: Cleaned, profile: Profile, facts: SourceFacts, counts: CleaningCounts) -> Cleaned | Rejected:
    """A document after all steps, or unchanged if it would lose a value that the profile keeps."""
    record, changes = begun.record, begun.changes
    text = run_steps(profile.from_source, begun.text, changes, facts)
    if not text.strip():
        if _has_no_text(record.text):
            return Rejected(printable(record.key), 0, "no text is left after cleaning")
        counts.emptied += 1
        return Cleaned(record, "", changes)
    values = changed_values(record.text, text, facts.boilerplate)
    if values and profile.keeps_values:
        log.warn(f"{printable(record.key)} is left unchanged: cleaning would change its {', '.join(sorted(values))}")
        counts.kept_as_they_came += 1
        text, changes = record.text, Counter()
    elif values:
        counts.documents_with_changed_values += 1
        counts.changed_values.update(values)
    counts.altered += text != record.text
    return Cleaned(record, text, changes)


def _has_no_text(text: str) -> bool:
    """Whether a text holds nothing but blanks and invisible marks."""
    return not trim_ends(restore_characters(text, Counter()), Counter())


def _write(path: Path, items: Iterable[Cleaned | Rejected]) -> None:
    """Write documents, a JSON array a line, compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Arrow leaves a file of its own open where the disk is full.
    with path.open("wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        for item in items:
            stream.write(json.dumps(_fields(item), ensure_ascii=False).encode() + b"\n")


def _fields(item: Cleaned | Rejected) -> list[Any]:
    if isinstance(item, Rejected):
        return [item.file, item.line, item.reason]
    record = item.record
    cleaned = None if item.text == record.text else item.text
    return [record.key, record.text, dict(record.stated), record.split, cleaned, item.changes]


def _read(path: Path) -> Iterator[Cleaned | Rejected]:
    """The documents that `_write` wrote."""
    with path.open("rb") as file, pa.CompressedInputStream(file, "zstd") as stream:
        for line in io.BufferedReader(cast(Any, stream), READ_BYTES):
            fields = json.loads(line)
            if len(fields) == 3:
                yield Rejected(*fields)
            else:
                *record, cleaned, changes = fields
                yield Cleaned(Record(*record), record[1] if cleaned is None else cleaned, Counter(changes))
