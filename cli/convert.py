"""`pdapt convert …`."""

from pathlib import Path
from typing import Annotated

import typer

from ..core.exit_codes import ExitCode
from .options import Json, Verify, json_text, show

convert = typer.Typer()


@convert.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="HF_FOLDER", help="Hugging Face folder of a Qwen3.")],
    out: Annotated[Path, typer.Argument(help="Megatron checkpoint root to make.")],
    *,
    bin_files: Annotated[bool, typer.Option("--bin", help="Read pytorch_model.bin, a pickle.")] = False,
    nemo2: Annotated[bool, typer.Option("--nemo2", help="Make a checkpoint that NeMo 2 starts from.")] = False,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Convert a Hugging Face Qwen3 to a Megatron checkpoint."""
    from ..conversion.convert import import_hf

    show(import_hf(source, out, bin_files=bin_files, verify=verify, nemo2=nemo2), as_json)


@convert.command("export")
def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CKPT", help="Megatron checkpoint; of a root, the newest is exported.")
    ],
    out: Annotated[Path, typer.Argument(help="Hugging Face folder to make.")],
    *,
    source: Annotated[
        str, typer.Option("--from", help="Weights to export: parameters, or master (the optimizer's FP32).")
    ] = "parameters",
    dtype: Annotated[
        str | None, typer.Option(help="Type of the weights: bfloat16, float16 or float32; by default the source's.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder with config.json and tokenizer.")] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Convert a Megatron checkpoint to a Hugging Face Qwen3."""
    from ..conversion.convert import export_hf

    show(export_hf(checkpoint, out, reference, source=source, dtype=dtype, verify=verify), as_json)


@convert.command("follow")
def follow(
    run: Annotated[Path, typer.Argument(help="Run folder of `pdapt train`.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the exports; by default RUN/hf.")] = None,
    *,
    keep_last: Annotated[int | None, typer.Option(help="Number of exports to keep; by default all.")] = None,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two checks for a new checkpoint.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Export the checkpoints that are there now, and stop.")] = False,
    heldout: Annotated[
        list[str] | None, typer.Option(help="DOMAIN=PATH: evaluate each export on it; may be repeated.")
    ] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Export every checkpoint of a run as it is completed, until the run is finished."""
    from ..launch.score_models import follow_run

    exported = follow_run(run, out, heldout or [], keep_last=keep_last, poll=poll, once=once, verify=verify)
    print(json_text({"exported": exported}) if as_json else f"exported: {', '.join(exported) or 'nothing new'}")


@convert.command("verify")
def verify(
    first: Annotated[Path, typer.Argument(help="Hugging Face folder, or Megatron checkpoint.")],
    second: Annotated[Path, typer.Argument(help="Model to compare with.")],
    reference: Annotated[Path | None, typer.Option(help="Folder with a checkpoint's config.json.")] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Compare two models tensor by tensor. Exit code 1 if they differ."""
    from dataclasses import asdict

    from ..conversion.verify import describe
    from ..conversion.verify import verify as compare

    comparison = compare(first, second, reference, hashes=verify)
    if as_json:
        print(json_text(asdict(comparison)))
    else:
        print("\n".join(describe(comparison)))
    raise typer.Exit(ExitCode.DONE if comparison.identical else ExitCode.FAILED)
