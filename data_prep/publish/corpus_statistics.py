"""Statistics of a corpus's documents: by source, type, licence and length, and texts that sources share."""

import re
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

LENGTHS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
"""Words from which on each bin of lengths begins."""
SIGNS = re.compile(r"[\W_]+")
Licence = tuple[str, bool | None]
"""A licence's SPDX identifier, or its name, empty where none is known; and whether it allows commercial use."""


@dataclass
class SourceStatistics:
    """Statistics of one source's documents.

    Attributes:
        documents: how many there are.
        words: between white space.
        characters: of the texts.
        types: document type -> documents and words.
        licences: licence -> documents and words.
        splits: the publisher's split -> documents; empty where none is stated.
        lengths: documents of each bin of LENGTHS.
        hashes: of each document's letters and digits.
    """

    documents: int = 0
    words: int = 0
    characters: int = 0
    types: dict[str, Counter[str]] = field(default_factory=dict)
    licences: dict[Licence, Counter[str]] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=lambda: [0] * len(LENGTHS))
    hashes: list[int] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Count a document: a row of a corpus."""
        text, words = row["text"], row["words"]
        amounts = {"documents": 1, "words": words}
        self.documents += 1
        self.words += words
        self.characters += len(text)
        self.types.setdefault(row["document_type"], Counter()).update(amounts)
        licence = (row["spdx"] or row["licence"], row["commercial"])
        self.licences.setdefault(licence, Counter()).update(amounts)
        self.splits[row["original_split"]] += 1
        self.lengths[int(np.searchsorted(LENGTHS, max(1, words), side="right")) - 1] += 1
        self.hashes.append(text_hash(text))


def text_hash(text: str) -> int:
    """A hash of a text's letters and digits, in 64 bits: the same whatever its case, punctuation and white space are.

    Numbers count: a leaflet of another dose is another text.
    """
    kept = SIGNS.sub("", text.casefold())
    return int.from_bytes(blake2b(kept.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def shared_texts(sources: dict[str, SourceStatistics]) -> npt.NDArray[np.int64]:
    """Number of documents of a row's source whose text the column's source also has, [sources, sources].

    On the diagonal stand the documents whose text an earlier document of the same source has.
    """
    every = [np.array(each.hashes, np.uint64) for each in sources.values()]
    distinct = [np.unique(hashes) for hashes in every]
    shared = np.zeros((len(every), len(every)), np.int64)
    for row, hashes in enumerate(every):
        for column, others in enumerate(distinct):
            shared[row, column] = len(hashes) - len(others) if row == column else np.isin(hashes, others).sum()
    return shared


def by_type(sources: dict[str, SourceStatistics]) -> dict[str, Counter[str]]:
    """Document type -> documents and words of all sources, those with most words first."""
    types: dict[str, Counter[str]] = {}
    for each in sources.values():
        for name, amounts in each.types.items():
            types.setdefault(name, Counter()).update(amounts)
    return dict(sorted(types.items(), key=lambda item: (-item[1]["words"], item[0])))
