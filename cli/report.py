"""`pdapt report …`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, show

report = typer.Typer()

Language = Annotated[str, typer.Option(help="Language of the page: en or fr.")]


@report.command("build")
def report_build(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FOLDER...",
            help="Folders of `pdapt eval run`, each of one base with its checkpoints; or one of a `pdapt run`.",
        ),
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder to make; by default FOLDER/report or report-fr of a run.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CHECKPOINT to report; by default the best on one half of the questions."),
    ] = None,
    test: Annotated[str, typer.Option(help="Test that colours the tables: holm, fdr_bh, mcnemar or paper.")] = "holm",
    contaminated: Annotated[
        Path | None, typer.Option(help='Questions that training has seen: JSONL of {"task", "doc_id" or "doc_hash"}.')
    ] = None,
    training: Annotated[
        list[str] | None,
        typer.Option(help="[NAME=]RUN: training run, for the page's costs; may be repeated."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="NAME=base|tuned|merged|other: a role other than that of the run; may be repeated."),
    ] = None,
    language: Language = "en",
    as_json: Json = False,
) -> None:
    """Write the report of a run, or of benchmark runs: one self-contained HTML page, figures, CSV and LaTeX."""
    from ..launch.build_reports import ReportOptions, build_report

    options = ReportOptions(
        test=test,
        checkpoints=checkpoint or [],
        contaminated=contaminated,
        training=training or [],
        language=language,
        roles=role or [],
    )
    show(build_report(runs, out, options), as_json)


@report.command("paper")
def report_paper(
    *,
    tables: Annotated[Path | None, typer.Option(help="Other tables, in the form of eval/paper/tables.json.")] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(help="MODEL=FOLDER of `pdapt eval run`, to show beside the paper's results; may be repeated."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="MODEL=CHECKPOINT to report, as in `report build`.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make: page, figures, CSV, LaTeX.")] = None,
    language: Language = "en",
    as_json: Json = False,
) -> None:
    """Recompute the paper's tables: averages, significant changes, and whether each claim follows from them."""
    from ..launch.build_reports import paper_claims

    findings = paper_claims(tables, runs or [], checkpoint or [], out=out, language=language)
    if as_json:
        print(json.dumps(findings, ensure_ascii=False))
        return
    for claim in findings["claims"]:
        verdict = "follows" if claim["holds"] else "does not follow"
        print(f"{verdict:16} {claim['section']:18} {claim['text']}\n{'':35} {claim['computed']}")
