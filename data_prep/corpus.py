"""The stage that makes a corpus: sources in, cleaned documents with their provenance out."""

import re
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from ..core import log
from ..core.errors import UserError
from ..core.files import remove
from ..core.log import counted
from ..core.manifest import Manifest, run_stage
from .clean.profiles import DEFAULT, Profile, profile_of
from .clean.source_cleaning import Cleaned, CleaningCounts, clean_source, cleaning_sentences
from .dedup.corpus_duplicates import Treatment, treat_duplicates, treatment_of
from .documents.description import describe
from .documents.discover import discover
from .documents.faults import check_rejected, check_share, printable, together
from .documents.reading import find_documents, read_source
from .documents.record import Rejected
from .documents.registered import shares
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
from .licences.editions import Edition, as_counted, edition_of, reason_to_leave_out
from .screening.masking import kinds_to_mask, mask
from .screening.screen import Screening, sentences
from .sources.registry import identity_of

LINE = re.compile(r"#\d+$")
"""End of a document's id, after the name of its file."""
SCREENED = 1_000_000
"""Characters that are screened at once."""
UNNAMED = "clinical 1"
"""Profile that the configuration does not name, so that a corpus from before there were profiles is finished work."""
WAITING = ".waiting"
"""Folder of the documents that wait between two passes over their source."""
PARTS = ".rejected"
"""Folder of each source's rejected documents while the stage is at work."""

__all__ = ["Source", "build_corpus", "discover"]


@dataclass(frozen=True)
class Cleaning:
    """Changes that are made to texts.

    Attributes:
        profile: how they are cleaned.
        masked: kinds of personal data that are masked then.
    """

    profile: Profile
    masked: tuple[str, ...]


def build_corpus(
    sources: Sequence[Source],
    out: Path,
    *,
    max_rejected: float | None = None,
    edition: str | None = None,
    whole: Collection[str] = (),
    profile: str = DEFAULT,
    duplicates: str = Treatment.KEEP,
    masked: Sequence[str] = (),
) -> Manifest:
    """Read, clean and write each source's documents: `documents/<source>.parquet`.

    The manifest's counts are, for each source, its path, its files by format, what was left unread and why, the
    documents read, rejected and kept, the characters and words (between white space) of those kept, the `changes`
    that cleaning made, by kind, and what else it counts (`CleaningCounts`), what was found that looks personal or is
    not French (`Screening`), the documents and words that the edition leaves out, by reason, and those that another
    document stands for, by its source and by how they are like it.

    Args:
        sources: what is read; see `discover`.
        out: the folder to make.
        max_rejected: share of the documents that may be spoilt (malformed, or without text): they are left out and
            listed in `rejected.parquet`. None for none of one's own files', and one in 1,000 of each registered
            source's.
        edition: which documents are written, a name of `Edition`; None for all.
        whole: names of sources of which all documents are written, whatever the edition.
        profile: how documents are cleaned, a name of `PROFILES`.
        duplicates: what is done with documents that are alike, of one source or of several, a name of `Treatment`.
        masked: kinds of personal data that are masked after cleaning, of `KINDS`, or `all`.

    Raises:
        UserError: files cannot be read (all of them are named), documents are spoilt, a source has no document, or no
            document is of the edition.
    """
    chosen, treatment = edition_of(edition), treatment_of(duplicates)
    cleaning = Cleaning(profile_of(profile), kinds_to_mask(masked))
    editions = {source.name: None if source.name in whole else chosen for source in sources}
    if not sources:
        raise UserError("no source is given", where="PATH", allowed="[NAME=]PATH, hub:OWNER/NAME")
    check_share(max_rejected)
    surveys = find_documents(sources, out)

    def body(work: Path) -> dict[str, Any]:
        counts = _build(surveys, work, max_rejected=max_rejected, editions=editions, cleaning=cleaning)
        treat_duplicates(surveys, work, counts, treatment)
        _remove_leftovers(surveys, work, counts)
        return counts

    inputs = {survey.source.name: fingerprint(survey) for survey in surveys if survey.files}
    config = {
        "sources": [_config(survey.source) for survey in surveys],
        "max_rejected": max_rejected,
    }
    if chosen:  # a corpus of all documents is what it was before there were editions
        config |= {"edition": chosen} | ({"whole": sorted(whole)} if whole else {})
    if str(cleaning.profile) != UNNAMED:
        config["profile"] = str(cleaning.profile)
    if cleaning.masked:
        config["masked"] = cleaning.masked
    if treatment is not Treatment.KEEP:
        config["duplicates"] = treatment
    manifest = run_stage("corpus", inputs, config, out, body=body, resumes=True)
    if not all("cleaning" in each for each in manifest.counts.values()):
        log.warn(
            f"corpus: {out} was cleaned before there were profiles; remove it to have it cleaned as {cleaning.profile}"
        )
    return manifest


