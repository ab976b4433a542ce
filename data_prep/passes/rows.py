"""The rows of a source's documents, cleaned, masked, chosen by edition, screened and counted."""

import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ..clean.profiles import Profile
from ..clean.source_cleaning import Cleaned, CleaningCounts
from ..documents.description import describe
from ..documents.record import Rejected
from ..documents.sources import Source
from ..documents.store import TEXTS, Row, grouped, write_rejected
from ..documents.survey import Survey
from ..licences.editions import Edition, as_counted, reason_to_leave_out
from ..screening.masking import mask
from ..screening.screen import Screening

LINE = re.compile(r"#\d+$")
"""End of a document's id, after the name of its file."""
SCREENED = 1_000_000
"""Characters that are screened at once."""


@dataclass(frozen=True)
class Cleaning:
    """Changes that are made to texts.

    Attributes:
        profile: how they are cleaned.
        masked: kinds of personal data that are masked then.
    """

    profile: Profile
    masked: tuple[str, ...]


class UnreadableError(Exception):
    """Files of a source cannot be read."""

    def __init__(self, faults: list[UserError]) -> None:
        super().__init__()
        self.faults = faults


@dataclass(frozen=True)
class Rows:
    """Rows of a source, or of a part of it, and their counts.

    Attributes:
        survey: its files; of a part, those alone.
        edition: which documents are taken; None for all.
        cleaning: what is done to them.
        rejected: file that the rejected documents are written to, if there are any.
        counts: filled while the rows are drained.
    """

    survey: Survey
    edition: Edition | None
    cleaning: Cleaning
    rejected: Path
    counts: dict[str, Any]

    @staticmethod
    def of(survey: Survey, edition: Edition | None, cleaning: Cleaning, rejected: Path) -> "Rows":
        """Rows with counts of nothing yet."""
        counts = {"read": 0, "rejected": 0, "kept": 0, "characters": 0, "words": 0, "changes": Counter()}
        counts["left_out_of_edition"] = {}
        return Rows(survey, edition, cleaning, rejected=rejected, counts=counts)

    def screened(
        self, items: Iterable[Cleaned | Rejected], cleaned: CleaningCounts, faults: list[UserError]
    ) -> Generator[Row]:
        """The rows of the documents kept.

        Args:
            items: the documents, cleaned.
            cleaned: filled while they are drained.
            faults: of files that cannot be read, filled as well.

        Raises:
            UnreadableError: there are faults, once all items are drained.
        """
        screening, rejected = Screening(thorough=True), list[Rejected]()
        for group in grouped(self._kept(items, rejected), lambda row: len(str(row["text"])), SCREENED):
            files = [LINE.sub("", str(row["doc_id"])) for row in group]
            screening.look_at([str(row["text"]) for row in group], files)
            yield from group
        if faults:
            raise UnreadableError(faults)
        if rejected:
            write_rejected(self.rejected, rejected)
        self.counts["rejected"] = len(rejected)
        self.counts["cleaning"] = vars(cleaned)
        self.counts["left_out"] = dict(self.survey.left_out)
        self.counts["screened"] = screening.counts

    def _kept(self, items: Iterable[Cleaned | Rejected], rejected: list[Rejected]) -> Iterator[Row]:
        counts = self.counts
        for item in items:
            counts["read"] += 1
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            if self.cleaning.masked:
                item = replace(item, text=mask(item.text, self.cleaning.masked, item.changes))
            counts["changes"].update(item.changes)
            if item.text:
                yield from self._chosen(_row(item, self.survey.source, self.edition, self.cleaning.profile))

    def _chosen(self, row: Row) -> Iterator[Row]:
        """The row, counted, unless the edition leaves it out."""
        counts = self.counts
        if reason := reason_to_leave_out(self.edition, row, self.survey.source.definition):
            left_out = counts["left_out_of_edition"].setdefault(reason, Counter(documents=0, words=0))
            left_out.update(documents=1, words=row["words"])
            return
        counts["kept"] += 1
        counts["characters"] += len(row["text"])
        counts["words"] += row["words"]
        yield row


def _row(cleaned: Cleaned, source: Source, edition: Edition | None, profile: Profile) -> Row:
    """The row of a cleaned document."""
    record, text = cleaned.record, cleaned.text
    known = as_counted(edition, describe(record, source), source.definition)
    row = {name: known[name] for name in (*TEXTS[1:], "commercial")}
    return row | {
        "text": text,
        "source": source.name,
        "subset": row["subset"] or record.stated.get("source", ""),
        "text_sha256": sha256(text.encode()).hexdigest(),
        "changes_made": _changes_made(known["changes_made"], cleaned.changes, source, profile),
        "words": len(text.split()),
    }


def _changes_made(before: str, changed: Counter[str], source: Source, profile: Profile) -> str:
    """Sentence on the changes to a document, after the known earlier ones, and the version that made them."""
    taken = f"text taken from the published files ({source.definition.text})" if source.definition else ""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(changed.items()))
    done = "; ".join(filter(None, [taken, kinds and f"cleaned ({profile}): {kinds}"]))
    return "; ".join(filter(None, [before, done and f"pdapt {_version()}: {done}"]))


@cache
def _version() -> str:
    """This version of pdapt; asking for it parses the package's metadata, as long as cleaning a document takes."""
    return metadata.version("pdapt")
