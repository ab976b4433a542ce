"""`pdapt corpus …`."""

from typing import Annotated

import typer

from .options import (
    Commercial,
    DocumentType,
    Encoding,
    Format,
    Json,
    Licence,
    MaxRejected,
    OutFolder,
    TextColumn,
    show,
)

corpus = typer.Typer()


@corpus.command("build")
def build(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="[NAME=]PATH, or hub:OWNER/NAME[:CONFIG].")],
    out: OutFolder,
    format: Format = None,
    encoding: Encoding = None,
    document_type: DocumentType = "",
    licence: Licence = "",
    commercial: Commercial = None,
    text_column: TextColumn = "text",
    max_rejected: MaxRejected = None,
    as_json: Json = False,
) -> None:
    """Read and clean text: JSON lines and arrays, Parquet, CSV, TSV, text; in gzip, zstd, xz, bzip2; or a Hub data set.

    A file's format follows from its content. docs/documents.md says which text is a document, and what is refused.
    """
    from ..data_prep.corpus import build_corpus, discover

    sources = discover(
        paths,
        format=format,
        document_type=document_type,
        licence=licence,
        commercial=commercial,
        text_column=text_column,
        encoding=encoding,
        out=out,
    )
    show(build_corpus(sources, out, max_rejected=max_rejected), as_json)
