"""Shingles, words and numbers of texts that are compared, in files of a temporary folder, and the comparison itself."""

from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .quantities import disagree, quantities
from .replaced_words import name_others
from .shingles import Offsets, distinct, mixed, shingles_of, words_of

BLOCK = 1_000_000
"""Shingles that are compared at once."""


class _Arrays:
    """Arrays of many texts in one file, read where they are needed.

    Attributes:
        lengths: of the arrays, [texts].
    """

    def __init__(self, path: Path, kind: type, texts: int) -> None:
        self._path, self._kind = path, np.dtype(kind)
        self._begins = np.zeros(texts, np.int64)
        self.lengths = np.zeros(texts, np.int64)
        self._end = 0
        path.touch()

    def append(self, texts: Offsets, values: np.ndarray, offsets: Offsets) -> None:
        """Add the arrays of some texts: their values one after the other, and where each begins, [texts + 1]."""
        self._begins[texts] = self._end + offsets[:-1]
        self.lengths[texts] = np.diff(offsets)
        self._end += len(values)
        with self._path.open("ab") as file:
            file.write(values.astype(self._kind).data)

    def read(self) -> None:
        """Take what was written for what is read from now on."""
        self._all = np.asarray(np.memmap(self._path, self._kind, "r")) if self._end else np.empty(0, self._kind)

    def __getitem__(self, text: int) -> np.ndarray:
        """The array of a text."""
        begin = self._begins[text]
        return self._all[begin : begin + self.lengths[text]]


class Contents:
    """Shingles, words and numbers of some texts.

    Args:
        folder: gets three files, of about 10 bytes a word.
        texts: number of all texts.

    Attributes:
        number_hashes: a number that texts share which give the same numbers in the same places, [texts].
    """

    def __init__(self, folder: Path, texts: int) -> None:
        self._shingles = _Arrays(folder / "shingles", np.uint32, texts)
        self._numbers = _Arrays(folder / "numbers", np.uint64, texts)
        self._words = _Arrays(folder / "words", np.uint32, texts)
        self.number_hashes = np.zeros(texts, np.uint64)
        self._lock = Lock()

    def add(self, numbers: Offsets, text: pa.StringArray) -> None:
        """Add texts, [texts], by their numbers."""
        words = words_of(text)
        shingles = distinct(*shingles_of(words))
        values, offsets = quantities(words)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed(values))])
        self.number_hashes[numbers] = np.diff(sums[offsets])
        with self._lock:
            self._shingles.append(numbers, *shingles)
            self._numbers.append(numbers, values, offsets)
            self._words.append(numbers, words.hashes, words.offsets)

    def complete(self) -> None:
        """End the writing: nothing is added from now on."""
        self._shingles.read()
        self._numbers.read()
        self._words.read()

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
