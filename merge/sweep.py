"""Many merges of the same two parents, computed in a single reading."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import batched, cycle
from pathlib import Path
from typing import Any

import torch

from ..core import log
from ..core.hf.config import write_settings
from ..core.hf.weights import DTYPES, NAMES, Tensor, Weights
from ..core.hf.writer import AHEAD, Writer
from ..core.integrity import UnchangedFiles, checking, hf_files
from ..core.log import counted
from ..core.manifest import Manifest, check_outside, fingerprint, run_stage
from ..core.system.disk import check_space
from .card import describe
from .factors import Factors, point_name
from .methods import BASE, TUNED, Merge
from .parents import open_parents, parameters, settings_folder, type_of
from .slerp import CHUNK, Angle, buffers, chunks, combine, filled, measure

TOGETHER = 20
"""How many points are written at the same time: each keeps some MB that wait to be hashed and written."""


@dataclass(frozen=True)
class Parents:
    """The two parents, and the measurements of their tensors.

    Attributes:
        base, tuned: their folders' weights.
        tensors: the tensors that both have.
        angles: the angle of each tensor.
        checked: what was compared of their files, for manifests.
        unchanged: their files, to check that they have not changed since the comparison.
    """

    base: Weights
    tuned: Weights
    tensors: dict[str, Tensor]
    angles: dict[str, Angle]
    checked: dict[str, int | None]
    unchanged: UnchangedFiles


def sweep(base: Path, tuned: Path, out: Path, points: Sequence[float], *, verify: bool = True) -> dict[float, Manifest]:
    """SLERP `tuned` into `base` at many t.

    Each point is a stage of its own, `OUT/t<T>`, with the values that `merge(…, method="slerp", t=T)` gives through
    mergekit; `t = 0` and `t = 1` are the parents' bytes. Existing points are not made again, and others can be added to
    `out` later. Both parents are read twice, whatever the number of points: once to check them and to measure each
    tensor's angle before anything is written, and once to write.

    Args:
        base: Hugging Face Qwen3 folder; for configuration and tokenizer see `settings_folder`.
        tuned: another, of the same architecture and tokenizer.
        out: folder of the points' folders.
        points: each from 0 to 1, none twice.
        verify: whether the parents' files are compared with the hashes that were written with them.

    Raises:
        UserError: a point out of range, parents that cannot be merged, hold a NaN or are damaged, too little space, or
            another result at a point's folder; nothing is written then.
    """
    for t in points:
        Factors((t,))
    files = {folder: hf_files(folder) for folder in (base, tuned)}
    unchanged = UnchangedFiles(files)
    models = open_parents([base, tuned], verify=verify)
    check_outside(out, [base, tuned])
    prints = {BASE: fingerprint(base), TUNED: fingerprint(tuned)}
    settings = TUNED if settings_folder([base, tuned]) == tuned else BASE
    stages = [_Point(out, t, prints, settings) for t in points]
    waiting = [stage for stage in stages if not stage.is_made()]
    if waiting:
        tensors = models[0].tensors
        _check_room(waiting, sum(tensor.nbytes for tensor in tensors.values()))
        with checking("sweep", files, verify=verify) as checked:
            angles = _measured(*models)
        parents = Parents(*models, tensors=tensors, angles=angles, checked=checked, unchanged=unchanged)
        log.info(f"sweep: {len(waiting)} of {counted(len(points), 'point')}, {counted(len(tensors), 'tensor')} each")
        for group in batched(waiting, TOGETHER):
            _together(list(group), parents, [])
    return {stage.t: Manifest.read(stage.out) for stage in stages}


class _Point:
    """One point: the stage that makes its folder."""

    def __init__(self, out: Path, t: float, prints: dict[str, str], settings: str) -> None:
        self.t, self.prints, self.settings = t, prints, settings
        self.out = out / point_name(t)
        self.work = out / f".{self.out.name}.partial"
        self.plan = Merge("slerp", Factors((t,)))
        self.hashes: dict[str, str] = {}

    def run(self, body: Callable[[Path], dict[str, Any]]) -> Manifest:
        return run_stage("sweep", self.prints, self.plan.to_json(), out=self.out, body=body, hashes=self.hashes)

    def is_made(self) -> bool:
        """Whether the point has been made.

        Raises:
            UserError: something else is in its place.
        """
        if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
            return False

        def body(_: Path) -> dict[str, Any]:
            raise AssertionError("a stage that is made has nothing to do")

        self.run(body)
        return True


def _check_room(points: list[_Point], size: int) -> None:
    """Refuse a sweep that would fill the disk; the space of what an interrupted run left counts as free."""
    left = sum(path.stat().st_size for point in points for path in point.work.glob("*"))
    check_space(points[0].out.parent, len(points) * size, left=left)


def _measured(base: Weights, tuned: Weights) -> dict[str, Angle]:
    """Measure the angle of each tensor, and check its values at the same time."""
    progress = log.Progress("sweep, measuring", sum(tensor.nbytes for tensor in base.tensors.values()))
    angles = {}
    for name, tensor in base.tensors.items():
        angles[name] = measure(base, tuned, name)
        base.release(name)
        tuned.release(name)
        progress.add(tensor.nbytes)
    return angles


def _together(points: list[_Point], parents: Parents, opened: list[tuple[_Point, Path]]) -> None:
    """Nest the points' stages, and write all points in the innermost; each stage is complete when it is left."""
    if not points:
        _write(opened, parents)
        return
    point, dtype = points[0], type_of(parents.base)

    def body(work: Path) -> dict[str, Any]:
        _together(points[1:], parents, [*opened, (point, work)])
        source = {BASE: parents.base, TUNED: parents.tuned}[point.settings].folder
        write_settings(source, work, NAMES[DTYPES[dtype]])
        describe(point.plan, point.prints, dtype, folder=work, name=point.out.name, settings=point.settings)
        parents.unchanged.check()  # they were read for the second time
        return {"tensors": len(parents.tensors), "parameters": parameters(parents.base)} | parents.checked

    point.run(body)


