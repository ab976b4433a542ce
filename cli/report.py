"""The pages that say what happened, and what the paper's tables say."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .stages import Json, show

report = typer.Typer()

Language = Annotated[str, typer.Option(help="en or fr.")]


@report.command("build")
def report_build(
    run: Annotated[Path, typer.Argument(help="Folder of a `pdapt run` or quickstart.")],
    out: Annotated[Path | None, typer.Option(help="Folder to make; by default RUN/report.")] = None,
    as_json: Json = False,
) -> None:
    """The report of a run: one HTML page that needs nothing else."""
    from .pipeline import report_run

    show(report_run(run, out or run / "report"), as_json)


@report.command("paper")
def report_paper(
    tables: Annotated[Path | None, typer.Option(help="Other tables, of the form of eval/paper_tables.json.")] = None,
    language: Language = "en",
    as_json: Json = False,
) -> None:
    """The paper's tables again: averages, significant changes, and whether each claim follows from them."""
    from ..eval.paper import TABLES, Tables, summary
    from ..eval.paper_claims import as_json as claims_json
    from ..eval.paper_claims import beyond_the_tables, claims

    found = Tables.read(tables or TABLES)
    made = claims(found, language)
    if as_json:
        beyond = {"beyond_the_tables": beyond_the_tables(language)}
        print(json.dumps(summary(found) | {"claims": claims_json(made)} | beyond, ensure_ascii=False))
        return
    for claim in made:
        verdict = "follows" if claim.holds else "does not follow"
        print(f"{verdict:16} {claim.section:18} {claim.text}\n{'':35} {claim.computed}")
