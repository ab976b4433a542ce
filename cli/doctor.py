"""`pdapt doctor`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..core.exit_codes import ExitCode
from .options import Json, json_text


def doctor(
    base: Annotated[
        Path | None,
        typer.Option(help="Hugging Face Qwen3 folder; compares the logits of transformers and the trainer, in FP32."),
    ] = None,
    text: Annotated[str, typer.Option(help="Text to compare on.")] = "Le patient reçoit 1,5 mg/kg de paracétamol.",
    site: Annotated[
        str | None, typer.Option(help="Name of a site, or a YAML file: checked, and compared with Slurm where it is.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder whose disk is measured, with 256 MiB.")] = Path(),
    as_json: Json = False,
) -> None:
    """Check packages, machine, disk, network and GPUs; with --site a cluster, with --base a model's weights.

    Each line says ok, slow, untested (not checked here, or not known to work) or wrong. What is not ok is explained,
    with a fix. Exit code 2 if something would stop a run, 1 if the logits differ.
    """
    from ..launch.doctor.check import Verdict
    from ..launch.doctor.diagnose import diagnose

    if base is not None:
        from ..core.qwen3 import read_config

        read_config(base)
    checks = []
    for check in diagnose(folder, site):
        checks.append(check)
        if not as_json:
            print("\n".join(check.lines()), flush=True)
    comparison = _compare(base, text) if base is not None else None
    usable = all(check.verdict != Verdict.WRONG for check in checks)
    if as_json:
        report = {"usable": usable, "checks": [asdict(check) for check in checks]}
        print(json_text(report | ({"comparison": comparison} if comparison else {})))
    else:
        for name, value in (comparison or {}).items():
            print(f"{name}: {value}")
        print("a run can start here" if usable else "a run cannot start here: see what is wrong")
    if not usable:
        raise typer.Exit(ExitCode.USER_ERROR)
    if comparison and not comparison["agree"]:
        raise typer.Exit(ExitCode.FAILED)


def _compare(base: Path, text: str) -> dict[str, object]:
    from ..launch.doctor.compare_logits import compare

    return compare(base, text)
