"""The `.metadata` of PyTorch's distributed checkpoints (DCP), read without running what it names."""

import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .errors import UserError
from .files import read_bytes
from .jsonio import INT64_MAX

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import Metadata

METADATA = ".metadata"
# What the pickled `.metadata` of a DCP checkpoint is made of. Nothing else is unpickled.
_ALLOWED = {
    "pathlib": {"PosixPath"},
    "torch": {"Size", "bfloat16", "float16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.planner": {
        "BytesIOWriteData",
        "SavePlan",
        "TensorWriteData",
        "WriteItem",
        "WriteItemType",
    },
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
"""What an unpickler, and the constructors that it calls, raise on damaged bytes."""


class _Unpickler(pickle.Unpickler):
    """Refuses every class that a DCP `.metadata` has no use for."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        raise UserError(f"the checkpoint's .metadata asks for {module}.{name}, which is not part of one: refused")


def read_metadata(folder: Path) -> "Metadata":
    """Read a checkpoint's `.metadata`.

    Raises:
        UserError: it is missing, not whole, or holds something else.
    """
    path = folder / METADATA
    if not path.is_file():
        raise UserError("the checkpoint has no .metadata", where=str(path))
    data = read_bytes(path)
    try:
        check_memo(data)
        metadata = _Unpickler(io.BytesIO(data)).load()
        _check(metadata)
    except UserError as error:
        raise UserError(error.what, where=str(path), allowed=error.allowed, mend=error.mend) from None
    except DAMAGED as error:
        raise UserError(f"the checkpoint's .metadata is not whole: {error}", where=str(path)) from None
    return metadata


def check_memo(data: bytes) -> None:
    """Check that no instruction of a pickle asks for more memory than its bytes account for.

    An unpickler makes room for every number up to the one under which a value is to be remembered: 5 bytes take 64 GB.
    """
    for instruction, argument, _ in pickletools.genops(data):
        if instruction.name in _REMEMBER and cast(int, argument) > len(data):
            raise ValueError(f"a value is numbered {argument}")


def _check(metadata: Any) -> None:
    """Check that what was unpickled has the parts of a checkpoint's metadata, of their types, with sizes from 0."""
    from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

    if not isinstance(metadata, Metadata):
        raise UserError(f"the checkpoint's .metadata holds a {type(metadata).__name__}")
    for name, entry in metadata.state_dict_metadata.items():
        if not isinstance(name, str):
            raise TypeError(f"a tensor is called {name!r:.40}")
        if isinstance(entry, TensorStorageMetadata):
            _check_tensor(name, entry)
    for index, info in (metadata.storage_data or {}).items():
        _check_storage(index, info)


def _check_tensor(name: str, entry: Any) -> None:
    import torch

    sizes = [entry.size, *(part for chunk in entry.chunks for part in (chunk.offsets, chunk.sizes))]
    if not isinstance(entry.properties.dtype, torch.dtype):
        raise TypeError(f"{name} has no type")
    for size in sizes:
        if not isinstance(size, tuple) or len(size) != len(entry.size) or min(size, default=0) < 0:
            raise ValueError(f"{name} has a part of size or offset {tuple(size)}")


def _check_storage(index: Any, info: Any) -> None:
    from torch.distributed.checkpoint.metadata import MetadataIndex

    if not isinstance(index, MetadataIndex) or not isinstance(info.relative_path, str):
        raise TypeError("a chunk's place is not one")
    for value in (info.offset, info.length):
        if not isinstance(value, int) or not 0 <= value <= INT64_MAX:
            raise ValueError(f"{index.fqn} is at byte {info.offset} of {info.relative_path}, {info.length} long")


def shortened(folder: Path) -> str:
    """Which of a checkpoint's files is missing or shorter than its `.metadata` says; empty where none is.

    Raises:
        UserError: the `.metadata` cannot be read.
    """
    ends: dict[str, int] = {}
    for info in (read_metadata(folder).storage_data or {}).values():
        ends[info.relative_path] = max(ends.get(info.relative_path, 0), info.offset + info.length)
    for name, end in sorted(ends.items()):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size < end:
            return f"{name} has {path.stat().st_size} of {end} bytes"
    return ""
