"""Near-duplicates on one side of the split, by datatrove's MinHash.

Documents whose 5-word shingles are about as similar as MINHASH's buckets ask for (a similarity of 0.72 is found half of
the time, 0.8 in 92 of 100 cases) form clusters. A cluster counts as one text for the split: it is drawn whole, one
document of it is kept for validation, and none of it is trained on. Numbers are compared as they are: two leaflets that
differ in a dose share no shingle that holds it.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupSignature,
)
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer
from loguru import logger

from ...core import log
from ...core.log import counted
from ..tokens.selection.scan import Scan
from ..tokens.selection.shards import Shard, read_shard

MINHASH = MinhashConfig(
    n_grams=5,
    num_buckets=14,
    hashes_per_bucket=8,
    norm_config=TextNormConfig(norm_numbers=False),
    hash_config=HashConfig(hash_fc="sha1"),  # datatrove's other one needs xxhash below 4
)


class Words(WordTokenizer):
    """Words between white space: enough for shingles of text that datatrove has freed of case and punctuation."""

    def word_tokenize(self, text: str) -> list[str]:
        """The words."""
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        """Not asked for by MinHash."""
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Not asked for by MinHash."""
        raise NotImplementedError


def merge_near_duplicates(scans: list[Scan], workers: int) -> list[Scan]:
    """The scans, with one hash (the lowest of theirs) as `clusters` of all documents of a cluster.

    Takes about 1 kB of temporary files a document.
    """
    log.info("tokens: looking for near-duplicates (MinHash)")
    with tempfile.TemporaryDirectory() as folder:
        clusters = _clusters([scan.shard for scan in scans], Path(folder), workers)
    hashes = [scan.hashes.copy() for scan in scans]
    for members in clusters:
        lowest = min(hashes[shard][document] for shard, document in members)
        for shard, document in members:
            hashes[shard][document] = lowest
    log.info(f"tokens: {sum(map(len, clusters))} documents are near-duplicates, in {counted(len(clusters), 'cluster')}")
    return [replace(scan, clusters=values) for scan, values in zip(scans, hashes, strict=True)]


def _clusters(shards: list[Shard], folder: Path, workers: int) -> list[list[tuple[int, int]]]:
    """Clusters of (shard, document in it)."""
    logger.disable("datatrove")
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        list(pool.map(_sign, shards, range(len(shards)), [folder] * len(shards)))
        buckets = range(MINHASH.num_buckets)
        list(pool.map(_match, [folder] * len(buckets), buckets))
    cluster = MinhashDedupCluster(str(folder / "buckets"), str(folder / "clusters"), MINHASH, save_cluster_id=True)
    cluster.run()
    members: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for path in sorted((folder / "clusters").glob("*.clusters")):
        for document, number in np.fromfile(path, "<u4").reshape(-1, 2).tolist():
            members[number].append((int(path.stem), document))
    return list(members.values())


def _sign(shard: Shard, number: int, folder: Path) -> None:
    """Write the signatures of a shard's documents."""
    logger.disable("datatrove")
    signature = MinhashDedupSignature(str(folder / "signatures"), MINHASH, cast(Any, Words()))
    signature.run(_documents(shard), rank=number)


def _documents(shard: Shard) -> Iterator[Document]:
    for batch in read_shard(shard):
        yield from (Document(text, id="") for text in batch.text.to_pylist())  # MinHash counts them itself


def _match(folder: Path, bucket: int) -> None:
    """Write the pairs whose signatures agree in a bucket."""
    logger.disable("datatrove")
    matches = MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=MINHASH)
    matches.run(rank=bucket, world_size=MINHASH.num_buckets)