def _write(opened: list[tuple[_Point, Path]], parents: Parents) -> None:
    outputs = [_Output(point.t, Writer(work, parents.tensors), _rings(parents)) for point, work in opened]
    progress = log.Progress("sweep, writing", sum(output.writer.total for output in outputs))
    floats = buffers(CHUNK, 4)
    for name, tensor in parents.tensors.items():
        for output in outputs:
            output.writer.begin(name)
        _write_tensor(name, parents, outputs, floats)
        parents.base.release(name)
        parents.tuned.release(name)
        progress.add(len(outputs) * tensor.nbytes)
    for (point, _), output in zip(opened, outputs, strict=True):
        point.hashes.update(output.writer.finish())


@dataclass(frozen=True)
class _Output:
    """A point's writer, and the buffers in which pieces wait for it, used in turn."""

    t: float
    writer: Writer
    ring: Iterator[torch.Tensor]


def _rings(parents: Parents) -> Iterator[torch.Tensor]:
    (dtype,) = {DTYPES[tensor.dtype] for tensor in parents.tensors.values()}
    return cycle(buffers(CHUNK, AHEAD + 1, dtype))


def _write_tensor(name: str, parents: Parents, outputs: list[_Output], floats: list[torch.Tensor]) -> None:
    shares = [parents.angles[name].shares(output.t) for output in outputs]
    first, second, *scratch = floats
    for x, y in zip(chunks(parents.base, name), chunks(parents.tuned, name), strict=True):
        wide_x, wide_y = filled(first, x), filled(second, y)
        for output, share in zip(outputs, shares, strict=True):
            if output.t in (0, 1):
                # The parents' own bytes: even -0.0, which a sum with 0 would lose.
                output.writer.add(y if output.t else x)
            else:
                combine(wide_x, wide_y, share, scratch)
                output.writer.add(filled(next(output.ring), scratch[0][: x.numel()]))
