"""A corpus of the paper's shape: sources and lengths of its Table 1, and French text that gives every step work.

Sentences are those of the embedded sample's medical part, with newly drawn numbers, so that two documents share
sentences but not their text. Some of the documents that are long enough have lines that repeat across their source,
words cut at line ends, tags and addresses, and some are copies of an earlier document of the source.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...core.files import atomic_path, read_jsonl
from ...data_prep.sample import write_sample
from ...data_prep.tokens.parcomed import drawn_around, table
from .dedup import COPIES

COPIED = 0.05
"""Share of a source's documents that are copies of an earlier one, equal or of one of the kinds of `dedup.COPIES`."""
TESTED = 0.01
"""Share of the documents that belong to a test part."""
LEAST_COPIED = 60
"""Fewest words of a document of which a changed copy is made."""
LAID_OUT = 200
"""Fewest words of a document with the source's lines, cut words and markup."""
LINE_WORDS = 12
NUMBER = re.compile(r"\d+")
UNSAFE = re.compile(r"\W+")


@dataclass(frozen=True)
class Made:
    """A corpus that was made.

    Attributes:
        documents, words: documents and words of all sources.
        sources: number of sources.
    """

    documents: int
    words: int
    sources: int


def write_corpus(folder: Path, words: int, seed: int) -> Made:
    """Write `folder/<source>.jsonl` for each source of Table 1; the same call writes the same bytes.

    Args:
        folder: the folder to make.
        words: approximate words of all sources together; each source has its share in the paper, and at least one
            document.
        seed: seed of all draws.
    """
    sources = table()["sources"]
    scale = words / sum(source["words"] for source in sources)
    sentences, documents, written = _sentences(), 0, 0
    for source in sources:
        count = max(1, round(source["documents"] * scale))
        lengths = drawn_around(source["words"] / source["documents"], count, seed)
        draw = random.Random(f"{seed} {source['source']}")  # noqa: S311 - not for secrets; seeds by its SHA-512
        name = UNSAFE.sub("_", source["source"])
        with atomic_path(folder / f"{name}.jsonl") as partial, partial.open("w", encoding="utf-8") as file:
            for text in _texts(lengths.tolist(), sentences, name, draw):
                split = "test" if draw.random() < TESTED else "train"
                row = {"text": text, "document_type": source["document_type"], "commercial": source["commercial"]}
                file.write(json.dumps(row | {"original_split": split}, ensure_ascii=False) + "\n")
                documents, written = documents + 1, written + len(text.split())
    return Made(documents, written, len(sources))


def _sentences() -> list[list[str]]:
    """The sentences of the embedded sample's medical part, word by word."""
    with TemporaryDirectory() as folder:
        write_sample(Path(folder))
        files = sorted((Path(folder) / "medical").glob("*.jsonl"))
        texts = [row.text("text") for file in files for row in read_jsonl(file)]
    every = dict.fromkeys(part for text in texts for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip())
    return [sentence.split() for sentence in every]


def _texts(lengths: list[int], sentences: list[list[str]], name: str, draw: random.Random) -> Iterator[str]:
    """The documents of a source."""
    earlier: list[str] = []
    for length in lengths:
        if earlier and draw.random() < COPIED:
            yield _copied(draw.choice(earlier), draw)
            continue
        words = _words(length, sentences, draw)
        text = _laid_out(words, name, draw) if length >= LAID_OUT else " ".join(words)
        if len(earlier) < 1000:
            earlier.append(text)
        yield text


def _words(length: int, sentences: list[list[str]], draw: random.Random) -> list[str]:
    """Take `length` words from sentences, with newly drawn numbers."""
    words: list[str] = []
    while len(words) < length:
        words += (NUMBER.sub(lambda _: str(draw.randrange(1, 1000)), word) for word in draw.choice(sentences))
    return words[:length]


def _laid_out(words: list[str], name: str, draw: random.Random) -> str:
    """Lay words out in lines, some cut or marked up, between lines that all documents of the source have."""
    lines = [f"Source {name} : document de synthèse"]
    for begin in range(0, len(words), LINE_WORDS):
        line, kind = " ".join(words[begin : begin + LINE_WORDS]), draw.random()
        if kind < 0.02:
            line = f"<p>{line}</p>"
        elif kind < 0.03:
            line += f" https://exemple.fr/{draw.randrange(10**6)}"
        elif kind < 0.10 and len(words[begin]) > 7 and words[begin].isalpha():
            line = f"{words[begin][:4]}-\n{line[4:]}"
        lines.append(line)
    return "\n".join([*lines, f"© {name}, tous droits réservés"])


def _copied(text: str, draw: random.Random) -> str:
    """Copy a text unchanged, or as one of the kinds of copies."""
    kinds = ["", *COPIES] if len(text.split(" ")) >= LEAST_COPIED and NUMBER.search(text) else [""]
    kind = draw.choice(kinds)
    return COPIES[kind](text, draw) if kind else text
