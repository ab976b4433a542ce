"""`pdapt doctor`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..core.exit_codes import ExitCode
from .options import Json


def doctor(
    base: Annotated[Path, typer.Option(help="Hugging Face Qwen3 folder.")],
    text: Annotated[str, typer.Option(help="Text to compare on.")] = "Le patient reçoit 1,5 mg/kg de paracétamol.",
    as_json: Json = False,
) -> None:
    """Compare the logits of transformers and of the trainer's model on a base's weights, in FP32.

    Exit code 1 where they differ.
    """
    from ..launch.doctor import compare

    comparison = compare(base, text)
    if as_json:
        print(json.dumps(comparison))
    else:
        for name, value in comparison.items():
            print(f"{name}: {value}")
    if not comparison["agree"]:
        raise typer.Exit(ExitCode.FAILED)
