"""The job of one of the trainers of `pdapt bench train` that run in processes of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.files import read_object
from ..recipes.load import from_dict, to_dict
from ..recipes.schema import Recipe


@dataclass(frozen=True)
class SideJob:
    """The job of such a process.

    Attributes:
        recipe: the recipe.
        out: file for the measurements; for the preparation, its folder.
        tokens: the tokens stage's folder, for the preparation.
        model: Hugging Face folder of the weights that transformers starts from.
        rows: file of the rows that transformers reads.
        eod: id that ends a document, for Megatron's trainer alone.
    """

    recipe: Recipe
    out: Path
    tokens: Path = Path()
    model: Path = Path()
    rows: Path = Path()
    eod: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        paths = {name: str(getattr(self, name)) for name in ("out", "tokens", "model", "rows")}
        return {"recipe": to_dict(self.recipe), **paths, "eod": self.eod}

    @staticmethod
    def read(path: Path) -> "SideJob":
        """Read the file of a job."""
        value = read_object(path)
        paths = {name: Path(value.text(name)) for name in ("out", "tokens", "model", "rows")}
        return SideJob(from_dict(value.object("recipe").values), **paths, eod=value.integer("eod"))
