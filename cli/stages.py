"""One verb for each stage."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..core.exit_codes import ExitCode
from .options import (
    AllowEnv,
    Commercial,
    DocumentType,
    Encoding,
    Format,
    Json,
    Licence,
    MaxRejected,
    Overrides,
    TextColumn,
    Verify,
    show,
)

corpus, convert = (typer.Typer() for _ in range(2))

Out = Annotated[Path, typer.Option("--out", help="Folder to make.")]


@corpus.command("build")
def corpus_build(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="[NAME=]PATH, or hub:OWNER/NAME[:CONFIG].")],
    out: Out,
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


@convert.command("import")
def convert_import(
    source: Annotated[Path, typer.Argument(metavar="HF_FOLDER", help="Qwen3 as Hugging Face keeps it.")],
    out: Annotated[Path, typer.Argument(help="Checkpoint root to make.")],
    *,
    bin_files: Annotated[bool, typer.Option("--bin", help="Read pytorch_model.bin, a pickle.")] = False,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Hugging Face Qwen3 -> Megatron checkpoint."""
    from ..conversion.convert import import_hf

    show(import_hf(source, out, bin_files=bin_files, verify=verify), as_json)


@convert.command("export")
def convert_export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint, or a root: then its newest.")],
    out: Annotated[Path, typer.Argument(help="Hugging Face folder to make.")],
    *,
    source: Annotated[str, typer.Option("--from", help="parameters, or master: the optimizer's FP32.")] = "parameters",
    dtype: Annotated[str | None, typer.Option(help="bfloat16, float16 or float32; by default the source's.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder with config.json and tokenizer.")] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Megatron checkpoint -> Hugging Face Qwen3."""
    from ..conversion.convert import export_hf

    show(export_hf(checkpoint, out, reference, source=source, dtype=dtype, verify=verify), as_json)


@convert.command("follow")
def convert_follow(
    run: Annotated[Path, typer.Argument(help="Run folder of `pdapt train`.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the exports; by default RUN/hf.")] = None,
    *,
    keep_last: Annotated[int | None, typer.Option(help="How many exports are kept; by default all.")] = None,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the run.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="End when what is there now is exported.")] = False,
    heldout: Annotated[
        list[str] | None, typer.Option(help="DOMAIN=PATH: evaluate each export on it; may be repeated.")
    ] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Export every checkpoint of a run as it is completed, until the run is finished."""
    from ..launch.follow_and_score import follow_run

    found = follow_run(run, out, heldout or [], keep_last=keep_last, poll=poll, once=once, verify=verify)
    print(json.dumps({"exported": found}) if as_json else f"exported: {', '.join(found) or 'nothing new'}")


@convert.command("verify")
def convert_verify(
    first: Annotated[Path, typer.Argument(help="Hugging Face folder, or Megatron checkpoint.")],
    second: Annotated[Path, typer.Argument(help="What it is compared with.")],
    reference: Annotated[Path | None, typer.Option(help="Folder with a checkpoint's config.json.")] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Are two models the same, tensor by tensor? Exit code 1 where they are not."""
    from ..conversion.verify import describe
    from ..conversion.verify import verify as compare

    found = compare(first, second, reference, hashes=verify)
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(describe(found)))
    raise typer.Exit(ExitCode.DONE if found["identical"] else ExitCode.FAILED)


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    *,
    tokens: Annotated[Path | None, typer.Option(help="Folder made by `pdapt tokens build`.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same command goes on with it.")] = None,
    base: Annotated[
        Path | None, typer.Option(help="Run (its newest checkpoint), or checkpoint root, to start from; none: random.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the base's tokenizer.json, for a root without hf/.")
    ] = None,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Stop after this step; run again to go on.")] = None,
    wall_time: Annotated[
        float | None, typer.Option(min=0, help="Minutes after which it saves and ends, with exit code 75.")
    ] = None,
    other_data: Annotated[bool, typer.Option("--other-data", help="Go on although data or tokenizer changed.")] = False,
    verify: Verify = True,
    allow_env: AllowEnv = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do, on GPUs; needs none.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe, or go on with it.

    Started alone, it starts the recipe's ranks on this machine; started by torchrun, it is one of them.

    SIGTERM, SIGUSR1 and Ctrl-C save and end it.
    """
    from ..core.errors import UserError
    from ..recipes.load import load

    loaded = load(recipe, overrides, allow_env=allow_env)
    if dry:
        from ..scaling.filling import predicted_speed
        from ..training.dry_run import as_text, dry_run
        from ..training.inputs import Inputs

        inputs = tokens and Inputs(tokens, base, tokenizer, verify)
        found = dry_run(loaded, out or Path("run"), base, inputs, predicted_speed(loaded, tokens))
        print(json.dumps(found) if as_json else as_text(recipe, loaded, found))
        return
    if tokens is None or out is None:
        missing = "--tokens" if tokens is None else "--out"
        raise UserError(f"{missing} is missing", where="pdapt train", mend="give it, or only look with --dry-run")
    _check_base(recipe, base)
    from ..scaling.filling import tell_of_local_layers
    from ..training.train import train as run

    tell_of_local_layers(loaded)
    manifest = run(
        loaded,
        tokens,
        out,
        base=base,
        tokenizer=tokenizer,
        stop_at=stop_at,
        wall_time=wall_time,
        other_data=other_data,
        verify=verify,
    )
    if manifest is not None:
        show(manifest, as_json)


def launch(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    *,
    tokens: Annotated[Path, typer.Option(help="Folder made by `pdapt tokens build`.")] = Path("tokens"),
    base: Annotated[Path | None, typer.Option(help="Run, or checkpoint root, to start from.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the base's tokenizer.json, for a root without hf/.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("run"),
    verify: Verify = True,
    allow_env: AllowEnv = False,
    print_: Annotated[bool, typer.Option("--print", help="Print the script (submitting comes later).")] = False,
) -> None:
    """Write the Slurm script that trains a recipe with torchrun.

    Whatever `train` would refuse is refused here, before the job waits in the queue. torchrun takes any
    code but 0 for a failure and ends with 1, so that the job's code is 0 or 1: state.json in the run folder says
    whether a job that ended with 0 is done or stopped early.
    """
    from ..core.errors import UserError
    from ..launch.recipe_job import script
    from ..recipes.load import load
    from ..training.requested_run import Run
    from ..training.train import check_run

    if not print_:
        raise UserError(
            "only --print is there yet", where="pdapt launch", mend="`pdapt launch RECIPE --print | sbatch`"
        )
    run = Run(load(recipe, overrides, allow_env=allow_env), tokens, out, base, tokenizer, verify)
    _check_base(recipe, base)
    check_run(run)
    print(script(Path(recipe).stem, recipe, overrides or [], run, allow_env=allow_env))


def _check_base(recipe: str, base: Path | None) -> None:
    """Check that a recipe of continued pre-training is given what to continue."""
    from ..core.errors import UserError

    name = Path(recipe).stem
    if base is None and "_cpt_" in name:
        raise UserError(
            f"{name} continues a base's pre-training, and there is no --base",
            where="--base",
            allowed="a run, or the folder that `pdapt convert import HF_FOLDER OUT` makes",
            mend="give it; for random weights take a recipe of pre-training, or a file of your own",
        )