def _config(source: Source) -> dict[str, Any]:
    """The properties of a source that decide the output. A local path does not: what it holds does, as an input."""
    config = asdict(source)
    path = source.path if isinstance(source.path, str) else None
    return config | {"path": path, "format": identity_of(source.format)}


def _build(
    surveys: Sequence[Survey],
    work: Path,
    *,
    max_rejected: float | None,
    editions: Mapping[str, Edition | None],
    cleaning: Cleaning,
) -> dict[str, Any]:
    """Write all sources, each by its edition; their counts."""
    faults: list[UserError] = []
    counts: dict[str, dict[str, Any]] = {}
    for survey in surveys:
        try:
            name = survey.source.name
            counts[name] = _about(survey) | _build_source(survey, work, editions[name], cleaning)
        except _Unreadable as error:
            faults += error.faults
    if faults:
        raise together(faults)
    rejected = {survey.source.name: _rejected(survey, work) for survey in surveys}
    _check_rejected([survey.source for survey in surveys], rejected, counts, max_rejected)
    _check_kept(surveys, counts, editions)
    every = [document for documents in rejected.values() for document in documents]
    if every:
        log.warn(f"corpus: left out {counted(len(every), 'document')}: {REJECTED} says which and why")
        if not (work / REJECTED).exists():  # an interrupted run may have removed some of the parts
            write_rejected(work / REJECTED, every)
    return counts


def _remove_leftovers(surveys: Sequence[Survey], work: Path, counts: dict[str, dict[str, Any]]) -> None:
    """Remove what only an interrupted run needs, and the files of sources of which no document is kept."""
    for survey in surveys:
        if not counts[survey.source.name]["kept"]:
            remove(_documents(survey, work))
    remove(work / PARTS)
    remove(work / WAITING)


def _check_rejected(
    sources: Sequence[Source],
    rejected: dict[str, list[Rejected]],
    counts: dict[str, dict[str, Any]],
    max_rejected: float | None,
) -> None:
    """Check that no more documents are spoilt than may be.

    Raises:
        UserError: there are more; names all sources where that is so.
    """
    faults: list[UserError] = []
    for alike, share in shares(sources, max_rejected):
        documents = [document for source in alike for document in rejected[source.name]]
        try:
            check_rejected(documents, sum(counts[source.name]["read"] for source in alike), share)
        except UserError as error:
            faults.append(error)
    if faults:
        raise together(faults)


def _check_kept(
    surveys: Sequence[Survey], counts: dict[str, dict[str, Any]], editions: Mapping[str, Edition | None]
) -> None:
    """Check that each source has documents, and that the edition has.

    Raises:
        UserError: it has none.
    """
    # An interrupted run may have dropped a source's duplicates: it had documents before.
    filled = {name: each["kept"] or "duplicates" in each for name, each in counts.items()}
    without = [each.source for each in surveys if not filled[each.source.name]]
    empty = [
        UserError("no document has text", where=printable(source.path))
        for source in without
        if not counts[source.name]["left_out_of_edition"]
    ]
    if empty:
        raise together(empty)
    for source in without:
        log.info(f"corpus: the edition {editions[source.name]} has no document of {source.name}")
    chosen_from = {name: edition for name, edition in editions.items() if edition}
    if chosen_from and len(without) == len(chosen_from):
        reasons = [f"{name}: {_reasons(counts[name])}" for name in chosen_from]
        edition = next(iter(chosen_from.values()))
        fix = "--licence and --commercial say it for files whose records do not; --edition research takes all"
        raise UserError(f"no document is of the edition {edition}", where="\n    ".join(["", *reasons]), fix=fix)


def _reasons(counts: dict[str, Any]) -> str:
    """A source's documents that the edition leaves out, as words."""
    left_out = counts["left_out_of_edition"]
    return "; ".join(f"{counted(each['documents'], 'document')}, {reason}" for reason, each in sorted(left_out.items()))


