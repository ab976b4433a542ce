"""Models as Hugging Face folders, wherever they come from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..core.checkpoint import RELEASE, newest

EXPORTS = ".hf"
"""Folder of exported checkpoints in a folder of results, whose own names never begin with a point."""
TASKS = ".tasks"
"""Folder there of held-out text as lm-eval's tasks."""


@contextmanager
def exported(models: list[Path], out: Path, *, verify: bool = True) -> Iterator[list[Path]]:
    """Give models as Hugging Face folders; those that are made for it are removed at the end.

    Args:
        models: see `as_hf`.
        out: what is made of them; the exports lie on its disk meanwhile.
        verify: as of `export_hf`.

    Raises:
        UserError: see `as_hf`.
    """
    if not any(map(is_checkpoint, models)):
        yield models
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.hf-", dir=out.parent) as folder:
        yield [as_hf(model, Path(folder) / str(number), verify=verify) for number, model in enumerate(models)]


def as_hf(model: Path, exports: Path, *, verify: bool = True) -> Path:
    """A model's Hugging Face folder; a Megatron checkpoint (or a root: its newest) is exported first.

    Args:
        model: the one or the other.
        exports: folder where the export is kept, under the checkpoint's name.
        verify: as of `export_hf`.

    Raises:
        UserError: it is neither, or cannot be exported.
    """
    if not is_checkpoint(model):
        return model
    from ..conversion.convert import export_hf

    checkpoint = newest(model) or model
    export_hf(checkpoint, exports / checkpoint.name, verify=verify)
    return exports / checkpoint.name


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a Megatron checkpoint, or a root of such."""
    return newest(path) is not None or (path / ".metadata").is_file() or path.name == RELEASE
