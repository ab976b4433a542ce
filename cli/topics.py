"""`pdapt corpus topics`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, json_text

if TYPE_CHECKING:
    from ..data_prep.topics.shares import Share


def show_topics(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of `pdapt corpus build`.")],
    terms: Annotated[
        Path | None, typer.Option(help="YAML file of topics and their terms; by default 23 medical specialities.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="File that gives each text its topic, such as a classifier of yours writes; in place of terms."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write with each text's topic, for `pdapt tokens build --topics`."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one for each core.")] = None,
    as_json: Json = False,
) -> None:
    """Count a corpus's documents and words by topic and source, each document by its main topic, or none.

    Terms are counted in each document: a filter, not a classifier. docs/topics.md says how well it does, and how to
    train a classifier of your own.
    """
    from ..data_prep.topics.shares import of_all, topic_shares

    shares = topic_shares(folder, terms=terms, labels=labels, out=out, workers=workers)
    if as_json:
        print(json_text({"topics": [asdict(share) for share in shares]}))
        return
    _print_shares("topics", of_all(shares))
    _print_shares("topics by source", shares)


def _print_shares(title: str, shares: "list[Share]") -> None:
    from .terminal import print_table

    words: dict[str, int] = {}
    for share in shares:
        words[share.source] = words.get(share.source, 0) + share.words
    rows = [
        [
            share.topic or "not listed",
            *([share.source] if share.source else []),
            f"{share.documents:,}",
            f"{share.words:,}",
            f"{share.words / max(1, words[share.source]):.1%}",
        ]
        for share in shares
    ]
    source = ["source"] if any(share.source for share in shares) else []
    print_table(title, ["topic", *source, "documents", "words", "share of words"], rows)
