"""Writes weights as a checkpoint that a Megatron run can start from, with torch's own writer, one part at a time."""

import hashlib
import io
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import create_default_global_save_plan
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import (
    BytesIOWriteData,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import WriteResult

from ..core.checkpoint import NEMO2, RELEASE, TRACKER
from ..core.files import atomic_path, write_json, write_text
from ..core.system.disk import begin_flush
from .distcp_read import BACKEND, FORMAT, WRAPPED

COMMON = "common.pt"
THREADS = 2
"""How many files are written at a time: while one waits for the disk, another is put together."""
BLOCK = 4 * 2**20
"""Bytes that are hashed and written at once."""
FLUSH_BYTES = 32 * 2**20
"""Number of bytes after which the disk begins to write them."""


@dataclass(frozen=True)
class Part:
    """A part of a tensor, made when it is written.

    Attributes:
        name: the tensor's name in Megatron.
        whole: sizes of the tensor.
        begin: the part's first index in each dimension.
        size: the part's sizes.
        make: returns the part's values.
    """

    name: str
    whole: tuple[int, ...]
    begin: tuple[int, ...]
    size: tuple[int, ...]
    make: Callable[[], torch.Tensor]


def write(
    root: Path, parts: list[Part], dtype: torch.dtype, empty_states: list[str], *, nemo2: bool = False
) -> dict[str, str]:
    """Write a checkpoint of weights.

    Args:
        root: the checkpoint root; the weights go to its `release` folder.
        parts: parts that fill their tensors.
        dtype: type of all parts.
        empty_states: names of the extra states that Megatron's layers expect and leave empty.
        nemo2: write as NeMo 2 does: to the folder `weights`, all names with its prefix.

    Returns:
        SHA-256 of the files that hold the values, by their path under `root`.
    """
    folder = root / (NEMO2 if nemo2 else RELEASE)
    if nemo2:
        parts = [replace(part, name=WRAPPED + part.name) for part in parts]
        empty_states = [WRAPPED + name for name in empty_states]
    objects = {name: _object(None) for name in empty_states}
    # What Megatron keeps beside the tensors. There are no arguments: a run that starts from weights has its own.
    objects["common_state/shard_0_1"] = _object({"checkpoint_version": 3.0, "iteration": 0})
    writer = _Writer(folder, single_file_per_rank=False, sync_files=False, thread_count=THREADS)
    files = _HashingFiles()
    writer.fs = files
    with warnings.catch_warnings():
        # torch warns that one process writes everything, although that is what it was asked to do.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        save({}, storage_writer=writer, planner=_Planner(parts, dtype, objects), no_dist=True)
    write_json(folder / FORMAT, BACKEND)
    if nemo2:
        _write_no_common_state(folder)
    else:
        write_text(root / TRACKER, RELEASE)
    return {str(path.relative_to(root)): value.hexdigest() for path, value in files.hashes.items()}


def _write_no_common_state(folder: Path) -> None:
    """Write the file of what is not sharded, which Megatron-Core until 0.15 asks for: there is nothing."""
    with atomic_path(folder / COMMON) as partial:
        torch.save({}, partial)


def _object(value: Any) -> io.BytesIO:
    """Store an object that is not a tensor as Megatron does: a saved list of one element."""
    buffer = io.BytesIO()
    torch.save([value], buffer)
    buffer.seek(0)
    return buffer


class _Planner(SavePlanner):
    """Planner that plans for torch's writer what to write before any of it exists."""

    def __init__(self, parts: list[Part], dtype: torch.dtype, objects: dict[str, io.BytesIO]) -> None:
        self.parts = {MetadataIndex(part.name, torch.Size(part.begin)): part for part in parts}
        self.dtype, self.objects = dtype, objects

    def set_up_planner(
        self, state_dict: Any, storage_meta: StorageMeta | None = None, is_coordinator: bool = False
    ) -> None:
        """Do nothing: the state is empty."""

    def create_local_plan(self) -> SavePlan:
        tensors = [
            WriteItem(index, WriteItemType.SHARD, tensor_data=self._tensor_data(part))
            for index, part in self.parts.items()
        ]
        objects = [
            WriteItem(
                MetadataIndex(name), WriteItemType.BYTE_IO, bytes_io_data=BytesIOWriteData(len(value.getbuffer()))
            )
            for name, value in self.objects.items()
        ]
        return SavePlan([*tensors, *objects])

    def _tensor_data(self, part: Part) -> TensorWriteData:
        chunk = ChunkStorageMetadata(torch.Size(part.begin), torch.Size(part.size))
        return TensorWriteData(chunk, TensorProperties(dtype=self.dtype), torch.Size(part.whole))

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        return create_default_global_save_plan(all_plans)

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        return new_plan

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor | io.BytesIO:
        if write_item.type == WriteItemType.BYTE_IO:
            return self.objects[write_item.index.fqn]
        assert write_item.index.offset is not None, "a part has a place"
        part = self.parts[MetadataIndex(write_item.index.fqn, write_item.index.offset)]
        return part.make().view(part.size)


class _Writer(FileSystemWriter):
    """torch's writer, with a `.metadata` that says only what was written: neither where, nor by which thread."""

    def storage_meta(self) -> StorageMeta | None:
        """Return nothing: torch would put the folder's path and a random number here, which no reader needs."""
        return None

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        super().finish(metadata, [sorted(written, key=_place) for written in results])


def _place(result: WriteResult) -> tuple[str, tuple[int, ...]]:
    return result.index.fqn, tuple(result.index.offset or ())


class _HashingFiles(FileSystem):
    """Files whose bytes are hashed as they are written, so that they need not be read again."""

    def __init__(self) -> None:
        self.hashes: dict[Path, Any] = {}

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Generator[io.IOBase, None, None]:
        if mode != "wb":
            with super().create_stream(path, mode) as stream:
                yield stream
            return
        digest = self.hashes[Path(path)] = hashlib.sha256()
        with Path(path).open(mode) as file:
            stream = _Hashing(file, digest)
            yield stream
            stream.begin_flush()


class _Hashing(io.RawIOBase):
    """A file and the hash of its bytes; the disk begins to write while more bytes arrive."""

    def __init__(self, file: Any, digest: Any) -> None:
        self.file, self.digest, self.flushed = file, digest, 0

    def write(self, values: Any) -> int:
        """Hash and write a block at a time, so that it is written from the core's cache."""
        values = memoryview(values).cast("B")
        for begin in range(0, len(values), BLOCK):
            block = values[begin : begin + BLOCK]
            self.digest.update(block)
            self.file.write(block)
            if self.tell() - self.flushed >= FLUSH_BYTES:
                self.begin_flush()
        return len(values)

    def begin_flush(self) -> None:
        self.file.flush()
        begin_flush(self.file.fileno(), self.flushed)
        self.flushed = self.tell()

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        self.file.flush()
