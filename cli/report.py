"""`pdapt report …` and `pdapt publish …`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Json, json_text, show

report = typer.Typer()

Language = Annotated[str, typer.Option(help="Language of the page: en or fr.")]


@report.command("build")
def report_build(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FOLDER...",
            help="Folders of `pdapt eval run`, each of one base with its checkpoints; or one of `pdapt run`, "
            "`pdapt eval proxy` or `pdapt merge choose`; trainings; or lm-eval's own results, one of each model.",
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
        typer.Option(help="[NAME=]RUN: training run, for the page's costs or losses; may be repeated."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="NAME=base|tuned|merged|other: a role other than that of the run; may be repeated."),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Of lm-eval's own results: NAME or NAME,FILTER; by default the first of each task.")
    ] = "",
    groups: Annotated[
        Path | None,
        typer.Option(
            help="Groups of tasks that are not of the 28: YAML file, group: [tasks]; by default lm-eval's groups."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Group that training was for, of tasks that are not of the 28.")
    ] = None,
    language: Language = "en",
    as_json: Json = False,
) -> None:
    """Write the report of a run, of a stage or of benchmark runs: one self-contained HTML page, figures, CSV, LaTeX."""
    from ..launch.build_reports import ReportOptions, build_report

    options = ReportOptions(
        test=test,
        checkpoints=checkpoint or [],
        contaminated=contaminated,
        training=training or [],
        language=language,
        roles=role or [],
        metric=metric,
        groups=groups,
        target=target,
    )
    show(build_report(runs, out, options), as_json)


@report.command("paper")
def report_paper(
    *,
    tables: Annotated[
        Path | None, typer.Option(help="File of other tables, in the form of eval/paper/tables.json.")
    ] = None,
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
    from ..eval.report.texts import Words
    from ..launch.build_reports import paper_claims

    findings = paper_claims(tables, runs or [], checkpoint or [], out=out, language=language)
    if as_json:
        print(json_text(findings))
        return
    words = Words.read(language)
    for claim in findings["claims"]:
        verdict = words("follows" if claim["holds"] else "follows_not")
        print(f"{verdict:17} {claim['section']:18} {claim['text']}\n{'':36} {claim['computed']}")


publish = typer.Typer()

Folder = Annotated[Path, typer.Argument(help="Folder to publish.")]
Repo = Annotated[str, typer.Option(help="OWNER/NAME on the Hub.")]
Public = Annotated[bool, typer.Option("--public", help="Make it public; the default is private.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and show files and card; upload nothing.")]


@publish.command("model")
def publish_model(
    folder: Folder,
    *,
    repo: Repo,
    base: Annotated[str, typer.Option(help="OWNER/NAME of the base on the Hub.")],
    run: Annotated[Path | None, typer.Option(help="Training run, for steps, hours and energy.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="Corpus it was trained on, for the licences.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder of `report build`, for the scores.")] = None,
    title: Annotated[str, typer.Option(help="Title of the card; by default the folder's name.")] = "",
    base_licence: Annotated[str, typer.Option(help="Licence of the base, as the Hub names it.")] = "apache-2.0",
    citation: Annotated[str, typer.Option(help="Work to cite.")] = "",
    public: Public = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Publish a model: weights, configuration and tokenizer, with a card of training, data, licences and scores.

    pdapt refuses incomplete weights, a configuration that only one line of transformers reads, files that are not
    safetensors, and texts that name paths of this machine. To continue an interrupted upload, repeat the command.
    """
    from ..launch.publish import publish_hub

    sources = publish_hub.ModelSources(
        base=base, run=run, corpus=corpus, report=report, title=title, base_licence=base_licence, citation=citation
    )
    publication = publish_hub.prepare_model(folder, sources)
    _show(publish_hub.publish(publication, repo, public=public, dry_run=dry_run), as_json)


@publish.command("dataset")
def publish_dataset(
    folder: Folder, *, repo: Repo, public: Public = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Publish a data set of `corpus publish`: shards, card, Croissant and credits."""
    from ..launch.publish import publish_hub

    publication = publish_hub.prepare_dataset(folder)
    _show(publish_hub.publish(publication, repo, public=public, dry_run=dry_run), as_json)


def _show(published: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json_text(published))
        return
    done = "uploaded" if published["uploaded"] else "nothing uploaded"
    print(f"{published['repo']} ({published['kind']}, {published['visibility']}): {done}")
    for name, size in published["files"].items():
        print(f"{size:>15,}  {name}")
    print(f"\nREADME.md\n{published['card']}")
