"""Models as Hugging Face folders, wherever they come from."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..core.checkpoint import RELEASE, newest
from ..merge.factors import point_name

if TYPE_CHECKING:
    from ..eval.models import Model

EXPORTS = ".hf"
"""Folder of exported checkpoints in a folder of results, whose own names never begin with a point."""
TASKS = ".tasks"
"""Folder there of held-out text as lm-eval's tasks."""
MERGES_FOLDER, CHOICE, CURVE = "merges", "choice", "curve"
"""Folders of a run of all stages: the merges of a sweep, the choice of one of them, and in it the trade-off."""


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


def exported_steps(parent: Path, prefix: str) -> list[tuple[Path, int]]:
    """Folders that are called by a prefix and a step, and that step; no other prefix that begins alike is one."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,10})", re.ASCII)
    named = ((path, pattern.fullmatch(path.name)) for path in sorted(parent.glob("*")))
    return [(path, int(match[1])) for path, match in named if match]


def merged_model(run: Path, points: list[float]) -> "Model | None":
    """The merged model of a run of all stages: the only one, or that which the rule has chosen.

    Args:
        run: the run's folder.
        points: t of each merge.

    Returns:
        None where the rule has chosen the base or the last checkpoint.

    Raises:
        UserError: several points, and the choice is missing or damaged.
    """
    from ..eval.models import Model, Role

    if len(points) == 1:
        return Model("merged", Role.MERGED, run / "hf" / "merged")
    from ..eval.statistics.tradeoff import Tradeoff

    proposed = Tradeoff.read(run / CHOICE / CURVE).proposed
    chosen = proposed in map(point_name, points)
    return Model(proposed, Role.MERGED, run / MERGES_FOLDER / proposed) if chosen else None
