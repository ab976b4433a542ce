"""Megatron's `torch_dist` checkpoints are PyTorch's distributed ones (DCP): read and written without Megatron."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

from ..core.checkpoint import RELEASE, TRACKER, newest
from ..core.dcp import METADATA, read_metadata
from ..core.errors import UserError
from ..core.files import read_json, write_json, write_text

BACKEND = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}


class Reader(FileSystemReader):
    """torch's reader, with a `.metadata` that cannot run code."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read `.metadata`."""
        del args, kwargs
        metadata = read_metadata(Path(self.path))
        if metadata.storage_meta is not None:
            metadata.storage_meta.load_id = self.load_id
        return metadata


@contextmanager
def _alone() -> Iterator[None]:
    """One process reads or writes the whole, which torch warns of although it is told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def find(checkpoint: Path) -> Path:
    """The folder of one checkpoint: the one given, or the newest one under a checkpoint root.

    Raises:
        UserError: there is none, or it is another format.
    """
    folder = newest(checkpoint) or checkpoint
    if (folder / METADATA).is_file() and not (folder / "metadata.json").is_file():
        raise UserError(
            f"the checkpoint was saved by Megatron-FSDP, in its own format (fsdp_dtensor): {folder.name}",
            where=str(folder),
            allowed="torch_dist",
            mend="only a run without parallel.fsdp can be exported",
        )
    if not (folder / METADATA).is_file() or not (folder / "metadata.json").is_file():
        raise UserError(
            f"no Megatron checkpoint: {checkpoint}",
            where=str(folder),
            allowed=f"a torch_dist checkpoint folder (iter_…, {RELEASE}), or the folder of a run's checkpoints",
        )
    backend = read_json(folder / "metadata.json").get("sharded_backend")
    if backend != BACKEND["sharded_backend"]:
        raise UserError(f"the checkpoint's format is {backend!r}", where=str(folder), allowed="torch_dist")
    return folder


class Checkpoint:
    """The tensors of one checkpoint, read a few at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = {
            name: entry
            for name, entry in Reader(folder).read_metadata().state_dict_metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }

    def read(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Read whole tensors, put together from however many ranks wrote them."""
        tensors = {
            name: torch.empty(self.entries[name].size, dtype=self.entries[name].properties.dtype) for name in names
        }
        with _alone():
            dcp_load(tensors, storage_reader=Reader(self.folder), no_dist=True)
        return tensors

    def check(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Compare names and shapes with those a model has.

        Raises:
            UserError: a tensor is missing or has another shape.
        """
        for name, shape in shapes.items():
            if name not in self.entries:
                raise UserError(f"the checkpoint has no tensor {name}", where=str(self.folder))
            if tuple(self.entries[name].size) != shape:
                raise UserError(
                    f"{name} is {tuple(self.entries[name].size)} in the checkpoint, the configuration makes it {shape}",
                    where=str(self.folder),
                )


class _Planner(DefaultSavePlanner):
    """Stores objects as they come: ours are serialised as Megatron serialises them."""

    def transform_object(self, write_item: Any, object: Any) -> Any:
        return object if isinstance(object, io.BytesIO) else super().transform_object(write_item, object)


def write(root: Path, tensors: dict[str, torch.Tensor], empty_states: list[str]) -> None:
    """Write a checkpoint of weights that a Megatron run can start from.

    Args:
        root: the checkpoint root; the weights go to its `release` folder.
        tensors: by Megatron's names, layers stacked.
        empty_states: names of the extra states that Megatron's layers ask for and leave empty.
    """
    folder = root / RELEASE
    state: dict[str, Any] = dict(tensors)
    state |= {name: _object(None) for name in empty_states}
    # What Megatron keeps beside the tensors. No arguments: a run that starts from weights brings its own.
    state["common_state/shard_0_1"] = _object({"checkpoint_version": 3.0, "iteration": 0})
    with _alone():
        dcp_save(state, storage_writer=FileSystemWriter(folder), planner=_Planner(), no_dist=True)
    write_json(folder / "metadata.json", BACKEND)
    write_text(root / TRACKER, RELEASE)


def _object(value: Any) -> io.BytesIO:
    """Something that is no tensor, as Megatron stores it: a saved list of one."""
    buffer = io.BytesIO()
    torch.save([value], buffer)
    buffer.seek(0)
    return buffer
