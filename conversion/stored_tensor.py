"""One tensor as torch stores it in a distributed checkpoint, mapped instead of read.

Each chunk of a `.distcp` file is what `torch.save` wrote: an archive without compression that holds the plain values,
and a pickle that says how to read them. An unpickler that accepts only plain tensors reads that pickle.
"""

import io
import math
import mmap
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ..core.dcp import DAMAGED, check_memo
from ..core.errors import UserError
from ..core.system.disk import read_ahead

TYPES = {
    "BFloat16Storage": torch.bfloat16,
    "HalfStorage": torch.float16,
    "FloatStorage": torch.float32,
}
"""Types that weights may have."""
LOCAL_HEADER = 30
"""Bytes of an archive member's header before its name; the lengths of name and extra field end it."""


@dataclass(frozen=True)
class _Described:
    """A tensor as the pickle describes it: the type of its values, and their place in the storage."""

    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def map_tensor(path: Path, offset: int, length: int) -> torch.Tensor:
    """Map a stored tensor.

    Args:
        path: the `.distcp` file.
        offset: where in the file the tensor's archive begins, in bytes.
        length: length of the archive, in bytes.

    Returns:
        The tensor, a view of the mapped file; not to be written to.

    Raises:
        UserError: the file is too short, or holds something else there.
    """
    before = offset % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        if path.stat().st_size < offset + max(length, 1):
            raise UserError(f"{path.name} ends early", where=str(path), fix="take another checkpoint")
        # Copied on write, so that torch does not warn of read-only memory. Nothing writes to it.
        mapped = mmap.mmap(file.fileno(), before + length, access=mmap.ACCESS_COPY, offset=offset - before)
    try:
        described, begin = _find(mapped)
    except UserError:
        raise
    except (zipfile.BadZipFile, *DAMAGED) as error:
        raise UserError(
            f"{path.name} is damaged: at byte {offset} there is no stored tensor ({error})", where=str(path)
        ) from None
    count = math.prod(described.size)
    if begin + count * described.dtype.itemsize > len(mapped):
        raise UserError(f"{path.name} is damaged: the tensor at byte {offset} is cut short", where=str(path))
    if not count:
        return torch.empty(described.size, dtype=described.dtype)
    read_ahead(mapped, begin, begin + count * described.dtype.itemsize)
    return torch.frombuffer(mapped, dtype=described.dtype, count=count, offset=begin).view(described.size)


def _find(mapped: mmap.mmap) -> tuple[_Described, int]:
    """Find the tensor of an archive at the end of mapped bytes, and the offset at which its values begin."""
    # The archive's directory is at its end, so bytes before the archive are skipped.
    with zipfile.ZipFile(cast(Any, mapped)) as archive:
        members = {Path(member.filename).name: member for member in archive.infolist()}
        content = _content(mapped, members["data.pkl"])
        begin = _begin(mapped, members["0"])
    check_memo(content)
    described = _Unpickler(io.BytesIO(content)).load()
    if not isinstance(described, _Described) or described.stride != _contiguous(described, len(mapped)):
        raise TypeError("an object other than a plain tensor")
    return described, begin + described.offset * described.dtype.itemsize


def _contiguous(described: _Described, most: int) -> tuple[int, ...]:
    """Compute the strides of a tensor whose values lie one after the other.

    Args:
        described: a tensor.
        most: number of bytes that exist: no size may be larger, whatever the pickle says.

    Raises:
        ValueError, TypeError: a size or the offset is invalid.
    """
    numbers = (*described.size, *described.stride, described.offset)
    if not isinstance(described.dtype, torch.dtype) or not all(type(number) is int for number in numbers):
        raise TypeError("a size is not a number")
    if not all(0 <= number <= most for number in numbers):
        raise ValueError(f"a size or offset of {numbers}")
    return torch.empty(described.size, device="meta").stride()


def _begin(mapped: mmap.mmap, member: zipfile.ZipInfo) -> int:
    """Find where an archive member's bytes begin."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{member.filename} is compressed")
    header = member.header_offset
    name, extra = (int.from_bytes(mapped[header + at : header + at + 2], "little") for at in (26, 28))
    return header + LOCAL_HEADER + name + extra


def _content(mapped: mmap.mmap, member: zipfile.ZipInfo) -> bytes:
    begin = _begin(mapped, member)
    return mapped[begin : begin + member.file_size]


def _describe(
    storage: torch.dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object
) -> _Described:
    """Stand in for torch's function that makes a tensor from a storage."""
    del rest  # gradient and hooks
    return _Described(storage, offset, size, stride)


class _Unpickler(pickle.Unpickler):
    """Unpickler of plain tensors, which refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _describe
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in TYPES:
            return TYPES[name]
        raise UserError(f"a stored tensor asks for {module}.{name}, which is not part of weights: refused")

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"a reference to {kind!r}")
        return dtype
