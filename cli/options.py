"""Options that many verbs have, and how their results are printed."""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
AllowEnv = Annotated[
    bool, typer.Option("--allow-env", help="Let the recipe take values from elsewhere, such as ${oc.env:NAME}.")
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Of the recipe.")]


def show(manifest: Any, as_json: bool) -> None:
    """Print a finished stage's counts, or its whole manifest as JSON."""
    from dataclasses import asdict

    if as_json:
        print(json.dumps(asdict(manifest), ensure_ascii=False))
    else:
        print(json.dumps(manifest.counts, indent=2, ensure_ascii=False))
