"""Hugging Face folders of pickled weights (`pytorch_model.bin`), for users who ask for them.

They are pickles. torch reads them with its own unpickler, which accepts only tensors, and maps the values.
"""

from pathlib import Path
from typing import Any

import torch

from ..core.errors import UserError
from ..core.files import read_object, require_file
from ..core.hf.weights import DTYPES, Tensor

SINGLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


class BinWeights:
    """The tensors of a folder of `pytorch_model.bin` files, with the interface of `Weights`."""

    def __init__(self, folder: Path) -> None:
        """Map the files.

        Raises:
            UserError: there are no such files, or one is missing, damaged, outside the folder, or more than weights.
        """
        self.folder = folder
        self._tensors: dict[str, torch.Tensor] = {}
        self._files: dict[str, Path] = {}
        for path in _files(folder):
            for name, tensor in _load(path).items():
                self._tensors[name], self._files[name] = tensor, path
        spelled = {value: name for name, value in DTYPES.items()}
        self.tensors: dict[str, Tensor] = {}
        for name, tensor in self._tensors.items():
            if tensor.dtype not in spelled:
                raise UserError(
                    f"the tensor {name} has the type {tensor.dtype}",
                    where=str(self._files[name]),
                    allowed=", ".join(DTYPES),
                )
            self.tensors[name] = Tensor(spelled[tensor.dtype], tuple(tensor.shape))

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._files[name]

    def get(self, name: str) -> torch.Tensor:
        """One tensor; not to be written to."""
        return self._tensors[name]

    def rows(self, name: str, begin: int, end: int) -> torch.Tensor:
        """Rows of a tensor."""
        return self.get(name)[begin:end]


def _files(folder: Path) -> list[Path]:
    if not (folder / INDEX).is_file():
        return [require_file(folder / SINGLE)]
    names = sorted(set(read_object(folder / INDEX).texts("weight_map").values()))
    if any(Path(name).name != name for name in names):
        raise UserError("the index names a file outside its folder", where=str(folder / INDEX))
    return [require_file(folder / name) for name in names]


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch's reader can raise anything
        raise UserError(
            f"{path.name} is incomplete, or holds something other than weights: {str(error).splitlines()[0]}",
            where=str(path),
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path.name} holds something other than named tensors", where=str(path))
    return content
