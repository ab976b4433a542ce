"""Shingles, words and numbers of texts that are compared, in files of a folder, and the comparison itself."""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .quantities import disagree, quantities
from .replaced_words import name_others
from .shingles import Offsets, distinct, mixed, shingles_of, words_of

BLOCK = 1_000_000
"""Shingles that are compared at once."""


KINDS = {"shingles": np.uint32, "numbers": np.uint64, "words": np.uint32}
"""Arrays that are kept of a text that is compared, and their types."""

FACTS = "facts"
"""File of the lengths of these arrays, [kinds, texts], and of a hash of the numbers, as the last row."""


class PartContents:
    """Shingles, words and numbers of the texts of a part, which are written to files of a folder.

    Args:
        stem: of the files, of about 10 bytes a word; of an earlier writer they are replaced.
        texts: number of the part's texts.
    """

    def __init__(self, stem: Path, texts: int) -> None:
        self._stem = stem
        self._lengths = np.zeros((len(KINDS), texts), np.int64)
        self._number_hashes = np.zeros(texts, np.uint64)
        for kind in KINDS:
            _file(stem, kind).write_bytes(b"")

    def add(self, places: Offsets, text: pa.StringArray) -> None:
        """Add texts, [texts], by their places in the part, which are higher than those added before."""
        words = words_of(text)
        values, offsets = quantities(words)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed(values))])
        self._number_hashes[places] = np.diff(sums[offsets])
        arrays = (distinct(*shingles_of(words)), (values, offsets), (words.hashes, words.offsets))
        for lengths, (kind, dtype), (each, begins) in zip(self._lengths, KINDS.items(), arrays, strict=True):
            lengths[places] = np.diff(begins)
            with _file(self._stem, kind).open("ab") as file:
                file.write(each.astype(dtype).data)

    def complete(self) -> None:
        """End the writing: nothing is added from now on."""
        np.save(_file(self._stem, FACTS), np.vstack([self._lengths.view(np.uint64), self._number_hashes]))


def _file(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}.{kind}.npy")


class _Arrays:
    """Arrays of many texts, read where they are needed.

    Args:
        files: one of each part.
        kind: type of what they hold.
        lengths: of the arrays of each part, [texts of the part] each.
    """

    def __init__(self, files: Sequence[Path], kind: type, lengths: Sequence[Offsets]) -> None:
        self._files = [np.memmap(file, kind, "r") if file.stat().st_size else np.empty(0, kind) for file in files]
        self._begins = np.concatenate([np.empty(0, np.int64), *(np.cumsum(each) - each for each in lengths)])
        self._ends = np.cumsum([len(each) for each in lengths]).tolist()
        self.lengths = np.concatenate([np.empty(0, np.int64), *lengths])

    def __getitem__(self, text: int) -> np.ndarray:
        """The array of a text."""
        begin = self._begins[text]
        return self._files[bisect_right(self._ends, text)][begin : begin + self.lengths[text]]


class Contents:
    """Shingles, words and numbers of some texts.

    Args:
        stems: of the files of `PartContents` of all parts, in order.

    Attributes:
        number_hashes: a number that texts share which give the same numbers in the same places, [texts].
    """

    def __init__(self, stems: Sequence[Path]) -> None:
        facts = [np.load(_file(stem, FACTS)) for stem in stems]
        self._shingles, self._numbers, self._words = (
            _Arrays([_file(stem, kind) for stem in stems], dtype, [each[number].astype(np.int64) for each in facts])
            for number, (kind, dtype) in enumerate(KINDS.items())
        )
        self.number_hashes = np.concatenate([np.empty(0, np.uint64), *(each[-1] for each in facts)])

    def similarities(self, pairs: Offsets) -> npt.NDArray[np.float64]:
        """Shingles that the two texts of each pair share, as a share of those that one of them has; [pairs, 2]."""
        return np.concatenate([np.empty(0), *(self._similarities(part) for part in self._blocks(pairs))])

    def _blocks(self, pairs: Offsets) -> list[Offsets]:
        """Pairs in parts of about BLOCK shingles."""
        ends = np.cumsum(self._shingles.lengths[pairs].sum(axis=1))
        return np.split(pairs, np.flatnonzero(np.diff(ends // BLOCK)) + 1) if len(pairs) else []

    def _similarities(self, pairs: Offsets) -> npt.NDArray[np.float64]:
        sizes = self._shingles.lengths[pairs].sum(axis=1)
        shingles = np.concatenate([self._shingles[text] for text in pairs.ravel().tolist()]).astype(np.uint64)
        shingles |= np.repeat(np.arange(len(pairs), dtype=np.uint64) << np.uint64(32), sizes)
        shingles.sort()
        twice = shingles[1:][shingles[1:] == shingles[:-1]] >> np.uint64(32)
        common = np.bincount(twice.astype(np.int64), minlength=len(pairs))
        return common / (sizes - common)

    def say_the_same(self, first: int, second: int) -> bool:
        """Whether two texts give the same numbers and name the same; see `disagree` and `name_others`."""
        numbers, words = self._numbers, self._words
        return not disagree(numbers[first], numbers[second]) and not name_others(words[first], words[second])

    def same_words(self, first: int, second: int) -> bool:
        """Whether two texts have the same words in the same order."""
        return np.array_equal(self._words[first], self._words[second])
