"""Report on the licences of a corpus, and on what contradicts them, in documents and words."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ..documents.store import FOLDER, document_files, read_documents
from ..sources.registry import definitions

COLUMNS = ("source", "licence", "spdx", "commercial", "licence_conflict", "words")
Row = tuple[str, str, str, bool | None, str, int, int]
"""Source, licence, SPDX identifier, whether commercial use is allowed, conflict; documents and words."""


def report_licences(corpus: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The licences of a corpus and their conflicts, or those of the registered sources as the paper counts them.

    Args:
        corpus: a corpus stage's folder; None for the registry.

    Returns:
        `licences`: for each source and licence the documents and words; `conflicts`: the same of what contradicts them.

    Raises:
        UserError: the folder is no corpus.
    """
    rows = sorted(_rows_of(corpus) if corpus else _registered(), key=lambda row: [str(value) for value in row[:5]])
    conflicts: dict[tuple[str, str], Counter[str]] = {}
    for source, _, _, _, conflict, documents, words in rows:
        if conflict:
            conflicts.setdefault((source, conflict), Counter()).update(documents=documents, words=words)
    names = (*COLUMNS[:4], "conflict", "documents", "words")
    return {
        "licences": [dict(zip(names, row, strict=True)) for row in rows],
        "conflicts": [{"source": key[0], "conflict": key[1], **counts} for key, counts in conflicts.items()],
    }


def corpus_files(corpus: Path) -> dict[str, Path]:
    """Source -> documents file of a corpus.

    Raises:
        UserError: the folder is no corpus.
    """
    if not (corpus / FOLDER).is_dir():
        fix = f"make a corpus of it first: pdapt corpus build {corpus} --out CORPUS"
        raise UserError(f"no corpus: {corpus}", where="CORPUS", allowed="a folder of `pdapt corpus build`", fix=fix)
    return document_files(corpus)


def _rows_of(corpus: Path) -> Iterator[Row]:
    for path in corpus_files(corpus).values():
        documents: Counter[tuple[Any, ...]] = Counter()
        words: Counter[tuple[Any, ...]] = Counter()
        for row in read_documents(path, COLUMNS):
            documents[row[:5]] += 1
            words[row[:5]] += int(row[5])
        for (source, licence, spdx, commercial, conflict), count in documents.items():
            facts = (source, licence, spdx, commercial, conflict)
            yield (*facts, count, words[facts])


def _registered() -> Iterator[Row]:
    for source in definitions().values():
        stated = source.licence
        facts = (source.key, stated.name, stated.spdx, stated.commercial, stated.conflict)
        yield (*facts, source.documents or 0, source.words or 0)
