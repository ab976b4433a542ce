"""The `.metadata` of PyTorch's distributed checkpoints (DCP), read without running the code that it names."""

import io
import pickle
import pickletools
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .errors import UserError
from .files import read_bytes
from .jsonio import INT64_MAX

METADATA = ".metadata"
OPTIMIZER = "optimizer."
"""Prefix of the optimizer's entries in a checkpoint, however it was saved."""
Shape = tuple[int, ...]
Span = tuple[int, int]
"""First byte of a file's part, and the byte after its last."""


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor that one rank wrote: its first index in each dimension, and its sizes."""

    offsets: Shape
    sizes: Shape


@dataclass(frozen=True)
class TensorEntry:
    """A tensor as `.metadata` describes it.

    Attributes:
        size: sizes of the whole tensor.
        dtype: torch's name of its type, for instance `bfloat16`.
        chunks: the chunks in which it was saved.
    """

    size: Shape
    dtype: str
    chunks: list[Chunk]


@dataclass(frozen=True)
class StoredBytes:
    """The place of a chunk, or of an object that is not a tensor.

    Attributes:
        file: name of the file, or whatever the `.metadata` has in its place.
        offset, length: position and length in the file, in bytes.
        transforms: names of extensions that have changed the bytes.
    """

    file: str
    offset: int
    length: int
    transforms: tuple[str, ...]


@dataclass(frozen=True)
class Metadata:
    """A checkpoint's `.metadata`.

    Attributes:
        tensors: name -> tensor; objects that are not tensors are left out.
        stored: (name, first index in each dimension; None for an object) -> its place.
    """

    tensors: dict[str, TensorEntry]
    stored: dict[tuple[str, Shape | None], StoredBytes]


class _Object:
    """Any object of torch: its attributes are what the pickle states."""


class _Properties(_Object):
    """torch's `TensorProperties`, which states its attributes by position."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = state[0]


class _Index(_Object):
    """torch's `MetadataIndex`, the key of what is stored."""

    fqn: Any
    offset: Any = None


class _Metadata(_Object):
    state_dict_metadata: dict[Any, Any]
    storage_data: dict[Any, Any] | None = None


class _Tensor(_Object):
    size: Any
    chunks: Any
    properties: Any


def _constant(*arguments: object) -> None:
    """Stand in for values that no reader of a checkpoint needs: paths, layouts, members of an enum."""
    del arguments


_DTYPES = {"bfloat16", "float16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"}
_METADATA, _PLANNER = "torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.planner"
_MEGATRON = "megatron.core.dist_checkpointing.strategies.torch"
# Class in the pickled `.metadata` of a DCP checkpoint -> its replacement here. Nothing else is unpickled.
_STANDS_FOR: dict[tuple[str, str], Any] = {
    ("pathlib", "PosixPath"): _constant,
    ("torch", "Size"): tuple,
    ("torch.serialization", "_get_layout"): _constant,
    (_METADATA, "Metadata"): _Metadata,
    (_MEGATRON, "MCoreMetadata"): _Metadata,  # Megatron-Core's own until 0.15, which NeMo 2 saves with
    (_MEGATRON, "MCoreSavePlan"): _Object,
    (_METADATA, "MetadataIndex"): _Index,
    (_METADATA, "TensorProperties"): _Properties,
    (_METADATA, "TensorStorageMetadata"): _Tensor,
    (_METADATA, "_MEM_FORMAT_ENCODING"): _constant,
    (_PLANNER, "WriteItemType"): _constant,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _Object,
    **{(_METADATA, name): _Object for name in ("BytesStorageMetadata", "ChunkStorageMetadata", "StorageMeta")},
    **{(_PLANNER, name): _Object for name in ("BytesIOWriteData", "SavePlan", "TensorWriteData", "WriteItem")},
    **{("torch", name): name for name in _DTYPES},
}
_REMEMBER = ("PUT", "BINPUT", "LONG_BINPUT")
DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that an unpickler, and the constructors that it calls, raise on damaged bytes."""


class _Unpickler(pickle.Unpickler):
    """Unpickler that refuses every class a DCP `.metadata` does not need, and replaces the others, without torch."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STANDS_FOR:
            raise UserError(
                f"the checkpoint's .metadata refers to {module}.{name}, which does not belong there: refused"
            )
        return _STANDS_FOR[module, name]


