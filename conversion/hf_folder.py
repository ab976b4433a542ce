"""Hugging Face folders: their tensors, checked against the model's shape, and their other files."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..core.errors import UserError
from ..core.files import read_json, require_file, write_json
from ..core.qwen3 import Qwen3Config
from .names import hf_shapes

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
STORED = {"BF16": torch.bfloat16, "F32": torch.float32, "F16": torch.float16}
DTYPES = {torch.bfloat16: "bfloat16", torch.float32: "float32", torch.float16: "float16"}


class Weights:
    """Tensors of a Hugging Face folder, read one at a time from its safetensors files."""

    def __init__(self, folder: Path, shape: Qwen3Config) -> None:
        """Open the folder and check names, shapes and dtypes.

        Attribute `dtype` is the one that all tensors have.

        Raises:
            UserError: no safetensors, a missing or broken shard, missing or extra tensors, or another shape.
        """
        self.folder = folder
        self.files = _tensor_files(folder)
        self.dtype = self._check(shape)

    def get(self, name: str) -> torch.Tensor:
        """One tensor, in the file's dtype."""
        with safe_open(self.files[name], framework="pt") as file:
            return file.get_tensor(name)

    def _check(self, shape: Qwen3Config) -> torch.dtype:
        expected = hf_shapes(shape)
        # A tied model may carry its head all the same: it is the embedding again.
        present = {name for name in self.files if not (shape.tied and name == "lm_head.weight")}
        missing, extra = sorted(set(expected) - present), sorted(present - set(expected))
        if missing or extra:
            raise UserError(
                f"the tensors are not Qwen3's: {_some('missing', missing)}{_some('unknown', extra)}".rstrip(" ;"),
                where=str(self.folder),
                mend="give the whole, unchanged folder of a Qwen3 model",
            )
        stored: set[str] = set()
        for name, path in self.files.items():
            with safe_open(path, framework="pt") as file:
                view = file.get_slice(name)
                stored.add(view.get_dtype())
                if name in expected and tuple(view.get_shape()) != expected[name]:
                    raise UserError(
                        f"{name} is {tuple(view.get_shape())}, config.json makes it {expected[name]}", where=str(path)
                    )
        if len(stored) != 1 or not stored <= set(STORED):
            raise UserError(
                f"the tensors are {', '.join(sorted(stored))}",
                where=str(self.folder),
                allowed=f"all of one type: {', '.join(STORED)}",
            )
        return STORED[stored.pop()]


def _some(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{what}: {', '.join(names[:5])}{more}; "


def _tensor_files(folder: Path) -> dict[str, Path]:
    """Tensor name -> file that holds it."""
    if (folder / INDEX).is_file():
        names = set(read_json(folder / INDEX)["weight_map"].values())
        if any(Path(name).name != name for name in names):
            raise UserError("the index names a file outside its folder", where=str(folder / INDEX))
        paths = [folder / name for name in sorted(names)]
    elif (folder / SINGLE).is_file():
        paths = [folder / SINGLE]
    else:
        raise UserError(
            "there are no weights",
            where=str(folder),
            allowed=f"{SINGLE}, or {INDEX} with its shards (safetensors only)",
        )
    files: dict[str, Path] = {}
    for path in paths:
        require_file(path)
        try:
            with safe_open(path, framework="pt") as file:
                files |= dict.fromkeys(file.keys(), path)
        except SafetensorError as error:
            raise UserError(
                f"{path.name} is not a whole safetensors file: {error}", where=str(path), mend="fetch it again"
            ) from None
    return files


class Writer:
    """Writes safetensors shards as they fill, and their index."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.pending: dict[str, torch.Tensor] = {}
        self.shards: list[list[str]] = []
        self.total = 0

    def add(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take tensors; write a shard when enough have come."""
        for name, tensor in tensors.items():
            self.pending[name] = tensor.contiguous()
            self.total += tensor.nbytes
            if sum(value.nbytes for value in self.pending.values()) >= self.shard_bytes:
                self._flush()

    def _flush(self) -> None:
        save_file(self.pending, self.folder / f"shard-{len(self.shards)}", metadata={"format": "pt"})
        self.shards.append(list(self.pending))
        self.pending = {}

    def finish(self) -> None:
        """Write what is left, and give the shards their final names."""
        if self.pending:
            self._flush()
        if len(self.shards) == 1:
            (self.folder / "shard-0").rename(self.folder / SINGLE)
            return
        weight_map: dict[str, str] = {}
        for number, names in enumerate(self.shards):
            final = f"model-{number + 1:05d}-of-{len(self.shards):05d}.safetensors"
            (self.folder / f"shard-{number}").rename(self.folder / final)
            weight_map |= dict.fromkeys(names, final)
        write_json(self.folder / INDEX, {"metadata": {"total_size": self.total}, "weight_map": weight_map})


def write_config(source: Path, target: Path, dtype: torch.dtype) -> None:
    """Copy config.json; where it states another dtype than the weights have, correct that one line."""
    text = (source / "config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    key = "dtype" if "dtype" in config else "torch_dtype"
    if config.get(key) == DTYPES[dtype]:
        (target / "config.json").write_text(text, encoding="utf-8")
    else:
        write_json(target / "config.json", config | {key: DTYPES[dtype]})
