"""Report on the licences of a corpus, and on what contradicts them, in documents and words."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ..documents.store import FOLDER, document_files, read_documents
from ..sources.registry import definitions

COLUMNS = ("source", "licence", "spdx", "commercial", "licence_conflict", "words")


@dataclass(frozen=True)
class Licensed:
    """Documents of a source under a licence.

    Attributes:
        source, licence, spdx: names; `spdx` is empty where the licence has no identifier there.
        commercial: whether commercial use is allowed; None where that is not known.
        conflict: what contradicts the licence; empty where nothing does.
        documents, words: how many.
    """

    source: str
    licence: str
    spdx: str
    commercial: bool | None
    conflict: str
    documents: int
    words: int


@dataclass(frozen=True)
class Conflict:
    """A contradiction to licences of a source, and the documents and words under them."""

    source: str
    conflict: str
    documents: int
    words: int


@dataclass(frozen=True)
class LicenceReport:
    """Licences by source, and the conflicts among them."""

    licences: list[Licensed]
    conflicts: list[Conflict]


def report_licences(corpus: Path | None = None) -> LicenceReport:
    """The licences of a corpus and their conflicts, or those of the registered sources as the paper counts them.

    Args:
        corpus: a corpus stage's folder; None for the registry.

    Raises:
        UserError: the folder is not a corpus.
    """
    licences = sorted(_of_corpus(corpus) if corpus else _registered(), key=_order)
    conflicts: dict[tuple[str, str], list[Licensed]] = {}
    for row in licences:
        if row.conflict:
            conflicts.setdefault((row.source, row.conflict), []).append(row)
    return LicenceReport(
        licences,
        [
            Conflict(*key, documents=sum(row.documents for row in rows), words=sum(row.words for row in rows))
            for key, rows in conflicts.items()
        ],
    )


def _order(row: Licensed) -> tuple[str, ...]:
    return row.source, row.licence, row.spdx, str(row.commercial), row.conflict


def corpus_files(corpus: Path) -> dict[str, Path]:
    """Source -> documents file of a corpus.

    Raises:
        UserError: the folder is not a corpus.
    """
    if not (corpus / FOLDER).is_dir():
        fix = f"make a corpus of it first: pdapt corpus build {corpus} --out CORPUS"
        raise UserError(f"no corpus: {corpus}", where="CORPUS", allowed="a folder of `pdapt corpus build`", fix=fix)
    return document_files(corpus)


def _of_corpus(corpus: Path) -> Iterator[Licensed]:
    for path in corpus_files(corpus).values():
        documents: Counter[tuple[Any, ...]] = Counter()
        words: Counter[tuple[Any, ...]] = Counter()
        for row in read_documents(path, COLUMNS):
            documents[row[:5]] += 1
            words[row[:5]] += int(row[5])
        for facts, count in documents.items():
            yield Licensed(*facts, documents=count, words=words[facts])


def _registered() -> Iterator[Licensed]:
    for source in definitions().values():
        stated = source.licence
        yield Licensed(
            source=source.key,
            licence=stated.name,
            spdx=stated.spdx,
            commercial=stated.commercial,
            conflict=stated.conflict,
            documents=source.documents or 0,
            words=source.words or 0,
        )
