"""Writer of a Hugging Face folder's safetensors files that hashes them while it writes.

The library could write a file only from tensors that are all in memory.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from ..files import write_json
from ..system.disk import begin_flush
from .weights import DTYPES, INDEX, SINGLE, Tensor

SHARD_BYTES = 4 * 10**9
AHEAD = 4
"""How many pieces may wait to be hashed and written."""


class Writer:
    """Writes a folder's safetensors files, a piece of a tensor at a time, in the order in which they were planned.

    Hashing and writing run in threads of their own while the caller makes the next piece.

    Attributes:
        total: bytes of all values.
        files: file name -> its tensors.
    """

    def __init__(self, folder: Path, tensors: Mapping[str, Tensor], shard_bytes: int = SHARD_BYTES) -> None:
        """Plan the files.

        Args:
            folder: the folder for the files.
            tensors: the tensors to write, in this order.
            shard_bytes: largest size of a file, unless a single tensor is larger.
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
        """Write the next tensor.

        Args:
            name: the next tensor of the plan.
            values: its rows in order, any number at a time, in the planned type.
        """
        self.begin(name)
        for piece in values:
            self.add(piece)

    def begin(self, name: str) -> None:
        """Begin the next tensor of the plan, if the pieces of several files are made together."""
        expected, file = next(self._order)
        assert name == expected, f"{expected} was planned, {name} came"
        self._whole()
        if self._file is None or self._file.path.name != file:
            self.close()
            self._file = _Hashed(self.folder / file, _header({key: self.tensors[key] for key in self.files[file]}))
        self._tensor, self._left = name, self.tensors[name].nbytes

    def add(self, piece: torch.Tensor) -> None:
        """Write the next values of the tensor that was begun.

        Their memory may be reused once AHEAD further pieces have been added.
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
        """Finish the last file and, if there are several, write the index.

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
    """Make a safetensors file's bytes before its values: the length of the header, and JSON padded to eight bytes."""
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
        self.waiting: list[list[Future[None]]] = []

    def write(self, piece: torch.Tensor) -> None:
        """Queue a piece; wait while too many are queued."""
        values = memoryview(piece.contiguous().flatten().view(torch.uint8).numpy())
        writing, hashing = self.threads
        self.waiting.append([writing.submit(self._write, values), hashing.submit(self.hash.update, values)])
        if len(self.waiting) > AHEAD:
            self._wait()

    def _write(self, values: memoryview) -> None:
        begin = self.file.tell()
        self.file.write(values)
        begin_flush(self.file.fileno(), begin, len(values))

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
