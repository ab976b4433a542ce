"""How much of a corpus is about each topic, and which topic each of its texts has."""

import hashlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from ...core import log
from ...core.errors import UserError
from ...core.log import counted
from ..documents.store import document_files, read_documents, row_groups
from .assignments import UNLISTED, Assignments, read_assignments, text_hashes, write_assignments
from .scorer import Scorer
from .term_list import NONE, TERMS, Topic, read_terms

COLUMNS = ("text", "words")
FEW = 4
"""Row groups, of some 16 MB each, that are scored sooner than processes start."""


@dataclass(frozen=True)
class Labelled:
    """A document's topic.

    Attributes:
        digest: SHA-256 of its text.
        topic: its topic, or NONE; UNLISTED where a file that gives the topics does not list it.
        words: how many it has.
        size: bytes of its text in UTF-8.
    """

    digest: bytes
    topic: str
    words: int
    size: int


@dataclass
class Share:
    """Documents of a source that have a topic, and their words."""

    topic: str
    source: str
    documents: int = 0
    words: int = 0


def topic_shares(
    folder: Path,
    *,
    terms: Path | None = None,
    labels: Path | None = None,
    out: Path | None = None,
    workers: int | None = None,
) -> list[Share]:
    """Count a corpus's documents by topic and source.

    Args:
        folder: of a corpus.
        terms: file of the topics' terms; by default the medical specialities.
        labels: file that gives texts their topics, in place of terms.
        out: file to write with each text's topic, which `labels` can be.
        workers: processes; by default one a core.

    Returns:
        By topic in the order of the terms, NONE and UNLISTED last, and by source.

    Raises:
        UserError: there is no corpus or it is damaged, a file is not as it should be, or lists none of the texts.
    """
    if labels is not None and (terms is not None or out is not None):
        fix = "--labels says each text's topic already"
        raise UserError("labels are given together with terms or a file to write", where="--labels", fix=fix)
    files = document_files(folder)
    shares: dict[tuple[str, str], Share] = {}
    if labels is not None:
        given = read_assignments(labels)
        names = sorted({*given.names} - {NONE, UNLISTED})
        deque(_counted(_look_up(files, given), shares), maxlen=0)
        if all(share.topic == UNLISTED for share in shares.values()):
            fix = "text_sha256 is the SHA-256 of a text's UTF-8, as the corpus's column of that name states it"
            raise UserError("the file lists none of the corpus's texts", where=str(labels), fix=fix)
    else:
        topics = read_terms(terms or TERMS)
        names = [topic.name for topic in topics]
        rows = _counted(_score(files, topics, workers), shares)
        if out is None:
            deque(rows, maxlen=0)
        else:
            write_assignments(out, ((each.digest, each.topic) for each in rows))
    order = {name: number for number, name in enumerate([*names, NONE, UNLISTED])}
    return sorted(shares.values(), key=lambda share: (order[share.topic], share.source))


def of_all(shares: Iterable[Share]) -> list[Share]:
    """The shares of all sources together, by topic; their source is empty."""
    sums: dict[str, Share] = {}
    for share in shares:
        total = sums.setdefault(share.topic, Share(share.topic, ""))
        total.documents += share.documents
        total.words += share.words
    return list(sums.values())


def _counted(labelled: Iterable[tuple[str, Labelled]], shares: dict[tuple[str, str], Share]) -> Iterator[Labelled]:
    """Pass documents on, and count them by topic and source; says how fast, when all have passed."""
    begin, size = time.monotonic(), 0
    for source, document in labelled:
        size += document.size
        share = shares.setdefault((document.topic, source), Share(document.topic, source))
        share.documents += 1
        share.words += document.words
        yield document
    log.info(f"topics: {size / 1e6:.1f} MB of text in {time.monotonic() - begin:.1f} s")


def _score(files: dict[str, Path], topics: tuple[Topic, ...], workers: int | None) -> Iterator[tuple[str, Labelled]]:
    """Each document with its source, by the terms in it."""
    groups = [(source, path, group) for source, path in files.items() for group in range(row_groups(path))]
    sources = [source for source, _, _ in groups]
    workers = min(workers or len(os.sched_getaffinity(0)), -(-len(groups) // FEW))
    score = partial(_score_group, topics)
    if workers <= 1:
        yield from _with_source(sources, map(score, groups))
        return
    log.info(f"topics: {counted(len(groups), 'row group')}, {counted(workers, 'process', 'processes')}")
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    with ProcessPoolExecutor(workers, context) as pool:
        yield from _with_source(sources, pool.map(score, groups))


def _with_source(sources: Iterable[str], groups: Iterable[list[Labelled]]) -> Iterator[tuple[str, Labelled]]:
    for source, documents in zip(sources, groups, strict=True):
        for document in documents:
            yield source, document


def _score_group(topics: tuple[Topic, ...], place: tuple[str, Path, int]) -> list[Labelled]:
    """The documents of a row group, given by its source, file and number."""
    _, path, group = place
    scorer = _scorer(topics)
    return [_labelled(text, scorer.topic(text), words) for text, words in read_documents(path, COLUMNS, group)]


def _labelled(text: str, topic: str, words: int) -> Labelled:
    whole = text.encode()
    return Labelled(hashlib.sha256(whole).digest(), topic, words, len(whole))


@lru_cache(1)
def _scorer(topics: tuple[Topic, ...]) -> Scorer:
    """A process's scorer: the words that it has seen serve the next row group."""
    return Scorer(topics)


def _look_up(files: dict[str, Path], given: Assignments) -> Iterator[tuple[str, Labelled]]:
    """Each document with its source, by what a file says of its text."""
    for source, path in files.items():
        for text, words in read_documents(path, COLUMNS):
            (number,) = given.of(text_hashes([text.encode()])).tolist()
            yield source, _labelled(text, given.names[number], words)