def _documents(survey: Survey, work: Path) -> Path:
    return work / FOLDER / f"{survey.source.name}.parquet"


class _Unreadable(Exception):
    """Files of a source that cannot be read."""

    def __init__(self, faults: list[UserError]) -> None:
        super().__init__()
        self.faults = faults


def _about(survey: Survey) -> dict[str, Any]:
    path = survey.source.path
    where = f"hub:{path}" if isinstance(path, str) else printable(path)
    return {"path": where, "files": survey.formats(), "unread": survey.unread_by_reason()}


def _build_source(survey: Survey, work: Path, edition: Edition | None, cleaning: Cleaning) -> dict[str, Any]:
    """Write one source unless an earlier run did; its counts."""
    name = survey.source.name
    path = _documents(survey, work)
    if not path.exists():
        log.info(f"corpus: {name} ({', '.join(f'{count:,} {kind}' for kind, count in survey.formats().items())})")
        counts = {"read": 0, "rejected": 0, "kept": 0, "characters": 0, "words": 0, "changes": Counter()}
        counts["left_out_of_edition"] = {}
        # Closed, so that no document waits in an open file where writing fails.
        with closing(_rows(survey, work, counts, edition=edition, cleaning=cleaning)) as rows:
            write_documents(path, _screened(rows, counts), counts)
        for sentence in cleaning_sentences(counts["changes"], CleaningCounts(**counts["cleaning"])):
            log.info(f"corpus: {name}: {sentence}")
        if counts["left_out_of_edition"]:
            log.info(f"corpus: {name}: left out of the edition {edition}: {_reasons(counts)}")
    return read_counts(path)


def _rejected(survey: Survey, work: Path) -> list[Rejected]:
    path = work / PARTS / f"{survey.source.name}.parquet"
    return read_rejected(path) if path.is_file() else []


def _screened(rows: Iterator[Row], counts: dict[str, Any]) -> Iterator[Row]:
    """The same rows; fills the count `screened` on the way, and says at the end what was found."""
    screening = Screening(thorough=True)
    for group in grouped(rows, lambda row: len(str(row["text"])), SCREENED):
        files = [LINE.sub("", str(row["doc_id"])) for row in group]
        screening.look_at([str(row["text"]) for row in group], files)
        yield from group
    counts["screened"] = screening.counts
    for sentence in sentences(screening.counts):
        log.info(f"corpus: {sentence}")


def _rows(
    survey: Survey, work: Path, counts: dict[str, Any], *, edition: Edition | None, cleaning: Cleaning
) -> Generator[Row]:
    """The rows of the documents kept; fills `counts` on the way, and writes down what is rejected at the end."""
    faults: list[UserError] = []
    rejected: list[Rejected] = []
    cleaned = CleaningCounts.of(cleaning.profile)
    waiting = work / WAITING / survey.source.name
    for item in clean_source(read_source(survey, faults), cleaning.profile, waiting, cleaned):
        counts["read"] += 1
        if isinstance(item, Rejected):
            rejected.append(item)
            continue
        if cleaning.masked:
            item = replace(item, text=mask(item.text, cleaning.masked, item.changes))
        counts["changes"].update(item.changes)
        if not item.text:
            continue
        row = _row(item, survey.source, edition, cleaning.profile)
        if reason := reason_to_leave_out(edition, row, survey.source.definition):
            left_out = counts["left_out_of_edition"].setdefault(reason, Counter(documents=0, words=0))
            left_out.update(documents=1, words=row["words"])
        else:
            counts["kept"] += 1
            counts["characters"] += len(row["text"])
            counts["words"] += row["words"]
            yield row
    if faults:
        raise _Unreadable(faults)
    counts["cleaning"] = vars(cleaned)
    counts["rejected"] = len(rejected)
    counts["left_out"] = dict(survey.left_out)
    if rejected:
        write_rejected(work / PARTS / f"{survey.source.name}.parquet", rejected)


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
    """Sentence on what was done to a document, after what is known to have been done before, and by which version."""
    taken = f"text taken from the published files ({source.definition.text})" if source.definition else ""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(changed.items()))
    done = "; ".join(filter(None, [taken, kinds and f"cleaned ({profile}): {kinds}"]))
    return "; ".join(filter(None, [before, done and f"pdapt {_version()}: {done}"]))


@cache
def _version() -> str:
    """This version of pdapt; asking for it parses the package's metadata, as long as cleaning a document takes."""
    return metadata.version("pdapt")
