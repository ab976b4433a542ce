"""The weights of a Hugging Face folder: safetensors files, mapped instead of read.

The library checks a file's header; the bytes are taken from the mapped file, since the library would copy each tensor.
"""

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open

from ..errors import UserError
from ..files import read_object, require_file
from ..jsonio import parse_json
from ..log import counted
from ..system.disk import read_ahead

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
OUTPUT_LAYER = "lm_head.weight"
"""Name of the output layer. Some folders hold it although it is tied; it then repeats the embedding."""
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
"""safetensors' spelling of the types that weights may have."""
NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}
"""config.json's spelling."""
PIECE = 8 * 2**20
"""How many values are converted, compared, hashed or written at once."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header declares it.

    Attributes:
        dtype: type in safetensors' spelling (`BF16`, `F32`).
        shape: the sizes.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Number of bytes of its values."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


class Model(Protocol):
    """A model's weights under Hugging Face's names, wherever they are stored.

    Attributes:
        tensors: name -> type and shape.
    """

    tensors: dict[str, Tensor]

    def rows(self, name: str, begin: int, end: int) -> torch.Tensor:
        """Rows `begin` to `end` of a tensor; not to be written to."""
        ...


def pieces(model: Model, name: str) -> Iterator[torch.Tensor]:
    """Yield a tensor in pieces of several rows, with the same number of values whatever the type."""
    count, *rest = model.tensors[name].shape
    step = max(1, PIECE // max(1, math.prod(rest)))
    for begin in range(0, count, step):
        yield model.rows(name, begin, min(begin + step, count))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch from spreading an operation over the cores.

    Code that moves weights is limited by memory, and has its own threads for other work; torch's threads would wait
    for each other without yielding.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Weights:
    """The tensors of a Hugging Face folder, each a view of its mapped file: no value is read before it is used.

    Attributes:
        folder: the folder.
        tensors: name -> what the file's header declares.
    """

    def __init__(self, folder: Path) -> None:
        """Read the headers.

        Raises:
            UserError: there are no safetensors, the index leads outside the folder, or a shard is missing, is damaged
                or lacks a tensor that the index names.
        """
        self.folder = folder
        self.tensors: dict[str, Tensor] = {}
        self._files: dict[str, Path] = {}
        self._maps: dict[Path, _Mapped] = {}
        for path, promised in shards(folder).items():
            declared = _declared(path)
            lacking = sorted(promised - declared.keys())
            if lacking:
                raise UserError(f"the index puts {lacking[0]} in {path.name}, which lacks it", where=str(path))
            twice = sorted(declared.keys() & self._files.keys())
            if twice:
                raise UserError(f"{twice[0]} is in {self._files[twice[0]].name} and in {path.name}", where=str(folder))
            self.tensors |= declared
            self._files |= dict.fromkeys(declared, path)

    @property
    def files(self) -> set[Path]:
        """The files that hold the tensors."""
        return set(self._files.values())

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._files[name]

    def get(self, name: str) -> torch.Tensor:
        """One tensor, in its file's dtype; not to be written to."""
        mapped = self._mapped(name)
        mapped.read_ahead(name)
        return mapped.tensor(name)

    def _mapped(self, name: str) -> "_Mapped":
        path = self._files[name]
        if path not in self._maps:
            self._maps[path] = _Mapped(path)
        return self._maps[path]

    def rows(self, name: str, begin: int, end: int) -> torch.Tensor:
        """Rows of a tensor; see `Model`."""
        return self._mapped(name).tensor(name)[begin:end]

    def release(self, name: str) -> None:
        """Release a tensor's pages from this process's memory until they are read again."""
        self._maps[self._files[name]].release(name)


class _Mapped:
    """A safetensors file that is mapped into memory."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            # Copied on write, so that torch does not warn of read-only memory. Nothing writes to it.
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        length = int.from_bytes(self.bytes[:8], "little")
        self.begin = 8 + length
        self.header = parse_json(self.bytes[8 : self.begin], str(path))

    def tensor(self, name: str) -> torch.Tensor:
        declared = self.header[name]
        dtype, shape = DTYPES[declared["dtype"]], declared["shape"]
        if not math.prod(shape):
            return torch.empty(shape, dtype=dtype)
        offset = self.begin + declared["data_offsets"][0]
        return torch.frombuffer(self.bytes, dtype=dtype, count=math.prod(shape), offset=offset).view(shape)

    def read_ahead(self, name: str) -> None:
        begin, end = (self.begin + offset for offset in self.header[name]["data_offsets"])
        read_ahead(self.bytes, begin, end)

    def release(self, name: str) -> None:
        begin, end = (self.begin + offset for offset in self.header[name]["data_offsets"])
        begin -= begin % mmap.PAGESIZE  # anything else on these pages is just read again
        self.bytes.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def shards(folder: Path) -> dict[Path, set[str]]:
    """Map each file to the tensors that the index assigns to it (none for a single file without an index)."""
    path = folder / INDEX
    if not path.is_file():
        if not (folder / SINGLE).is_file():
            raise UserError(
                "there are no weights",
                where=str(folder),
                allowed=f"{SINGLE}, or {INDEX} with its shards (safetensors only)",
                fix="if you trust pytorch_model.bin, which is a pickle, `pdapt convert import --bin` reads it"
                if any(folder.glob("pytorch_model*.bin"))
                else "",
            )
        return {require_file(folder / SINGLE): set()}
    fix = "copy or export the model again"
    try:
        named = read_object(path).texts("weight_map")
    except UserError as error:
        raise UserError(f"{INDEX} has no weight_map: {error.what}", where=error.where, fix=fix) from None
    if not named:
        raise UserError(f"{INDEX} has an empty weight_map", where=str(path), fix=fix)
    shards: dict[Path, set[str]] = {}
    for tensor, name in named.items():
        if Path(name).name != name:
            raise UserError(f"the index names a file outside its folder: {name}", where=str(path))
        shards.setdefault(folder / name, set()).add(tensor)
    if (folder / SINGLE).is_file() and folder / SINGLE not in shards:
        raise UserError(
            f"{SINGLE} lies beside {INDEX}, which names other files: libraries differ in which of them they read",
            where=str(path),
            allowed="a single file, or an index with its shards",
            fix="remove the older one",
        )
    missing = sorted(shard.name for shard in shards if not shard.is_file())
    if missing:
        raise UserError(
            f"{len(missing)} of {counted(len(shards), 'shard')} cannot be found: {', '.join(missing)}",
            where=str(path),
            fix="copy or export the model again",
        )
    return dict(sorted(shards.items()))


def _declared(path: Path) -> dict[str, Tensor]:
    """Read the tensors that a file's header declares; the library checks them against the file's length."""
    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            tensors = {name: Tensor(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise UserError(
            f"{path.name} is not a complete safetensors file: {error}", where=str(path), fix="fetch it again"
        ) from None
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise UserError(
                f"the tensor {name} has the type {tensor.dtype}", where=str(path), allowed=", ".join(DTYPES)
            )
    return tensors
