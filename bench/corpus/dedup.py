"""pdapt's search for near-duplicates compared with datatrove's MinHash, on the same documents with planted copies.

Both use one thread and get the texts in memory. What each would drop is checked independently, by comparing the words
of the two texts in Python.
"""

import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...core import log
from ...core.errors import UserError

WORD = re.compile(r"\d+|[^\W\d_]+")
TOKEN = re.compile(r"\w+|[^\w\s]")
NUMBER = re.compile(r"\d+")
SHINGLE, SIMILARITY = 5, 0.8
LEAST_WORDS = 60
"""Fewest words of a document of which a copy is planted."""
RATE = 4
"""One in this many long documents gets a planted one."""
BATCH = 1000


@dataclass(frozen=True)
class Planted:
    """Documents, some of which were made of others.

    Attributes:
        texts: texts of all documents, the planted ones last.
        origins: planted document -> the one from which it was made, and how: a key of COPIES.
    """

    texts: list[str]
    origins: dict[int, tuple[int, str]]


@dataclass(frozen=True)
class Result:
    """Speed of one way, and what it drops.

    Attributes:
        way: its name, a key of WAYS.
        words_per_second: words between white space per second of processor time.
        recall: kind of planted document -> share that the way drops, among those that `is_copy` confirms as planted,
            and whose original the way keeps.
        dropped: number of documents that it would drop.
        precision: share of these that have in common with the document that replaces them SIMILARITY of their shingles,
            and all numbers that both give in the same place.
    """

    way: str
    words_per_second: float
    recall: dict[str, float]
    dropped: int
    precision: float


def _tokenized(text: str, draw: random.Random) -> str:
    del draw
    return " ".join(TOKEN.findall(text))


