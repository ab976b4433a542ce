"""The stage that makes a corpus: it reads sources, and writes cleaned documents with their provenance."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import log
from ..core.errors import UserError
from ..core.files import remove
from ..core.log import counted
from ..core.manifest import Manifest, run_stage
from ..core.slurm import SlurmOptions
from .clean.profiles import DEFAULT, profile_of
from .clean.source_cleaning import CleaningCounts, clean_source, cleaning_sentences
from .dedup.corpus_duplicates import Treatment, treat_duplicates, treatment_of
from .documents.discover import discover
from .documents.faults import check_rejected, check_share, printable, together
from .documents.reading import find_documents, read_source
from .documents.record import Rejected
from .documents.registered import shares
from .documents.sources import Source
from .documents.store import FOLDER, REJECTED, read_counts, read_rejected, write_documents, write_rejected
from .documents.survey import Survey, fingerprint, tell_left_out
from .licences.editions import Edition, edition_of
from .passes.rows import Cleaning, Rows, UnreadableError
from .passes.run_passes import run_passes
from .passes.source_parts import Part, join_parts, parts_of_source
from .screening.masking import kinds_to_mask
from .screening.screen import sentences
from .sources.registry import identity_of
from .tasks.at_work import TASKS, remove_tasks, tasks_at_work
from .tasks.task_options import tasks_of

if TYPE_CHECKING:
    from .tasks.executor import TaskRunner

UNNAMED = "clinical 1"
"""Profile that the configuration does not name, so that a corpus made before profiles counts as done."""
WAITING = ".waiting"
"""Folder of the documents that wait between two passes over their source."""
PARTS = ".rejected"
"""Folder of each source's rejected documents while the stage is at work."""

__all__ = ["Source", "build_corpus", "discover"]


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
    tasks: int = 1,
    workers: int | None = None,
    slurm: SlurmOptions | None = None,
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
        max_rejected: share of the documents that may be damaged (malformed, or without text): they are left out and
            listed in `rejected.parquet`. None: none of the user's own files, one in 1,000 of each registered source.
        edition: which documents are written, a name of `Edition`; None for all.
        whole: names of sources of which all documents are written, whatever the edition.
        profile: how documents are cleaned, a name of `PROFILES`.
        duplicates: what is done with documents that are alike, of one source or of several, a name of `Treatment`.
        masked: kinds of personal data that are masked after cleaning, of `KINDS`, or `all`.
        tasks: parts that each source is divided into, at most, by files, lines and row groups: each pass over a part
            is a task of datatrove's. What is written does not depend on it. 1: a source is read in one piece, in this
            process.
        workers: processes that run tasks; None for one for each core, or for as many as Slurm runs.
        slurm: options of Slurm's jobs, which run the tasks; None to run them on this machine.

    Raises:
        UserError: files cannot be read (all of them are named), documents are damaged, a source has no document, no
            document is of the edition, or there are workers without tasks.
    """
    chosen, treatment = edition_of(edition), treatment_of(duplicates)
    cleaning = Cleaning(profile_of(profile), kinds_to_mask(masked))
    editions = {source.name: None if source.name in whole else chosen for source in sources}
    if not sources:
        raise UserError("no source is given", where="PATH", allowed="[NAME=]PATH, hub:OWNER/NAME")
    divided = tasks_of(tasks, workers, slurm)
    check_share(max_rejected)
    surveys = find_documents(sources, out)

    def body(work: Path) -> dict[str, Any]:
        with tasks_at_work("corpus", work / TASKS, divided) as runner:
            if runner:
                _build_by_tasks(surveys, work, runner, editions=editions, cleaning=cleaning)
            counts = _build(surveys, work, max_rejected=max_rejected, editions=editions, cleaning=cleaning)
            treat_duplicates(surveys, work, counts, treatment, runner=runner)
        _remove_leftovers(surveys, work, counts)
        return counts

    inputs = {survey.source.name: fingerprint(survey) for survey in surveys if survey.files}
    config = {
        "sources": [_config(survey.source) for survey in surveys],
        "max_rejected": max_rejected,
    }
    if chosen:  # a corpus of all documents is the same as before there were editions
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
            f"corpus: {out} was cleaned by a version without profiles; remove it to clean it with {cleaning.profile}"
        )
    return manifest


def _build_by_tasks(
    surveys: Sequence[Survey],
    work: Path,
    runner: "TaskRunner",
    *,
    editions: Mapping[str, Edition | None],
    cleaning: Cleaning,
) -> None:
    """Write the sources that no earlier run has written, each pass over a part as a task, and the join of a source."""
    new = [survey for survey in surveys if not _documents(survey, work).exists()]
    if not new:
        return
    folder, most = runner.folder / "sources", runner.tasks.most
    parts = [
        parts_of_source(survey, folder / name, edition=editions[name], cleaning=cleaning, most=most)
        for name, survey in ((survey.source.name, survey) for survey in surveys)
    ]
    run_passes(parts, runner)
    runner.run("join", partial(_join, work), parts)
    for survey in new:
        name, counts = survey.source.name, read_counts(_documents(survey, work))
        log.info(f"corpus: {_described(survey)}")
        survey.left_out.update(counts["left_out"])
        tell_left_out(name, survey.left_out)
        _tell(name, counts, editions[name])


def _join(work: Path, parts: Sequence[Part]) -> None:
    """Join a source's parts, unless an earlier run did."""
    documents = _documents(parts[0].survey, work)
    if not documents.exists():
        join_parts(parts, documents, _rejected_file(parts[0].survey, work))


