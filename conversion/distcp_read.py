"""Reader of Megatron's `torch_dist` checkpoints (PyTorch's distributed checkpoints, DCP), without Megatron."""

import math
from pathlib import Path

import torch

from ..core.checkpoint import RELEASE, newest
from ..core.dcp import METADATA, Chunk, read_metadata
from ..core.errors import UserError
from ..core.files import read_object
from .stored_tensor import map_tensor

BACKEND = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
WRAPPED = "module."
"""Prefix of all names where NeMo 2 has saved them."""
FORMAT = "metadata.json"
"""File that names a checkpoint's format; it is written last."""


def find(checkpoint: Path) -> Path:
    """Find the folder of one checkpoint: the one given, or the newest one under a checkpoint root.

    Raises:
        UserError: there is none, or it has another format.
    """
    folder = newest(checkpoint) or checkpoint
    if (folder / METADATA).is_file() and not (folder / FORMAT).is_file():
        raise UserError(
            f"{folder.name} has no {FORMAT}: it was saved by Megatron-FSDP, in its own format (fsdp_dtensor), or the "
            "file was lost",
            where=str(folder),
            allowed="torch_dist",
            fix="only a run without parallel.fsdp can be exported",
        )
    if not (folder / METADATA).is_file() or not (folder / FORMAT).is_file():
        missing = METADATA if not (folder / METADATA).is_file() else FORMAT
        raise UserError(
            f"not a Megatron checkpoint: {checkpoint}",
            where=f"{folder}, which has no {missing}",
            allowed=f"a torch_dist checkpoint folder (iter_…, {RELEASE}), or the folder of a run's checkpoints",
            fix="convert Megatron's older format (mp_rank_…) with Megatron itself: --ckpt-convert-format torch_dist"
            if any(folder.glob("mp_rank_*"))
            else "",
        )
    backend = read_object(folder / FORMAT).values.get("sharded_backend")
    if backend != BACKEND["sharded_backend"]:
        raise UserError(f"the checkpoint's format is {backend!r}", where=str(folder), allowed="torch_dist")
    return folder


class Checkpoint:
    """The tensors of one checkpoint, put together from the chunks of all ranks that wrote it.

    Attributes:
        folder: the checkpoint's folder.
        entries: name -> size, dtype and chunks of each tensor.
    """

    def __init__(self, folder: Path) -> None:
        """Read `.metadata`.

        Raises:
            UserError: it is missing or damaged, refers to objects that do not belong there, or names files outside the
                folder.
        """
        metadata = read_metadata(folder)
        self.folder = folder
        # Under the names that the other trainers give them; those of the optimizer's state have the prefix within.
        self.entries = {name.replace(WRAPPED, "", 1): entry for name, entry in metadata.tensors.items()}
        self._stored = {
            (name.replace(WRAPPED, "", 1), begin): place for (name, begin), place in metadata.stored.items()
        }
        self._maps: dict[tuple[str, tuple[int, ...]], torch.Tensor] = {}
        for stored in self._stored.values():
            if Path(stored.file).name != stored.file:
                raise UserError(f"the checkpoint names a file outside its folder: {stored.file}", where=str(folder))
            if stored.transforms:
                raise UserError(
                    f"the checkpoint is stored with {', '.join(stored.transforms)}",
                    where=str(folder),
                    allowed="torch_dist without extensions",
                )

    def read(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Read whole tensors."""
        return {name: self.region(name, (0,) * len(self.entries[name].size), self.entries[name].size) for name in names}

    def region(self, name: str, begin: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
        """Read a part of a tensor: as a view of the file if one chunk holds it, else put together from several.

        Args:
            name: the tensor's.
            begin: first index in each dimension.
            size: sizes of the part.

        Raises:
            UserError: the chunks do not fill it.
        """
        parts: list[tuple[tuple[slice, ...], torch.Tensor]] = []
        for chunk in self.entries[name].chunks:
            common = [
                (max(b, c), min(b + s, c + cs))
                for b, s, c, cs in zip(begin, size, chunk.offsets, chunk.sizes, strict=True)
            ]
            if any(low >= high for low, high in common):
                continue
            part = self._map(name, chunk)[
                tuple(slice(a - c, z - c) for (a, z), c in zip(common, chunk.offsets, strict=True))
            ]
            if part.shape == torch.Size(size):
                return part
            parts.append((tuple(slice(a - b, z - b) for (a, z), b in zip(common, begin, strict=True)), part))
        # Checked before memory is allocated: a size that no file confirms may be anything.
        if not parts or sum(part.numel() for _, part in parts) != math.prod(size):
            raise UserError(f"the checkpoint's chunks do not fill {name}", where=str(self.folder))
        whole = torch.empty(size, dtype=parts[0][1].dtype)
        for place, part in parts:
            whole[place] = part
        return whole

    def dtype(self, name: str) -> torch.dtype:
        """The type of a tensor."""
        return getattr(torch, self.entries[name].dtype)

    def _map(self, name: str, chunk: Chunk) -> torch.Tensor:
        key = (name, chunk.offsets)
        if key not in self._maps:
            if key not in self._stored:
                raise UserError(f"the checkpoint's .metadata does not say where {name} is", where=str(self.folder))
            stored = self._stored[key]
            path = self.folder / stored.file
            if not path.is_file():
                raise UserError(f"{stored.file} is missing", where=str(path), fix="take another checkpoint")
            tensor = map_tensor(path, stored.offset, stored.length)
            if tensor.shape != chunk.sizes or tensor.dtype != self.dtype(name):
                raise UserError(
                    f"a chunk of {name} is {tensor.dtype} {tuple(tensor.shape)}, .metadata says "
                    f"{self.dtype(name)} {chunk.sizes}",
                    where=str(path),
                )
            self._maps[key] = tensor
        return self._maps[key]