def read_metadata(folder: Path) -> Metadata:
    """Read a checkpoint's `.metadata`.

    Raises:
        UserError: it is missing or damaged, or holds something else.
    """
    path = folder / METADATA
    if not path.is_file():
        raise UserError("the checkpoint has no .metadata", where=str(path))
    data = read_bytes(path)
    try:
        check_memo(data)
        return _metadata(_Unpickler(io.BytesIO(data)).load())
    except UserError as error:
        raise UserError(error.what, where=str(path), allowed=error.allowed, fix=error.fix) from None
    except DAMAGED as error:
        raise UserError(f"the checkpoint's .metadata is damaged: {error}", where=str(path)) from None


def check_memo(data: bytes) -> None:
    """Check that no instruction of a pickle claims more memory than its own bytes justify.

    An unpickler allocates memory for all numbers up to the one under which a value is to be stored: 5 bytes can claim
    64 GB.
    """
    for instruction, argument, _ in pickletools.genops(data):
        if instruction.name in _REMEMBER and cast(int, argument) > len(data):
            raise ValueError(f"a value is numbered {argument}")


def _metadata(loaded: Any) -> Metadata:
    """Convert an unpickled `.metadata`, checking that it has all parts and no negative sizes."""
    if not isinstance(loaded, _Metadata):
        raise UserError(
            f"the checkpoint's .metadata holds a {type(loaded).__name__.lstrip('_')}, not metadata of tensors"
        )
    tensors: dict[str, TensorEntry] = {}
    for name, entry in loaded.state_dict_metadata.items():
        if not isinstance(name, str):
            raise TypeError(f"a tensor is called {name!r:.40}")
        if isinstance(entry, _Tensor):
            tensors[name] = _tensor(name, entry)
    return Metadata(tensors, dict(_stored(index, info) for index, info in (loaded.storage_data or {}).items()))


def _tensor(name: str, entry: _Tensor) -> TensorEntry:
    dtype, size = entry.properties.dtype, entry.size
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise TypeError(f"{name} has no type")
    chunks = [Chunk(chunk.offsets, chunk.sizes) for chunk in entry.chunks]
    for each in (size, *(part for chunk in chunks for part in (chunk.offsets, chunk.sizes))):
        if not isinstance(each, tuple) or len(each) != len(size) or not all(isinstance(number, int) for number in each):
            raise TypeError(f"{name} has a part whose size is not one")
        if min(each, default=0) < 0:
            raise ValueError(f"{name} has a part of size or offset {each}")
    return TensorEntry(size, dtype, chunks)


def _stored(index: Any, info: Any) -> tuple[tuple[str, Shape | None], StoredBytes]:
    if not isinstance(index, _Index) or not isinstance(index.fqn, str) or not isinstance(info.relative_path, str):
        raise TypeError("a chunk's place is not one")
    for value in (info.offset, info.length):
        if not isinstance(value, int) or not 0 <= value <= INT64_MAX:
            raise ValueError(f"{index.fqn} is at byte {info.offset} of {info.relative_path}, {info.length} long")
    transforms = tuple(str(name) for name in getattr(info, "transform_descriptors", None) or ())
    key = index.fqn, None if index.offset is None else tuple(index.offset)
    return key, StoredBytes(info.relative_path, info.offset, info.length, transforms)


def weight_spans(folder: Path) -> dict[str, list[Span]]:
    """Map each file to its parts that are not the optimizer's state, in order and without adjacent parts.

    Every file that `.metadata` names is a key; a file with only the optimizer's state has no parts.

    Raises:
        UserError: the `.metadata` cannot be read.
    """
    spans: dict[str, list[Span]] = {}
    for (name, _), stored in read_metadata(folder).stored.items():
        of_file = spans.setdefault(stored.file, [])
        if not name.startswith(OPTIMIZER):
            of_file.append((stored.offset, stored.offset + stored.length))
    return {file: _joined(of_file) for file, of_file in sorted(spans.items())}


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Join spans that touch or overlap, so that no byte is in two of them."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def shortened(folder: Path) -> str:
    """Describe a checkpoint's file that is missing or shorter than `.metadata` says; empty if there is none.

    Raises:
        UserError: the `.metadata` cannot be read.
    """
    ends: dict[str, int] = {}
    for stored in read_metadata(folder).stored.values():
        ends[stored.file] = max(ends.get(stored.file, 0), stored.offset + stored.length)
    for name, end in sorted(ends.items()):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size < end:
            return f"{name} has {path.stat().st_size} of {end} bytes"
    return ""
