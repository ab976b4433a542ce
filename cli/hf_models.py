"""Models as Hugging Face folders, wherever they come from."""

from pathlib import Path

from ..core.checkpoint import RELEASE, newest


def as_hf(model: Path, out: Path) -> Path:
    """A model's Hugging Face folder; a Megatron checkpoint (or a root: its newest) is exported first.

    Args:
        model: the one or the other.
        out: what is made of it: the export is kept beside, as `<out>-<checkpoint>`.

    Raises:
        UserError: it is neither, or cannot be exported.
    """
    if not is_checkpoint(model):
        return model
    from ..conversion.convert import export_hf

    checkpoint = newest(model) or model
    folder = out.with_name(f"{out.name}-{checkpoint.name}")
    export_hf(checkpoint, folder)
    return folder


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a Megatron checkpoint, or a root of such."""
    return newest(path) is not None or (path / ".metadata").is_file() or path.name == RELEASE
