"""`pdapt run` and `pdapt quickstart`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import UserError
from ..launch.run_defaults import DOCUMENTS, DUPLICATES, MAX_LOSS, MERGE_T, PROFILE, QUESTIONS, VALID_FRACTION
from .options import (
    CleaningProfile,
    Commercial,
    Decontaminate,
    DocumentType,
    Duplicates,
    Edition,
    Encoding,
    Format,
    Json,
    KeepDuplicates,
    Licence,
    Mask,
    MaxLoss,
    MaxRejected,
    Slurm,
    Splits,
    TextColumn,
    Topics,
    Verify,
    Workers,
    json_text,
)

if TYPE_CHECKING:
    from ..eval.statistics.verdict import ModelRow
    from ..launch.request import Request


def quickstart(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/quickstart"),
    as_json: Json = False,
) -> None:
    """Run all stages on the embedded sample: train a tiny Qwen3 on general French, and adapt it to medical French."""
    from ..launch.request import Request

    _whole(Request(title="pdapt quickstart: medical", domain="medical", data=[]), out, as_json)


Further = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH | KEY=VALUE]...", help="Further PATHs for --data, and values that replace the recipe's."
    ),
]
General = Annotated[
    list[str] | None,
    typer.Option(
        help="[NAME=]PATH of general text; `none` leaves it out. By default, if the domain's text is French, that of "
        "the embedded sample."
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        help="Recipe of the continued pre-training, used unchanged. By default, with --base, the published one "
        "(learning rate 2e-5, packed sequences of 2,048 tokens, 2.53 epochs), with batch and steps fitted to the text "
        "and parallelism fitted to this machine; without --base, qwen3_tiny_cpt_2xcpu."
    ),
]


def run(
    further: Further = None,
    *,
    data: Annotated[list[str] | None, typer.Option(help="[NAME=]PATH of the domain's text; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="Run folder; the same command continues it.")],
    base: Annotated[
        Path | None, typer.Option(help="Hugging Face Qwen3 folder; by default a tiny base is trained.")
    ] = None,
    general: General = None,
    domain: Annotated[str, typer.Option(help="Name of the domain.")] = "domain",
    recipe: RecipeOption = None,
    t: Annotated[
        str,
        typer.Option(
            metavar="POINTS",
            help="Merge: 0 is the base, 1 the last checkpoint. If several points are given (0.1:0.9:0.1 or 0.2,0.5), "
            "a rule chooses one: see `pdapt merge choose`.",
        ),
    ] = str(MERGE_T),
    max_loss: MaxLoss = MAX_LOSS,
    format: Format = None,
    encoding: Encoding = None,
    document_type: DocumentType = "",
    licence: Licence = "",
    commercial: Commercial = None,
    text_column: TextColumn = "text",
    max_rejected: MaxRejected = None,
    edition: Edition = None,
    profile: CleaningProfile = PROFILE,
    duplicates: Duplicates = DUPLICATES,
    mask: Mask = None,
    topics: Topics = None,
    decontaminate: Decontaminate = None,
    valid_fraction: Annotated[
        float, typer.Option(help="Part of each domain's text that is held out.")
    ] = VALID_FRACTION,
    splits: Splits = "train",
    keep_duplicates: KeepDuplicates = False,
    documents: Annotated[
        int, typer.Option(help="Largest number of held-out documents of a domain to evaluate on.")
    ] = DOCUMENTS,
    questions: Annotated[int, typer.Option(help="Largest number of questions to ask in a domain.")] = QUESTIONS,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    flow: Annotated[
        Path | None,
        typer.Option(
            help="Flow file (YAML) that sets everything but --out (docs/launch.md); its site is ignored here."
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(help="Run only this step of the run in --out, as the jobs of `pdapt launch` do."),
    ] = None,
    workers: Workers = None,
    slurm: Slurm = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Run all stages on your own text, and on your own Qwen3 if you name one.

    After training you may change --title, --t, --max-loss, --documents and --questions, and with --base also
    --general: the same command then repeats only what depends on them. --format to --text-column say how --data is
    read; prepare general text that needs options of its own with `pdapt corpus build`. docs/run.md says more.
    """
    from ..launch.request import Reading, Request, is_path
    from ..merge.factors import parse_points

    if step is not None:
        _step(out, step, data, verify=verify, workers=workers, slurm=slurm or [])
        return
    if workers or slurm:
        raise UserError(
            "only a step works on parts", where="--slurm" if slurm else "--workers", fix="name it by --step"
        )
    if flow is not None:
        _flow(out, flow, data, as_json, verify=verify)
        return
    if not data:
        raise UserError("--data is missing", where="pdapt run", fix="give [NAME=]PATH of the domain's text")
    paths = list(filter(is_path, further or []))
    request = Request(
        title=title or f"pdapt run: {domain}",
        domain=domain,
        data=[*data, *paths],
        general=general or [],
        base=None if base is None else str(base),
        recipe=recipe,
        overrides=[item for item in further or [] if item not in paths],
        t=parse_points(t),
        max_loss=max_loss,
        reading=Reading(
            format=format,
            encoding=encoding,
            document_type=document_type,
            licence=licence,
            commercial=commercial,
            text_column=text_column,
        ),
        max_rejected=max_rejected,
        edition=edition,
        profile=profile,
        duplicates=duplicates,
        mask=mask or [],
        topics=None if topics is None else str(topics),
        decontaminate=None if decontaminate is None else str(decontaminate),
        valid_fraction=valid_fraction,
        splits=splits,
        keep_duplicates=keep_duplicates,
        documents=documents,
        questions=questions,
    )
    _whole(request, out, as_json, verify=verify)


def _flow(out: Path, flow: Path, data: list[str] | None, as_json: bool, *, verify: bool) -> None:
    from ..launch.chain.flow_file import read_flow

    if data:
        raise UserError(
            "with a flow, the flow's file names the text", where="--data", fix=f"write data.paths into {flow}"
        )
    _whole(read_flow(flow).request, out, as_json, verify=verify)


def _step(out: Path, step: str, data: list[str] | None, *, verify: bool, workers: int | None, slurm: list[str]) -> None:
    from ..data_prep.tasks.task_options import slurm_options
    from ..launch.pipeline import run_step

    if data:
        raise UserError(
            "--step reads all other options from the run's folder", where="--data", fix=f"leave out all but --out {out}"
        )
    run_step(out, step, verify=verify, workers=workers, slurm=slurm_options(slurm) if slurm else None)


def _whole(request: "Request", out: Path, as_json: bool, *, verify: bool = True) -> None:
    from ..launch.build_reports import summary
    from ..launch.pipeline import run_whole

    run_whole(request, out, verify=verify)
    rows, sentences = summary(out)
    page = out / "report" / "index.html"
    if as_json:
        print(json_text({"models": [row.to_json() for row in rows], "verdict": sentences, "report": str(page)}))
        return
    _print_table(rows)
    for sentence in sentences:
        print(sentence)
    print(f"\nReport: {page}")


def _print_table(rows: list["ModelRow"]) -> None:
    from .terminal import print_table

    domains = list(rows[0].domains)
    shown = [
        [row.model, *(f"{score.perplexity:.4f} ± {score.perplexity_stderr:.4f}" for score in row.domains.values())]
        for row in rows
    ]
    print_table("Perplexity per byte on held-out text (± standard error; lower is better)", ["model", *domains], shown)
