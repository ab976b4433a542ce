"""The task of a rank: one start of a run, as the process that starts the rank describes it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.files import read_json
from ..recipes.load import from_dict, to_dict
from ..recipes.megatron_args import Places
from ..recipes.schema import Recipe

_NUMBERS = ("begun", "stop_at", "deadline", "base_step")


@dataclass(frozen=True)
class RankTask:
    """One start of a run, the same for each of its ranks.

    Attributes:
        recipe: the recipe.
        places: where the run reads and writes.
        tokens: the tokens stage's folder.
        begun: Unix time of this start.
        stop_at: last step of this start; None for the recipe's last.
        deadline: Unix time after which the run saves and ends; None for no limit.
        base_step: if the base is a run, the step after which its weights were saved.
    """

    recipe: Recipe
    places: Places
    tokens: Path
    begun: float
    stop_at: int | None = None
    deadline: float | None = None
    base_step: int | None = None

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self.places.achieved.parent

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON values, for a rank in another process."""
        places = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.places).items()}
        times = {name: getattr(self, name) for name in _NUMBERS}
        return {"recipe": to_dict(self.recipe), "places": places, "tokens": str(self.tokens), **times}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "RankTask":
        """Read back what `to_json` wrote."""
        given = value["places"]
        paths = {name: Path(value) for name, value in given.items() if isinstance(value, str)}
        places = Places(**(given | paths))
        times = {name: value[name] for name in _NUMBERS}
        return RankTask(from_dict(value["recipe"]), places, Path(value["tokens"]), **times)

    @staticmethod
    def read(path: Path) -> "RankTask":
        """Read the file that the process that starts the rank has just written."""
        return RankTask.from_json(read_json(path))
