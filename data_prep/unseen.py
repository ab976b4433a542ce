"""The stage that takes documents for evaluation alone out of a corpus: none of them is in the training text."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from heapq import nsmallest
from pathlib import Path
from typing import Any

from ..core import log
from ..core.errors import UserError
from ..core.files import atomic_path
from ..core.manifest import Manifest, run_stage
from .documents import document_files, read_documents
from .shard_tokens import HELDOUT
from .split import text_hasher
from .tokens import Options, training_texts

COLUMNS = ("text", "doc_id", "source", "document_type")


def build_unseen(corpus: Path, trained: Path, out: Path, options: Options, *, documents: int) -> Manifest:
    """Draw documents of one corpus that training on another does not hold.

    Writes `heldout/<source>.jsonl`, as the tokens stage does. Those with the lowest hashes are drawn, each text once;
    so which they are depends on nothing but the texts.

    Args:
        corpus: the corpus stage's folder that they are taken from.
        trained: the one that is trained on, where `build_tokens` with the same options divides it.
        out: the folder to make.
        options: of that `build_tokens`.
        documents: at most so many.

    Raises:
        UserError: training holds every document.
    """
    config = asdict(options) | {"documents": documents}

    def body(work: Path) -> dict[str, Any]:
        counts = {"read": 0, "repeated": 0, "in_training": 0}
        rank = text_hasher(options.seed)
        known = {rank(text.encode()) for text in training_texts([str(trained)], options)}
        rows = _unseen(corpus, known, rank, counts)
        chosen = [row for _, row in nsmallest(documents, rows, key=lambda ranked: ranked[0])]
        if not chosen:
            raise UserError("every document is in the training text, too", where=str(corpus), mend="give other text")
        _write(chosen, work / HELDOUT)
        log.info(f"unseen: {len(chosen):,} of {counts['read']:,} documents, {counts['in_training']:,} are in training")
        return counts | {"kept": len(chosen)}

    return run_stage("unseen", {"corpus": corpus, "trained": trained}, config, out, body)


def _unseen(corpus: Path, known: set[int], rank: Any, counts: dict[str, int]) -> Iterator[tuple[int, dict[str, str]]]:
    """Hash and row of each document that is not known, each text once."""
    seen: set[int] = set()
    for path in document_files(corpus).values():
        for values in read_documents(path, COLUMNS):
            number = rank(values[0].encode())
            counts["read"] += 1
            counts["in_training"] += number in known
            counts["repeated"] += number in seen
            if number not in known and number not in seen:
                yield number, dict(zip(COLUMNS, values, strict=True))
            seen.add(number)


def _write(rows: list[dict[str, str]], folder: Path) -> None:
    for source in sorted({row["source"] for row in rows}):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["source"] == source)
        with atomic_path(folder / f"{source}.jsonl") as partial:
            partial.write_text("".join(lines), encoding="utf-8")
