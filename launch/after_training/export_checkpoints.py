"""Export the base, where it was trained here, and every checkpoint."""

from pathlib import Path

from ...core.checkpoint import CHECKPOINTS
from ...core.manifest import renew
from ...training.run.folder import checkpoints, iteration
from ..hf_models import exported_steps
from ..whole_run import WholeRun, base_folder


def export_name(checkpoint: Path) -> str:
    """The name of a checkpoint's Hugging Face folder."""
    return f"cpt-{iteration(checkpoint):05d}"


def exported_folders(whole: WholeRun) -> list[Path]:
    """The checkpoints' Hugging Face folders, oldest first; those of checkpoints that training has removed, too."""
    steps = {iteration(path): whole.hf / export_name(path) for path in checkpoints(whole.out / "cpt")}
    steps |= {step: folder for folder, step in exported_steps(whole.hf, "cpt-")}
    return [steps[step] for step in sorted(steps)]


def export_models(whole: WholeRun) -> None:
    """Export them; a checkpoint that training has written anew is exported anew."""
    from ...conversion.convert import export_hf

    if whole.base is None:
        export_hf(whole.out / "base" / CHECKPOINTS, base_folder(whole), verify=whole.verify)
    for checkpoint in checkpoints(whole.out / "cpt"):
        folder = whole.hf / export_name(checkpoint)
        renew(folder, lambda _, each=checkpoint, out=folder: export_hf(each, out, verify=whole.verify))
