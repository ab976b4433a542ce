"""Options that many verbs have, and how their results are printed."""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
AllowEnv = Annotated[
    bool, typer.Option("--allow-env", help="Let the recipe take values from elsewhere, such as ${oc.env:NAME}.")
]
Verify = Annotated[
    bool,
    typer.Option("--verify/--no-verify", help="Compare what is read with the hashes that were written with it."),
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Of the recipe.")]

TextColumn = Annotated[str, typer.Option(help="Field or column that holds the text.")]
Format = Annotated[
    str | None,
    typer.Option(
        help="text (a document a file), lines (a document a line), jsonl, json, csv (TSV too), parquet, e3c, "
        "frenchmedmcqa, bdpm or mqc; by default each file's own, told from its content."
    ),
]
Encoding = Annotated[
    str | None, typer.Option(help="Of files that are not UTF-8 and have no byte order mark, such as cp1252.")
]
DocumentType = Annotated[str, typer.Option(help="Kind of text, for records that do not say.")]
Licence = Annotated[str, typer.Option(help="Licence, for records that do not say.")]
Commercial = Annotated[
    bool | None, typer.Option(help="May records be used commercially that do not say?", show_default=False)
]
MaxRejected = Annotated[
    float | None,
    typer.Option(help="Share of spoilt documents to leave out, listed in rejected.parquet; by default none may be."),
]


def show(manifest: Any, as_json: bool) -> None:
    """Print a finished stage's counts, or its whole manifest as JSON."""
    from dataclasses import asdict

    if as_json:
        print(json.dumps(asdict(manifest), ensure_ascii=False))
    else:
        print(json.dumps(manifest.counts, indent=2, ensure_ascii=False))
