"""The stage that makes a data set of a corpus, as the Hugging Face Hub shows and loads it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import sha256, write_json, write_text
from ...core.integrity import AGAIN, check, stage_files
from ...core.log import counted
from ...core.manifest import Manifest, run_stage
from ...data_prep.licences.attribution import write_attribution
from ...data_prep.licences.report import corpus_files
from ...data_prep.publish.corpus_statistics import SourceStatistics, shared_texts
from ...data_prep.publish.croissant import Described, PublishedFile, croissant
from ...data_prep.publish.dataset_card import CREDITS, card, licences_of
from ...data_prep.publish.hub_layout import rows_of, write_shards
from ...data_prep.publish.table1 import inconsistencies, table1
from .corpus_page import corpus_page, statistics_json

MEGABYTE = 10**6


@dataclass(frozen=True)
class DatasetFacts:
    """Facts for a card that a corpus does not contain.

    Attributes:
        title: of the data set.
        description: a sentence or two.
        url: its page; a data set on the Hub has `https://huggingface.co/datasets/OWNER/NAME`.
        version: of the data.
        citation: what to cite.
    """

    title: str
    description: str = "French biomedical text for continued pre-training, with each document's source and licence."
    url: str = "https://huggingface.co/datasets"
    version: str = "1.0.0"
    citation: str = ""


def publish_corpus(corpus: Path, out: Path, facts: DatasetFacts, *, shard_megabytes: int = 500) -> Manifest:
    """Write shards, card, Croissant description, credits, statistics and an overview page (stage `publish`).

    Args:
        corpus: a corpus stage's folder.
        out: the folder to make.
        facts: for the card.
        shard_megabytes: text of a shard, in millions of bytes, before compression.

    Raises:
        UserError: the folder is not a corpus, or is damaged.
    """
    if shard_megabytes < 1:
        raise UserError(f"--shard-mb is {shard_megabytes}", where="--shard-mb", allowed="a whole number from 1 on")
    if not facts.title.strip():
        raise UserError("the title is empty", where="--title", fix="give the data set a title")
    files = corpus_files(corpus)
    check("publish", stage_files([corpus]), fix=AGAIN)

    def body(work: Path) -> dict[str, Any]:
        return _publish(corpus, files, work, facts, shard_bytes=shard_megabytes * MEGABYTE)

    config = asdict(facts) | {"shard_megabytes": shard_megabytes}
    return run_stage("publish", {"corpus": corpus}, config, out, body=body)


def _publish(
    corpus: Path, files: Mapping[str, Path], work: Path, facts: DatasetFacts, *, shard_bytes: int
) -> dict[str, Any]:
    """Fill the data set's folder; its counts."""
    sources: dict[str, SourceStatistics] = {}
    names = write_shards(_counted(files, sources), work, shard_bytes)
    shared = shared_texts(sources)
    rows = table1(sources)
    shards = [PublishedFile(name, (work / name).stat().st_size, sha256(work / name)) for name in names]
    described = Described(
        name=re.sub(r"[^A-Za-z0-9]+", "-", facts.title).strip("-") or "corpus",
        description=facts.description,
        version=facts.version,
        licences=tuple(licences_of(sources)),
        url=facts.url,
        citation=facts.citation,
    )
    write_json(work / "croissant.json", croissant(described, shards))
    write_text(
        work / "README.md",
        card(facts.title, facts.description, sources, rows=rows, manifest=Manifest.read(corpus)),
    )
    write_attribution(corpus, work / CREDITS)
    write_json(work / "statistics.json", statistics_json(sources, shared))
    write_json(work / "table1.json", {"rows": [asdict(row) for row in rows], "inconsistencies": inconsistencies()})
    write_text(work / "index.html", corpus_page(facts.title, sources, shared, rows=rows, figures=work / "figures"))
    counts = {what: sum(getattr(each, what) for each in sources.values()) for what in ("documents", "words")}
    log.info(f"publish: {counted(counts['documents'], 'document')} in {counted(len(names), 'shard')}")
    return counts | {"shards": len(names), "sources": len(sources)}


def _counted(files: Mapping[str, Path], sources: dict[str, SourceStatistics]) -> Iterator[dict[str, Any]]:
    """The rows of all sources, which are counted on the way."""
    for name, path in files.items():
        statistics = sources.setdefault(name, SourceStatistics())
        for row in rows_of(path):
            statistics.add(row)
            yield row
