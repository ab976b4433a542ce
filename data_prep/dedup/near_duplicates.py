"""Near-duplicates: texts that share most of their shingles, found by MinHash and then compared.

Two texts are compared if their signatures suggest it, and similar if they share at least SIMILARITY of their 5-word
shingles, counted and not estimated. They are near-duplicates if they also give the same numbers and names: two
leaflets that differ in a dose are two documents (see `quantities.disagree`), and so are two entries that differ in a
drug's name (see `replaced_words.name_others`).
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.lib.format import open_memmap

from .contents import Contents, PartContents
from .minhash import BANDS, HASHES, band_keys, candidates, sign
from .parts import Part, joined_parts
from .shingles import Hashes, Offsets, shingles_of, words_of

SIMILARITY = 0.8
"""Share of their shingles that similar texts have in common."""

MOST_COMPARISONS = 16
"""Tasks that compare, each of which needs the files of all parts."""
MOST_PARTS = 256
"""Parts that texts are divided into for threads, at most: each has some files."""


@dataclass(frozen=True)
class Similar:
    """Pairs of similar texts.

    Attributes:
        pairs: the texts' numbers, the lower first, [pairs, 2].
        similarity: share of their shingles that they have in common, [pairs].
        contents: of the texts that are in pairs, for further comparisons.
        tags: of all texts, see `minhash.candidates`.
        least: similarity of a pair.
    """

    pairs: Offsets
    similarity: npt.NDArray[np.float64]
    contents: Contents
    tags: npt.NDArray[np.uint8]
    least: float

    def clusters(self, texts: int) -> npt.NDArray[np.int32]:
        """A number for each text, which those share that pairs link, [texts]."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = (np.ones(len(self.pairs), bool), (self.pairs[:, 0], self.pairs[:, 1]))
        return connected_components(coo_array(links, shape=(texts, texts)), directed=False)[1]


class Search:
    """A search for similar texts, in steps that meet in files of a folder; a part is a task of most of them.

    It takes about 300 bytes of files a text, and 10 bytes a word of the texts that are compared. What it finds does not
    depend on how the texts are divided.

    Args:
        folder: for the files.
        parts: all texts.
        similarity: share of their shingles that two texts have in common at least.
    """

    def __init__(self, folder: Path, parts: Sequence[Part], similarity: float = SIMILARITY) -> None:
        self.folder, self.parts, self.similarity = folder, parts, similarity
        self.begins = np.cumsum([0, *(part.texts for part in parts)]).tolist()

    def run(self, chosen: Offsets, run: Callable[[str, Callable[[int], None], Sequence[int]], object]) -> None:
        """Run all steps.

        Args:
            chosen: numbers of the texts that are looked at, ascending: equal texts need to be compared once.
            run: runs a step, by its name, for each of some numbers, in any order or side by side.
        """
        np.save(self._path("chosen"), chosen)
        numbers = range(len(self.parts))
        run("sign", self.sign, numbers)
        run("pair", self.pair, range(1))
        run("shingle", self.shingle, numbers)
        run("compare", self.compare, range(self._comparisons))

    def sign(self, number: int) -> None:
        """Sign the texts of a part."""
        part, begin = self.parts[number], 0
        keys = open_memmap(self._path("keys", number), "w+", np.uint64, (BANDS, part.texts))
        tags = open_memmap(self._path("tags", number), "w+", np.uint8, (part.texts, HASHES))
        filled = np.zeros(part.texts, bool)
        for text in part.read():
            shingles, offsets = shingles_of(words_of(text))
            signatures, end = sign(shingles, offsets), begin + len(text)
            keys[:, begin:end] = band_keys(signatures)
            tags[begin:end] = signatures.astype(np.uint8)
            filled[begin:end] = np.diff(offsets) > 0
            begin = end
        np.save(self._path("filled", number), filled)

    def pair(self, _: int) -> None:
        """Pair the texts whose signatures suggest it, of all parts."""
        numbers = range(len(self.parts))
        tags = open_memmap(self._path("tags"), "w+", np.uint8, (self.begins[-1], HASHES))
        for number in numbers:
            tags[self.begins[number] : self.begins[number + 1]] = np.load(self._path("tags", number), "r")
        filled = np.concatenate([np.empty(0, bool), *(np.load(self._path("filled", number)) for number in numbers)])
        chosen = np.load(self._path("chosen"))
        keys = _Bands([np.load(self._path("keys", number), "r") for number in numbers])
        pairs = candidates(keys, np.asarray(tags), chosen[filled[chosen]], self.similarity)
        np.save(self._path("pairs"), pairs)
        np.save(self._path("wanted"), np.unique(pairs))

    def shingle(self, number: int) -> None:
        """Store what the paired texts of a part are compared by."""
        part, begin = self.parts[number], self.begins[number]
        contents = PartContents(self._stem(number), part.texts)
        wanted = np.zeros(part.texts, bool)
        texts = np.load(self._path("wanted"), "r")
        first, last = np.searchsorted(texts, [begin, begin + part.texts])
        wanted[texts[first:last] - begin] = True
        at = 0
        for text in part.read() if wanted.any() else ():
            mask = wanted[at : at + len(text)]
            if mask.any():
                contents.add(at + np.flatnonzero(mask), text.filter(pa.array(mask)))
            at += len(text)
        contents.complete()

    def compare(self, number: int) -> None:
        """Compare some of the pairs."""
        pairs = np.array_split(np.load(self._path("pairs"), "r"), self._comparisons)[number]
        np.save(self._path("similarities", number), self._contents().similarities(pairs))

    def result(self) -> Similar:
        """The pairs of similar texts."""
        pairs, tags = np.load(self._path("pairs")), np.asarray(np.load(self._path("tags"), "r"))
        parts = (np.load(self._path("similarities", number)) for number in range(self._comparisons))
        values = np.concatenate([np.empty(0), *parts])
        kept = values >= self.similarity
        return Similar(pairs[kept], values[kept], contents=self._contents(), tags=tags, least=self.similarity)

    @property
    def _comparisons(self) -> int:
        """Tasks that compare, each of which needs the files of all parts."""
        return min(MOST_COMPARISONS, len(self.parts))

    def _contents(self) -> Contents:
        return Contents([self._stem(number) for number in range(len(self.parts))])

    def _stem(self, number: int) -> Path:
        return self.folder / f"{number:05d}"

    def _path(self, kind: str, number: int | None = None) -> Path:
        return self.folder / (f"{kind}.npy" if number is None else f"{number:05d}.{kind}.npy")


class _Bands:
    """Keys of the bands of all texts, [BANDS, texts], of which one band is in memory at a time."""

    def __init__(self, parts: Sequence[Hashes]) -> None:
        self._parts = parts

    def __getitem__(self, band: int) -> Hashes:
        return np.concatenate([np.empty(0, np.uint64), *(part[band] for part in self._parts)])


@contextmanager
def find_similar(parts: list[Part], chosen: Offsets, workers: int, similarity: float = SIMILARITY) -> Iterator[Similar]:
    """Find pairs of similar texts, in threads; what they hold can be compared within the block.

    Args:
        parts: all texts.
        chosen: numbers of those that are looked at, ascending: equal texts need to be compared once.
        workers: threads.
        similarity: share of their shingles that two texts have in common at least.
    """
    with tempfile.TemporaryDirectory(prefix="pdapt-") as folder, ThreadPoolExecutor(workers) as pool:
        search = Search(Path(folder), joined_parts(parts, MOST_PARTS), similarity)
        search.run(chosen, lambda _, step, numbers: list(pool.map(step, numbers)))
        yield search.result()
