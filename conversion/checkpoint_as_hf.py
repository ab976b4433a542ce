"""A Megatron checkpoint under Hugging Face's names and shapes, whose rows are read on demand."""

from pathlib import Path

import torch

from ..core.checkpoint import HASHES_FILE, read_provenance
from ..core.errors import UserError, nearest
from ..core.hf.weights import DTYPES, NAMES, Tensor
from ..core.log import counted
from ..core.qwen3 import Qwen3Config, hf_shapes
from .distcp_read import Checkpoint, find
from .master_weights import BUCKETS, Masters
from .settings import settings_of
from .tensor_names import EMBEDDING, HEAD, megatron_shapes, places

PARAMETERS, MASTER = "parameters", "master"
SOURCES = {PARAMETERS: "", MASTER: "optimizer.state.param."}
"""Source that weights are read from -> prefix of its tensors' names in a checkpoint."""


class Unfolded:
    """A checkpoint's weights under the names of Hugging Face.

    Attributes:
        checkpoint: the checkpoint that they are read from.
        shape: shape of the model.
        dtype: type of the rows that `rows` returns.
        tensors: name -> type and shape, in the order of Hugging Face's files.
    """

    def __init__(
        self, checkpoint: Checkpoint, shape: Qwen3Config, source: str = PARAMETERS, dtype: torch.dtype | None = None
    ) -> None:
        """Check that all weights are there, with the model's shapes, and all of the same type.

        Raises:
            UserError: they are not, or there is no such source.
        """
        if source not in SOURCES:
            raise UserError(f"there are no weights called {source!r}", allowed=", ".join(SOURCES), where="--from")
        self.checkpoint, self.shape = checkpoint, shape
        self._masters = _buckets(checkpoint, shape) if source == MASTER else None
        self._prefix = SOURCES[source] if self._masters is None else ""
        stored = self._check()
        if self._masters is not None:
            stored = torch.float32
        self.dtype = stored if dtype is None else dtype
        spelled = next(name for name, value in DTYPES.items() if value == self.dtype)
        self.tensors = {name: Tensor(spelled, size) for name, size in hf_shapes(shape).items()}
        self._places = places(shape)

    def rows(self, name: str, begin: int, end: int) -> torch.Tensor:
        """Read rows of a tensor: as a view of the checkpoint's file if they lie there in one piece, in the same type.

        Args:
            name: Hugging Face's name.
            begin: the first row.
            end: the row after the last.

        Raises:
            UserError: the checkpoint's chunks do not fill the rows, or a value is too large for FP16.
        """
        place, first, parts = self._places[name], 0, []
        for start, count in place.rows:
            low, high = max(begin, first), min(end, first + count)
            if low < high:
                parts.append(self._region(place.name, place.layer, start + low - first, high - low))
            first += count
        stored = parts[0] if len(parts) == 1 else torch.cat(parts)
        converted = stored.to(self.dtype)
        if self.dtype == torch.float16 and bool((converted.isinf() & stored.isfinite()).any()):
            raise UserError(
                f"{name} has values that are too large for FP16 (above 65,504)",
                where=str(self.checkpoint.folder),
                fix="export as bfloat16 or float32",
            )
        return converted

    def _region(self, name: str, layer: int | None, begin: int, count: int) -> torch.Tensor:
        if self._masters is None:
            return self._stored(self._prefix + name, layer, begin, count)
        parameters = self._stored(name, layer, begin, count)
        masters = self._masters.region(name, layer, begin, count).view(parameters.shape)
        self._masters.check(masters, parameters)
        return masters

    def _stored(self, name: str, layer: int | None, begin: int, count: int) -> torch.Tensor:
        size = tuple(self.checkpoint.entries[name].size)
        if layer is None:
            return self.checkpoint.region(name, (begin, *(0,) * (len(size) - 1)), (count, *size[1:]))
        rest = (0,) * (len(size) - 2)
        return self.checkpoint.region(name, (layer, begin, *rest), (1, count, *size[2:])).squeeze(0)

    def _check(self) -> torch.dtype:
        """Compare names, shapes and types with the model's."""
        folder, entries = self.checkpoint.folder, self.checkpoint.entries
        expected = {self._prefix + name: size for name, size in megatron_shapes(self.shape).items()}
        missing = [name for name in expected if name not in entries]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise UserError(f"the checkpoint has no tensor {', '.join(missing[:5])}{more}", where=str(folder))
        for name, size in expected.items():
            stored = tuple(entries[name].size)
            # Megatron pads the vocabulary if TP does not divide it; rows beyond the configuration's are left out.
            padded = name.removeprefix(self._prefix) in (EMBEDDING, HEAD) and stored[0] >= size[0]
            if stored[padded:] != size[padded:]:
                raise UserError(
                    f"{name} has the shape {stored} in the checkpoint, and {size} by the configuration",
                    where=str(folder),
                )
        types = {self.checkpoint.dtype(name) for name in expected}
        if len(types) > 1 or not types <= set(NAMES):
            spelled = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in types))
            raise UserError(
                f"the checkpoint's weights are of {counted(len(types), 'type')}: {spelled}",
                where=str(folder),
                allowed=f"all of one type: {', '.join(NAMES.values())}",
            )
        return types.pop()


def _buckets(checkpoint: Checkpoint, shape: Qwen3Config) -> Masters | None:
    """Master weights that are stored in buckets; None if they are stored tensor by tensor.

    Raises:
        UserError: there are no master weights, or nothing says how the buckets were made.
    """
    if any(name.startswith(SOURCES[MASTER]) for name in checkpoint.entries):
        return None
    folder = checkpoint.folder
    if not any(name.startswith(BUCKETS) for name in checkpoint.entries):
        raise UserError(
            f"{folder.name} has no optimizer state, and so no master weights",
            where=str(folder),
            allowed="--from parameters",
        )
    provenance = read_provenance(folder)
    if provenance is None or not {"recipe", "device"} <= provenance.values.keys():
        raise UserError(
            f"{folder.name} was saved with checkpoint.reshardable=false, and has no {HASHES_FILE} "
            "that says how the model was split",
            where=str(folder / HASHES_FILE),
            allowed="--from parameters, or a checkpoint of `pdapt train`",
        )
    return Masters(checkpoint, shape, provenance)


def open_checkpoint(
    checkpoint: Path, reference: Path | None = None, *, source: str = PARAMETERS, dtype: str | None = None
) -> Unfolded:
    """Open a checkpoint under Hugging Face's names and shapes.

    Args:
        checkpoint: one checkpoint's folder, or a root (then its newest).
        reference: see `settings_of`.
        source: a key of `SOURCES`.
        dtype: type of the rows, in config.json's spelling; None for the source's.

    Raises:
        UserError: there is no such checkpoint, configuration, source or type, or the checkpoint does not hold the
            model's weights.
    """
    types = {name: value for value, name in NAMES.items()}
    if dtype is not None and dtype not in types:
        raise UserError(
            f"weights cannot be written as {dtype!r}",
            where="--dtype",
            allowed=", ".join(types),
            fix=nearest(dtype, list(types)),
        )
    folder = find(checkpoint)
    shape = settings_of(folder, reference).shape
    return Unfolded(Checkpoint(folder), shape, source, None if dtype is None else types[dtype])
