"""The stage that draws documents for evaluation from a corpus: none of them is in the corpus that is trained on."""

import json
import re
from collections.abc import Iterator
from heapq import nsmallest
from pathlib import Path
from typing import Any

from ..core import log
from ..core.errors import UserError
from ..core.files import atomic_path
from ..core.log import counted
from ..core.manifest import Manifest, run_stage
from .documents.store import document_files, read_documents
from .tokens.selection.split import text_hasher
from .tokens.shard_tokens import HELDOUT

COLUMNS = ("text", "doc_id", "source", "document_type")
BLANKS = re.compile(" +")


def build_unseen(corpus: Path, known: Path, out: Path, *, documents: int, seed: int = 0) -> Manifest:
    """Draw documents of one corpus that another does not hold.

    Writes `heldout/<source>.jsonl`, as the tokens stage does. Those with the lowest hashes are drawn, each text once:
    which they are depends on nothing but the texts.

    Args:
        corpus: the corpus stage's folder that they are taken from.
        known: the corpus that is trained on, which has held-out documents of its own.
        out: the folder to make.
        documents: the largest number of documents.
        seed: of the draw.

    Raises:
        UserError: every document is in both.
    """

    def body(work: Path) -> dict[str, Any]:
        counts = {"read": 0, "repeated": 0, "known": 0}
        hashes = {number for number, _ in _hashed(known, seed)}
        rows = _unseen(_hashed(corpus, seed), hashes, counts)
        chosen = [row for _, row in nsmallest(documents, rows, key=lambda ranked: ranked[0])]
        if not chosen:
            fix = "give other text"
            raise UserError("every document also occurs in the text that is trained on", where=str(corpus), fix=fix)
        _write(chosen, work / HELDOUT)
        read = counted(counts["read"], "document")
        log.info(f"unseen: chose {len(chosen):,} of {read}; {counts['known']:,} are also in the domain's text")
        return counts | {"kept": len(chosen)}

    config = {"documents": documents, "seed": seed}
    return run_stage("unseen", {"corpus": corpus, "known": known}, config, out, body=body)


def _hashed(corpus: Path, seed: int) -> Iterator[tuple[int, dict[str, str]]]:
    """Hash and row of each document; as in the split, runs of blanks do not make another text."""
    rank = text_hasher(seed)
    for path in document_files(corpus).values():
        for values in read_documents(path, COLUMNS):
            yield rank(BLANKS.sub(" ", values[0]).encode()), dict(zip(COLUMNS, values, strict=True))


def _unseen(
    rows: Iterator[tuple[int, dict[str, str]]], known: set[int], counts: dict[str, int]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Those whose text is not known, each once."""
    seen: set[int] = set()
    for number, row in rows:
        counts["read"] += 1
        counts["known"] += number in known
        counts["repeated"] += number in seen
        if number not in known and number not in seen:
            yield number, row
        seen.add(number)


def _write(rows: list[dict[str, str]], folder: Path) -> None:
    for source in sorted({row["source"] for row in rows}):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["source"] == source)
        with atomic_path(folder / f"{source}.jsonl") as partial:
            partial.write_text("".join(lines), encoding="utf-8")
