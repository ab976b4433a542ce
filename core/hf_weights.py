"""The weights of a Hugging Face folder: safetensors files, mapped instead of read, and written as they come.

The library checks a file's header; the bytes are taken from the mapped file, because it would copy a tensor to hand it
out, and could write a file only from tensors that are all in memory.
"""

import hashlib
import json
import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open

from .errors import UserError
from .files import read_json, require_file, write_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
OUTPUT_LAYER = "lm_head.weight"
"""Some folders write a tied output layer out; it is the embedding again."""
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
"""safetensors' spelling of the types that weights may have."""
NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}
"""config.json's spelling."""
SHARD_BYTES = 4 * 10**9
PIECE = 8 * 2**20
"""Values that are converted, compared, hashed or written at once."""
AHEAD = 4
"""Pieces that may wait to be hashed and written."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header declares it.

    Attributes:
        dtype: in safetensors' spelling (`BF16`, `F32`).
        shape: its sizes.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


class Model(Protocol):
    """A model's weights under the names of Hugging Face, wherever they are kept.

    Attributes:
        tensors: name -> type and shape.
    """

    tensors: dict[str, Tensor]

    def rows(self, name: str, begin: int, end: int) -> torch.Tensor:
        """Rows `begin` to `end` of a tensor; not to be written to."""
        ...


def pieces(model: Model, name: str) -> Iterator[torch.Tensor]:
    """A tensor, some rows at a time: as many values a time whatever their type."""
    count, *rest = model.tensors[name].shape
    step = max(1, PIECE // max(1, math.prod(rest)))
    for begin in range(0, count, step):
        yield model.rows(name, begin, min(begin + step, count))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch from spreading an operation over the cores.

    What moves weights is as fast as memory, and has threads of its own for what else there is to do; torch's would wait
    for each other, busily.
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
        folder: where they are.
        tensors: name -> what its file's header declares.
    """

    def __init__(self, folder: Path) -> None:
        """Read the headers.

        Raises:
            UserError: no safetensors there, an index that leaves the folder, or a shard that is missing, damaged or
                without a tensor that the index promises.
        """
        self.folder = folder
        self.tensors: dict[str, Tensor] = {}
        self._files: dict[str, Path] = {}
        self._maps: dict[Path, _Mapped] = {}
        for path, promised in _shards(folder).items():
            declared = _declared(path)
            lacking = sorted(promised - declared.keys())
            if lacking:
                raise UserError(f"the index puts {lacking[0]} in {path.name}, which lacks it", where=str(path))
            twice = sorted(declared.keys() & self._files.keys())
            if twice:
                raise UserError(f"{twice[0]} is in {self._files[twice[0]].name} and in {path.name}", where=str(folder))
            self.tensors |= declared
            self._files |= dict.fromkeys(declared, path)

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._files[name]

    def get(self, name: str) -> torch.Tensor:
        """One tensor, in its file's dtype; not to be written to."""
        path = self._files[name]
        if path not in self._maps:
            self._maps[path] = _Mapped(path)
        return self._maps[path].tensor(name)

    def rows(self, name: str, begin: int, end: int) -> torch.Tensor:
        """Rows of a tensor; see `Model`."""
        return self.get(name)[begin:end]

    def release(self, name: str) -> None:
        """Take a tensor's pages out of this process's memory, until somebody reads them again."""
        self._maps[self._files[name]].release(name)


