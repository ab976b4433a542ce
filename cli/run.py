"""`pdapt run`, `pdapt quickstart` and `pdapt doctor`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.exit_codes import ExitCode
from .options import Commercial, DocumentType, Encoding, Format, Json, Licence, MaxRejected, TextColumn, Verify

if TYPE_CHECKING:
    from ..launch.request import Request


def quickstart(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/quickstart"),
    as_json: Json = False,
) -> None:
    """Run all stages on the embedded sample: train a tiny Qwen3 on general French, and adapt it to medical French."""
    from ..launch.request import Request

    _whole(Request(title="pdapt quickstart: medical", domain="medical", data=[]), out, as_json)


def run(
    further: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH | KEY=VALUE]...", help="More PATHs of --data, and overrides of the recipe."),
    ] = None,
    *,
    data: Annotated[list[str], typer.Option(help="[NAME=]PATH of the domain's text; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command goes on with it.")],
    base: Annotated[Path | None, typer.Option(help="Hugging Face Qwen3 folder; none: a tiny base is trained.")] = None,
    general: Annotated[
        list[str] | None,
        typer.Option(
            help="[NAME=]PATH of general text; `none` leaves it out. By default the embedded French sample's, where "
            "the domain's text is French."
        ),
    ] = None,
    domain: Annotated[str, typer.Option(help="What the domain is called.")] = "domain",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe of the continued pre-training, taken as it is. By default, with --base, the published one "
            "(learning rate 2e-5, packed sequences of 2,048 tokens, 2.53 epochs), its batch and steps fitted to the "
            "text and its spread to this machine; without --base, qwen3_tiny_cpt_2xcpu."
        ),
    ] = None,
    t: Annotated[float, typer.Option(help="Merge: 0 is the base, 1 the last checkpoint.")] = 0.5,
    format: Format = None,
    encoding: Encoding = None,
    document_type: DocumentType = "",
    licence: Licence = "",
    commercial: Commercial = None,
    text_column: TextColumn = "text",
    max_rejected: MaxRejected = None,
    valid_fraction: Annotated[float, typer.Option(help="Part of each domain's text that is held out.")] = 0.05,
    splits: Annotated[str, typer.Option(help="train, or all: publishers' test and validation parts, too.")] = "train",
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Train on a text as often as it is given.")
    ] = False,
    documents: Annotated[int, typer.Option(help="Evaluate on at most so many held-out documents a domain.")] = 500,
    questions: Annotated[int, typer.Option(help="Ask at most so many questions a domain.")] = 100,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Run all stages on your own text, and on your own Qwen3 if you name one.

    After training you may change --title, --t, --documents and --questions, and with --base also --general: the same
    command then repeats only what depends on them. --format to --text-column say how --data is read; prepare general
    text that needs options of its own with `pdapt corpus build`. docs/run.md explains all of this.
    """
    from ..launch.request import Reading, Request, is_path

    given = further or []
    request = Request(
        title=title or f"pdapt run: {domain}",
        domain=domain,
        data=[*data, *filter(is_path, given)],
        general=general or [],
        base=None if base is None else str(base),
        recipe=recipe,
        overrides=[item for item in given if not is_path(item)],
        t=t,
        reading=Reading(format, encoding, document_type, licence, commercial, text_column),
        max_rejected=max_rejected,
        valid_fraction=valid_fraction,
        splits=splits,
        keep_duplicates=keep_duplicates,
        documents=documents,
        questions=questions,
    )
    _whole(request, out, as_json, verify=verify)


def _whole(request: "Request", out: Path, as_json: bool, *, verify: bool = True) -> None:
    from ..launch.pipeline import run_whole, summary

    run_whole(request, out, verify=verify)
    rows, sentences = summary(out)
    page = out / "report" / "index.html"
    if as_json:
        print(json.dumps({"models": rows, "verdict": sentences, "report": str(page)}, ensure_ascii=False))
        return
    _print_table(rows)
    for sentence in sentences:
        print(sentence)
    print(f"\nReport: {page}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    from .terminal import print_table

    domains = [name for name in rows[0] if name not in ("model", "role")]
    shown = [
        [row["model"], *(f"{row[name]['perplexity']:.4f} ± {row[name]['perplexity_stderr']:.4f}" for name in domains)]
        for row in rows
    ]
    print_table("Perplexity per byte on held-out text (± standard error; lower is better)", ["model", *domains], shown)


def doctor(
    base: Annotated[Path, typer.Option(help="Hugging Face Qwen3 folder.")],
    text: Annotated[str, typer.Option(help="Text to compare on.")] = "Le patient reçoit 1,5 mg/kg de paracétamol.",
    as_json: Json = False,
) -> None:
    """Compare the logits of transformers and of the trainer's model on a base's weights, in FP32."""
    from ..launch.doctor import compare

    found = compare(base, text)
    if as_json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")
    if not found["agree"]:
        raise typer.Exit(ExitCode.FAILED)