def _edited(text: str, draw: random.Random) -> str:
    """Leave out or double one word in 80, but no number, and no word beside one."""
    words = text.split(" ")
    for place in draw.sample(range(1, len(words) - 1), max(1, len(words) // 80)):
        if not any(NUMBER.search(word) for word in words[place - 1 : place + 2]):
            words[place] = draw.choice(["", f"{words[place]} {words[place]}"])
    return " ".join(words)


def _shortened(text: str, draw: random.Random) -> str:
    """Remove the last tenth."""
    del draw
    words = text.split(" ")
    return " ".join(words[: len(words) - len(words) // 10])


def _another_dose(text: str, draw: random.Random) -> str:
    """Change one of the numbers."""
    number = draw.choice(list(NUMBER.finditer(text)))
    return f"{text[: number.start()]}{int(number.group()) + 1}{text[number.end() :]}"


ANOTHER_DOSE = "another dose"
COPIES: dict[str, Callable[[str, random.Random], str]] = {
    "tokenized": _tokenized,
    "edited": _edited,
    "shortened": _shortened,
    ANOTHER_DOSE: _another_dose,
}
"""Kind of planted document -> how it is made. All but the last are copies."""


def plant(texts: list[str], seed: int = 0) -> Planted:
    """Plant a document for one in RATE of those that are long enough and have a number, with the kinds in turn."""
    draw, planted, origins = random.Random(seed), list(texts), {}  # noqa: S311
    suited = [n for n, text in enumerate(texts) if len(text.split()) >= LEAST_WORDS and NUMBER.search(text)]
    for place, number in enumerate(suited[::RATE]):
        kind = list(COPIES)[place % len(COPIES)]
        origins[len(planted)] = (number, kind)
        planted.append(COPIES[kind](texts[number], draw))
    return Planted(planted, origins)


def _pdapt(texts: list[str], folder: Path) -> dict[int, int]:
    import numpy as np

    from ...data_prep.dedup.near_duplicates import find_similar
    from ...data_prep.dedup.parts import Part
    from ...data_prep.dedup.representatives import near_copies

    del folder
    batches = [pa.array(texts[begin : begin + BATCH]) for begin in range(0, len(texts), BATCH)]
    numbers = np.arange(len(texts))
    with find_similar([Part(len(texts), lambda: iter(batches))], numbers, 1) as similar:
        return {copy.text: copy.kept for copy in near_copies(similar, numbers)}


def _datatrove(texts: list[str], folder: Path) -> dict[int, int]:
    """datatrove's three steps with its own settings, except that numbers are kept."""
    import numpy as np
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer
    from loguru import logger

    class Words(WordTokenizer):
        """Words between white space, for the least that cutting a text can cost."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            raise NotImplementedError

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            raise NotImplementedError

    logger.disable("datatrove")
    config = minhash.MinhashConfig(
        norm_config=TextNormConfig(norm_numbers=False),
        hash_config=HashConfig(hash_fc="sha1"),  # its other one needs an older xxhash
    )
    words: Any = Words()
    signature = minhash.MinhashDedupSignature(str(folder / "signatures"), config, words)
    signature.run((Document(text, id="") for text in texts), rank=0)
    for bucket in range(config.num_buckets):
        matching = minhash.MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)
        matching.run(rank=bucket, world_size=config.num_buckets)
    clusters = str(folder / "clusters")
    minhash.MinhashDedupCluster(str(folder / "buckets"), clusters, config, save_cluster_id=True).run()
    pairs = [np.fromfile(path, "<u4").reshape(-1, 2) for path in sorted((folder / "clusters").glob("*.clusters"))]
    first: dict[int, int] = {}
    return {
        document: first[cluster]
        for document, cluster in (pair for part in pairs for pair in part.tolist())
        if first.setdefault(cluster, document) != document
    }


PEER = "datatrove MinHash"
WAYS: dict[str, Callable[[list[str], Path], dict[int, int]]] = {"pdapt": _pdapt, PEER: _datatrove}
"""Way -> the documents that it drops, each with the document that replaces it."""


def bench(paths: list[Path], words: int, turns: int) -> list[Result]:
    """Plant copies among documents, and let each way find them.

    Args:
        paths: Parquet files with a column `text`.
        words: documents are taken from the beginning until they have this number of words.
        turns: turns of each way, one after the other; the fastest counts.

    Raises:
        UserError: a path is not a Parquet file, or no document is long enough.
    """
    planted = plant(_read(paths, words))
    if not planted.origins:
        raise UserError(f"no document has a number and {LEAST_WORDS} words", where="PATH", allowed="longer documents")
    runs = [{way: _run(way, planted) for way in WAYS} for _ in range(turns)]
    return [_result(way, planted, runs[0][way].dropped, seconds=min(run[way].seconds for run in runs)) for way in WAYS]


def _read(paths: list[Path], words: int) -> list[str]:
    """Distinct texts."""
    import pyarrow.parquet as pq

    texts: dict[str, None] = {}
    for path in paths:
        if path.suffix != ".parquet" or not path.is_file():
            raise UserError(f"{path} is not a Parquet file", where="PATH", allowed="Parquet files with a column 'text'")
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=["text"]):
            for text in batch.column(0).to_pylist():
                texts.setdefault(text)
                words -= len(text.split())
                if words <= 0:
                    return list(texts)
    return list(texts)


@dataclass(frozen=True)
class _Run:
    """A run of one way: its processor time, and the documents that it drops, each with the one that replaces it."""

    seconds: float
    dropped: dict[int, int]


def _run(way: str, planted: Planted) -> _Run:
    log.info(f"bench: {way}")
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as folder:
        WAYS[way](planted.texts[:10], Path(first))  # imports are not counted
        begin = time.process_time()
        dropped = WAYS[way](planted.texts, Path(folder))
        return _Run(time.process_time() - begin, dropped)


def _result(way: str, planted: Planted, dropped: dict[int, int], *, seconds: float) -> Result:
    sure = {
        document: kind
        for document, (origin, kind) in planted.origins.items()
        if origin not in dropped and is_copy(planted.texts[document], planted.texts[origin]) == (kind != ANOTHER_DOSE)
    }
    made, seen = Counter(sure.values()), Counter(kind for document, kind in sure.items() if document in dropped)
    right = sum(is_copy(planted.texts[document], planted.texts[kept]) for document, kept in dropped.items())
    return Result(
        way=way,
        words_per_second=sum(len(text.split()) for text in planted.texts) / seconds,
        recall={kind: seen[kind] / made[kind] for kind in COPIES if made[kind]},
        dropped=len(dropped),
        precision=right / len(dropped) if dropped else 1.0,
    )


def is_copy(text: str, kept: str) -> bool:
    """Whether two texts share SIMILARITY of their shingles, and do not have different numbers in the same place."""
    first, second = (WORD.findall(each.lower()) for each in (text, kept))
    ours, theirs = _shingles(first), _shingles(second)
    if len(ours & theirs) < SIMILARITY * len(ours | theirs):
        return False
    places, others = _places(first), _places(second)
    return not any((places[at] - others[at]) and (others[at] - places[at]) for at in places.keys() & others.keys())


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}


def _places(words: list[str]) -> dict[tuple[str, ...], Counter[str]]:
    """The numbers after each three words."""
    places: dict[tuple[str, ...], Counter[str]] = {}
    for at, word in enumerate(words):
        if word.isdigit():
            places.setdefault(tuple(words[max(0, at - 3) : at]), Counter())[word] += 1
    return places
