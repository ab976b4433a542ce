"""Export the base, where it was trained here, and every checkpoint."""

from pathlib import Path

from ...core.checkpoint import CHECKPOINTS
from ...core.manifest import renew
from ...training.run.folder import checkpoints, iteration
from ..hf_models import exported_steps
from ..whole_run import WholeRun, base_folder
from .beside_step import work_beside


def export_name(checkpoint: Path) -> str:
    """The name of a checkpoint's Hugging Face folder."""
    return f"cpt-{iteration(checkpoint):05d}"


def exported_folders(whole: WholeRun) -> list[Path]:
    """The checkpoints' Hugging Face folders, oldest first; those of checkpoints that training has removed, too."""
    steps = {iteration(path): whole.hf / export_name(path) for path in checkpoints(whole.out / "cpt")}
    steps |= {step: folder for folder, step in exported_steps(whole.hf, "cpt-")}
    return [steps[step] for step in sorted(steps)]


def export_models(whole: WholeRun) -> None:
    """Export the checkpoints: in a chain beside training, as each appears; in one process after it.

    There, export and ranks would share the machine and its memory.
    """

    def work(last: bool) -> None:
        (_export_all if last else _export_new)(whole)

    work_beside(whole, "cpt", work)


def _export_new(whole: WholeRun) -> None:
    """Export the checkpoints whose hashes are written."""
    from ...conversion.follow import follow

    training = whole.out / "cpt"
    if (training / CHECKPOINTS).is_dir():
        follow(training, whole.hf, once=True, name=export_name, verify=whole.verify)


def _export_all(whole: WholeRun) -> None:
    """Export what is not exported yet, and again a checkpoint that training has written again."""
    from ...conversion.convert import export_hf

    if whole.base is None:
        export_hf(whole.out / "base" / CHECKPOINTS, base_folder(whole), verify=whole.verify)
    for checkpoint in checkpoints(whole.out / "cpt"):
        folder = whole.hf / export_name(checkpoint)
        renew(folder, lambda _, each=checkpoint, out=folder: export_hf(each, out, verify=whole.verify))