class _Mapped:
    """A safetensors file that is mapped into memory."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            # Copied on write, so that torch need not warn of memory that must not be written to. Nothing writes.
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        length = int.from_bytes(self.bytes[:8], "little")
        self.begin = 8 + length
        self.header = json.loads(self.bytes[8 : self.begin])

    def tensor(self, name: str) -> torch.Tensor:
        declared = self.header[name]
        dtype, shape = DTYPES[declared["dtype"]], declared["shape"]
        if not math.prod(shape):
            return torch.empty(shape, dtype=dtype)
        offset = self.begin + declared["data_offsets"][0]
        return torch.frombuffer(self.bytes, dtype=dtype, count=math.prod(shape), offset=offset).view(shape)

    def release(self, name: str) -> None:
        begin, end = (self.begin + offset for offset in self.header[name]["data_offsets"])
        begin -= begin % mmap.PAGESIZE  # what else is on these pages is only read once more
        self.bytes.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _shards(folder: Path) -> dict[Path, set[str]]:
    """File -> tensors that the index says it holds (none where a single file needs no index)."""
    path = folder / INDEX
    if not path.is_file():
        if not (folder / SINGLE).is_file():
            raise UserError(
                "there are no weights",
                where=str(folder),
                allowed=f"{SINGLE}, or {INDEX} with its shards (safetensors only)",
                mend="`pdapt convert import --bin` reads pytorch_model.bin, which is a pickle, where you trust it"
                if any(folder.glob("pytorch_model*.bin"))
                else "",
            )
        return {require_file(folder / SINGLE): set()}
    index = read_json(path)
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise UserError(f"{INDEX} has no weight_map", where=str(path), mend="copy or export the model again")
    shards: dict[Path, set[str]] = {}
    for tensor, name in named.items():
        if Path(name).name != name:
            raise UserError(f"the index names a file outside its folder: {name}", where=str(path))
        shards.setdefault(folder / name, set()).add(tensor)
    missing = sorted(shard.name for shard in shards if not shard.is_file())
    if missing:
        raise UserError(
            f"{len(missing)} of {len(shards)} shards are missing: {', '.join(missing)}",
            where=str(path),
            mend="copy or export the model again",
        )
    return dict(sorted(shards.items()))


def _declared(path: Path) -> dict[str, Tensor]:
    """What a file's header declares, checked by the library against the file's length."""
    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            found = {name: Tensor(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise UserError(
            f"{path.name} is not a whole safetensors file: {error}", where=str(path), mend="fetch it again"
        ) from None
    for name, tensor in found.items():
        if tensor.dtype not in DTYPES:
            raise UserError(f"{name} is {tensor.dtype}", where=str(path), allowed=", ".join(DTYPES))
    return found


class Writer:
    """Writes a folder's safetensors files, a piece of a tensor at a time, in the order in which they were planned.

    Hashing and writing go on in threads of their own while the caller makes the next piece.

    Attributes:
        total: bytes of all values.
        files: file name -> its tensors.
    """

    def __init__(self, folder: Path, tensors: Mapping[str, Tensor], shard_bytes: int = SHARD_BYTES) -> None:
        """Plan the files.

        Args:
            folder: where they are made.
            tensors: what will be written, in this order.
            shard_bytes: a file is closed before it would be larger, unless by a single tensor.
        """
        self.folder, self.tensors = folder, dict(tensors)
        self.total = sum(tensor.nbytes for tensor in tensors.values())
        self.files = _plan(self.tensors, shard_bytes)
        self._order = iter(self._places())
        self._file: _Hashed | None = None
        self._tensor, self._left = "", 0
        self.hashes: dict[str, str] = {}

    def _places(self) -> Iterator[tuple[str, str]]:
        yield from ((name, file) for file, names in self.files.items() for name in names)

    def write(self, name: str, values: Iterable[torch.Tensor]) -> None:
        """Take the next tensor.

        Args:
            name: the next of the plan.
            values: its rows in order, any number at a time, in the type that was planned.
        """
        self.begin(name)
        for piece in values:
            self.add(piece)

    def begin(self, name: str) -> None:
        """Begin the next tensor of the plan, where the pieces of several files are made together."""
        expected, file = next(self._order)
        assert name == expected, f"{expected} was planned, {name} came"
        self._whole()
        if self._file is None or self._file.path.name != file:
            self.close()
            self._file = _Hashed(self.folder / file, _header({key: self.tensors[key] for key in self.files[file]}))
        self._tensor, self._left = name, self.tensors[name].nbytes

    def add(self, piece: torch.Tensor) -> None:
        """Take the next values of the tensor that was begun.

        Their memory may be used again once AHEAD further pieces have been added.
        """
        declared = self.tensors[self._tensor].dtype
        assert piece.dtype == DTYPES[declared], f"{self._tensor} was planned as {declared}"
        assert self._file is not None, "a tensor was begun"
        self._file.write(piece)
        self._left -= piece.nbytes

    def _whole(self) -> None:
        assert not self._left, f"{self._tensor}: {self._left} bytes less came than were planned"

    def close(self) -> None:
        """Finish the file that is being written."""
        self._whole()
        if self._file is not None:
            self.hashes[self._file.path.name] = self._file.close()
            self._file = None

    def finish(self) -> dict[str, str]:
        """Finish the last file and write the index, where there is more than one.

        Returns:
            SHA-256 of each safetensors file, by its name.
        """
        assert next(self._order, None) is None, "a planned tensor has not come"
        self.close()
        if len(self.files) > 1:
            weight_map = {name: file for file, names in self.files.items() for name in names}
            write_json(self.folder / INDEX, {"metadata": {"total_size": self.total}, "weight_map": weight_map})
        return self.hashes


def _plan(tensors: Mapping[str, Tensor], shard_bytes: int) -> dict[str, list[str]]:
    """File name -> its tensors, in order."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {f"model-{n + 1:05d}-of-{len(shards):05d}.safetensors": names for n, names in enumerate(shards)}


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file's bytes before its values: the length of what follows, and JSON padded to eight bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


class _Hashed:
    """A file that is written by one thread and hashed by another."""

    def __init__(self, path: Path, begin: bytes) -> None:
        self.path, self.hash = path, hashlib.sha256(begin)
        self.file = path.open("wb")
        self.file.write(begin)
        self.threads = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]
        self.waiting: list[list[Future[object]]] = []

    def write(self, piece: torch.Tensor) -> None:
        """Take a piece; wait while too many are under way."""
        values = memoryview(piece.contiguous().flatten().view(torch.uint8).numpy())
        jobs = (self.file.write, self.hash.update)
        self.waiting.append([thread.submit(job, values) for thread, job in zip(self.threads, jobs, strict=True)])
        if len(self.waiting) > AHEAD:
            self._wait()

    def _wait(self) -> None:
        for future in self.waiting.pop(0):
            future.result()

    def close(self) -> str:
        """Wait for all pieces.

        Returns:
            The file's SHA-256.
        """
        while self.waiting:
            self._wait()
        for thread in self.threads:
            thread.shutdown()
        self.file.close()
        return self.hash.hexdigest()
