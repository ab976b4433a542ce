"""The `.metadata` of PyTorch's distributed checkpoints (DCP), read without running what it names."""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

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
    from torch.distributed.checkpoint.metadata import Metadata

    path = folder / METADATA
    try:
        with path.open("rb") as file:
            metadata = _Unpickler(file).load()
    except FileNotFoundError:
        raise UserError("the checkpoint has no .metadata", where=str(path)) from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise UserError(f"the checkpoint's .metadata is not whole: {error}", where=str(path)) from None
    if not isinstance(metadata, Metadata):
        raise UserError(f"the checkpoint's .metadata holds a {type(metadata).__name__}", where=str(path))
    return metadata


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
