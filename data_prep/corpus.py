"""The stage that makes a corpus: sources in, cleaned documents with their provenance out."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core import log
from ..core.errors import UserError
from ..core.files import remove
from ..core.manifest import Manifest, run_stage
from .clean.clean import clean
from .clean.screen import Screening, sentences
from .documents.discover import discover
from .documents.faults import check_rejected, check_share, printable, together
from .documents.reading import describe, find_documents, read_source
from .documents.record import Rejected
from .documents.registered import allowed_share
from .documents.sources import Source
from .documents.store import (
    FOLDER,
    REJECTED,
    TEXTS,
    Row,
    grouped,
    read_counts,
    read_rejected,
    write_documents,
    write_rejected,
)
from .documents.survey import Survey, fingerprint
from .sources.registry import identity_of

LINE = re.compile(r"#\d+$")
"""End of a document's id, after the name of its file."""
SCREENED = 1_000_000
"""Characters that are screened at once."""
PARTS = ".rejected"
"""Folder of each source's rejected documents while the stage is at work."""

__all__ = ["Source", "build_corpus", "discover"]


def build_corpus(sources: Sequence[Source], out: Path, *, max_rejected: float | None = None) -> Manifest:
    """Read, clean and write each source's documents: `documents/<source>.parquet`.

    The manifest's counts are, for each source, its path, its files by format, what was left unread and why, the
    documents read, rejected and kept, the characters and words (between white space) of those kept, the `changes`
    that cleaning made, by kind (see `clean`), and what was found that looks personal or is not French (`Screening`).

    Args:
        sources: what is read; see `discover`.
        out: the folder to make.
        max_rejected: share of the documents that may be spoilt (malformed, or without text): they are left out and
            listed in `rejected.parquet`. None for none, or one in 1,000 where all sources are registered ones.

    Raises:
        UserError: files cannot be read (all of them are named), documents are spoilt, or a source has no document.
    """
    if not sources:
        raise UserError("no source is given", where="PATH", allowed="[NAME=]PATH, hub:OWNER/NAME")
    check_share(max_rejected)
    max_rejected = allowed_share(sources, max_rejected)
    surveys = find_documents(sources, out)

    def body(work: Path) -> dict[str, Any]:
        return _build(surveys, work, max_rejected)

    inputs = {survey.source.name: fingerprint(survey) for survey in surveys if survey.files}
    config = {"sources": [_config(survey.source) for survey in surveys], "max_rejected": max_rejected}
    return run_stage("corpus", inputs, config, out, body=body, resumes=True)


def _config(source: Source) -> dict[str, Any]:
    """The properties of a source that decide the output. A local path does not: what it holds does, as an input."""
    config = asdict(source)
    path = source.path if isinstance(source.path, str) else None
    return config | {"path": path, "format": identity_of(source.format)}


def _build(surveys: Sequence[Survey], work: Path, max_rejected: float | None) -> dict[str, Any]:
    """Write all sources; their counts."""
    faults: list[UserError] = []
    counts: dict[str, dict[str, Any]] = {}
    for survey in surveys:
        try:
            counts[survey.source.name] = _about(survey) | _build_source(survey, work)
        except _Unreadable as error:
            faults += error.faults
    if faults:
        raise together(faults)
    rejected = [document for survey in surveys for document in _rejected(survey, work)]
    check_rejected(rejected, sum(each["read"] for each in counts.values()), max_rejected)
    empty = [
        UserError("no document has text", where=printable(survey.source.path))
        for survey in surveys
        if not counts[survey.source.name]["kept"]
    ]
    if empty:
        raise together(empty)
    if rejected:
        log.warn(f"corpus: {len(rejected)} documents are left out: {REJECTED} says which and why")
        write_rejected(work / REJECTED, rejected)
    remove(work / PARTS)
    return counts


class _Unreadable(Exception):
    """Files of a source that cannot be read."""

    def __init__(self, faults: list[UserError]) -> None:
        super().__init__()
        self.faults = faults


def _about(survey: Survey) -> dict[str, Any]:
    path = survey.source.path
    where = f"hub:{path}" if isinstance(path, str) else printable(path)
    return {"path": where, "files": survey.formats(), "unread": survey.unread_by_reason()}


def _build_source(survey: Survey, work: Path) -> dict[str, Any]:
    """Write one source unless an earlier run did; its counts."""
    name = survey.source.name
    path = work / FOLDER / f"{name}.parquet"
    if not path.exists():
        log.info(f"corpus: {name} ({', '.join(f'{count:,} {kind}' for kind, count in survey.formats().items())})")
        counts = {"read": 0, "rejected": 0, "kept": 0, "characters": 0, "words": 0, "changes": Counter()}
        write_documents(path, _screened(_rows(survey, work, counts), counts), counts)
        if counts["changes"]:
            changes = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts["changes"].items()))
            log.info(f"corpus: {name}: characters that cleaning changed: {changes}")
    return read_counts(path)


def _rejected(survey: Survey, work: Path) -> list[Rejected]:
    path = work / PARTS / f"{survey.source.name}.parquet"
    return read_rejected(path) if path.is_file() else []


def _screened(rows: Iterator[Row], counts: dict[str, Any]) -> Iterator[Row]:
    """The same rows; fills the count `screened` on the way, and says at the end what was found."""
    screening = Screening()
    for group in grouped(rows, lambda row: len(str(row["text"])), SCREENED):
        files = [LINE.sub("", str(row["doc_id"])) for row in group]
        screening.look_at([str(row["text"]) for row in group], files)
        yield from group
    counts["screened"] = screening.counts
    for sentence in sentences(screening.counts):
        log.info(f"corpus: {sentence}")


def _rows(survey: Survey, work: Path, counts: dict[str, Any]) -> Iterator[Row]:
    """The rows of the documents kept; fills `counts` on the way, and writes down what is rejected at the end."""
    faults: list[UserError] = []
    rejected: list[Rejected] = []
    for item in read_source(survey, faults):
        counts["read"] += 1
        if isinstance(item, Rejected):
            rejected.append(item)
            continue
        text = clean(item.text, counts["changes"])
        if not text:
            rejected.append(Rejected(printable(item.key), 0, "no text is left after cleaning"))
            continue
        counts["kept"] += 1
        counts["characters"] += len(text)
        counts["words"] += len(text.split())
        yield _row(describe(item, survey.source), text, survey.source.name, item.stated.get("source", ""))
    if faults:
        raise _Unreadable(faults)
    counts["rejected"] = len(rejected)
    counts["left_out"] = dict(survey.left_out)
    if rejected:
        write_rejected(work / PARTS / f"{survey.source.name}.parquet", rejected)


def _row(known: dict[str, Any], text: str, source: str, stated_source: str) -> Row:
    row = {name: known[name] for name in (*TEXTS[1:], "commercial")}
    return row | {"text": text, "source": source, "subset": row["subset"] or stated_source}