def _config(source: Source) -> dict[str, Any]:
    """The properties of a source that decide the output. A local path is not one: its content is, as an input."""
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
    """Write all sources that are not written yet, each by its edition; the counts of all."""
    faults: list[UserError] = []
    counts: dict[str, dict[str, Any]] = {}
    for survey in surveys:
        try:
            name = survey.source.name
            counts[name] = _about(survey) | _build_source(survey, work, edition=editions[name], cleaning=cleaning)
        except UnreadableError as error:
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
    remove_tasks(work)  # first: as long as all documents are there, no part is looked for
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
    """Check that no more documents are unreadable than allowed.

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


def _about(survey: Survey) -> dict[str, Any]:
    path = survey.source.path
    where = f"hub:{path}" if isinstance(path, str) else printable(path)
    return {"path": where, "files": survey.formats(), "unread": survey.unread_by_reason()}


def _build_source(survey: Survey, work: Path, *, edition: Edition | None, cleaning: Cleaning) -> dict[str, Any]:
    """Write one source unless an earlier run, or tasks, did; its counts."""
    path = _documents(survey, work)
    if not path.exists():
        log.info(f"corpus: {_described(survey)}")
        _write_source(survey, work, Rows.of(survey, edition, cleaning, _rejected_file(survey, work)))
        _tell(survey.source.name, read_counts(path), edition)
    return read_counts(path)


def _described(survey: Survey) -> str:
    return f"{survey.source.name} ({', '.join(f'{count:,} {kind}' for kind, count in survey.formats().items())})"


def _write_source(survey: Survey, work: Path, rows: Rows) -> None:
    """Write one source in one piece."""
    faults: list[UserError] = []
    cleaned = CleaningCounts.of(rows.cleaning.profile)
    waiting = work / WAITING / survey.source.name
    items = clean_source(read_source(survey, faults), rows.cleaning.profile, waiting, cleaned)
    # Closed, so that no document waits in an open file where writing fails.
    with closing(rows.screened(items, cleaned, faults)) as drained:
        write_documents(_documents(survey, work), drained, rows.counts)


def _tell(name: str, counts: dict[str, Any], edition: Edition | None) -> None:
    """Report what screening found in a source, what cleaning changed, and what the edition leaves out."""
    cleaning = counts["cleaning"]
    cleaned = CleaningCounts(**cleaning | {"changed_values": Counter(cleaning["changed_values"])})
    for sentence in sentences(counts["screened"]):
        log.info(f"corpus: {sentence}")
    for sentence in cleaning_sentences(Counter(counts["changes"]), cleaned):
        log.info(f"corpus: {name}: {sentence}")
    if counts["left_out_of_edition"]:
        log.info(f"corpus: {name}: left out of the edition {edition}: {_reasons(counts)}")


def _rejected(survey: Survey, work: Path) -> list[Rejected]:
    path = _rejected_file(survey, work)
    return read_rejected(path) if path.is_file() else []


def _rejected_file(survey: Survey, work: Path) -> Path:
    return work / PARTS / f"{survey.source.name}.parquet"
