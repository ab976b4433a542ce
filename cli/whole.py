"""`pdapt run`, `pdapt quickstart` and `pdapt doctor`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Json


def quickstart(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/quickstart"),
    as_json: Json = False,
) -> None:
    """All stages on the embedded sample: a tiny Qwen3 is trained on general French and adapted to medical French."""
    _whole("pdapt quickstart", "medical", [], [], None, None, [], 0.5, out, as_json)


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
        list[str] | None, typer.Option(help="[NAME=]PATH of general text; by default the embedded sample's.")
    ] = None,
    domain: Annotated[str, typer.Option(help="What the domain is called.")] = "domain",
    recipe: Annotated[str | None, typer.Option(help="Recipe of the continued pre-training.")] = None,
    t: Annotated[float, typer.Option(help="Merge: 0 is the base, 1 the last checkpoint.")] = 0.5,
    as_json: Json = False,
) -> None:
    """All stages on your own text, and on your own Qwen3 if you name one."""
    overrides = [item for item in further or [] if "=" in item]
    paths = [*data, *(item for item in further or [] if "=" not in item)]
    _whole("pdapt run", domain, paths, general or [], base, recipe, overrides, t, out, as_json)


def _whole(
    title: str,
    domain: str,
    data: list[str],
    general: list[str],
    base: Path | None,
    recipe: str | None,
    overrides: list[str],
    t: float,
    out: Path,
    as_json: bool,
) -> None:
    from .pipeline import CPT, Request, run_whole, summary

    request = Request(
        title=f"{title}: {domain}",
        domain=domain,
        data=data,
        general=general,
        base=None if base is None else str(base),
        recipe=recipe or CPT,
        overrides=overrides,
        t=t,
    )
    run_whole(request, out)
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
    from .compare import compare

    found = compare(base, text)
    if as_json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")
    if not found["agree"]:
        raise typer.Exit(1)
