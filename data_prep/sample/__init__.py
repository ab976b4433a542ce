"""The embedded sample corpus: fiction in French, general and medical, generated offline and always the same.

It is large enough for a small model to learn from, and its two parts differ in vocabulary and shape, so that training
on the medical part shows a gain there and a loss on the general part.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.files import write_text
from .grammar import read_rules, write_document
from .repeats import RepeatGuard

SEED = 20_240


@dataclass(frozen=True)
class Source:
    """One generated source: its part of the corpus, grammar, document type, and size in bytes of UTF-8 text."""

    part: str
    name: str
    document_type: str
    size: int


SOURCES = (
    Source("general", "recipes", "Instruction", 170_000),
    Source("general", "travel", "Narrative", 210_000),
    Source("general", "news", "News", 260_000),
    Source("general", "letters", "Administrative", 200_000),
    Source("general", "gardening", "Instruction", 180_000),
    Source("general", "stories", "Narrative", 380_000),
    Source("medical", "discharge", "Clinical", 350_000),
    Source("medical", "prescriptions", "Clinical", 110_000),
    Source("medical", "leaflets", "Regulation", 150_000),
    Source("medical", "laboratory", "Clinical", 130_000),
    Source("medical", "cases", "Scientific", 250_000),
    Source("medical", "questions", "Dialogue", 120_000),
    Source("medical", "guidelines", "Scientific", 130_000),
    Source("medical", "dictation", "Dialogue", 40_000),
)


def write_sample(folder: Path) -> None:
    """Write the corpus as `folder/<part>/<source>.jsonl`, one document a line; the bytes are the same every time."""
    guard = RepeatGuard()
    for source in SOURCES:
        lines = (json.dumps(_record(source, text), ensure_ascii=False) + "\n" for text in _texts(source, guard))
        write_text(folder / source.part / f"{source.name}.jsonl", "".join(lines))


def _texts(source: Source, guard: RepeatGuard) -> Iterator[str]:
    """Documents of a source until its size is reached; one that repeats too much of what came before is drawn again."""
    here = Path(__file__).parent
    shared = ("words", "medical_words") if source.part == "medical" else ("words",)
    rules = read_rules(*(here / f"{name}.txt" for name in (*shared, source.name)))
    rng = random.Random(f"{SEED} {source.name}")  # noqa: S311 - not for secrets; a string seeds by its SHA-512
    size = 0
    while size < source.size:
        text = write_document(rules, rng)
        if guard.admit(text):
            size += len(text.encode())
            yield text


def _record(source: Source, text: str) -> dict[str, str | bool]:
    return {
        "text": text,
        "document_type": source.document_type,
        "licence": "Apache-2.0",
        "commercial": True,
        "original_split": "train",
    }
