"""A base with the models that were made from it."""

from dataclasses import dataclass
from enum import StrEnum

from ..benchmark.read_results import Runs
from ..models import Role


class FamilyRole(StrEnum):
    """A model's part in a family."""

    BASE = "base"
    ADAPTED = "adapted"
    MERGED = "merged"


@dataclass(frozen=True)
class Family:
    """A base with the models that were made from it.

    Attributes:
        runs: its folder of results.
        adapted: name of the checkpoint that is reported, if there is one.
        merged: name of the merged model, if there is one.
        chosen: whether the first half of the target group's questions chose the checkpoint. Then that group's change is
            computed on the second half.
    """

    runs: Runs
    adapted: str | None
    merged: str | None = None
    chosen: bool = False

    def members(self) -> list[tuple[FamilyRole, str]]:
        """Role and name of base, adapted and merged model."""
        (base,) = self.runs.with_role(Role.BASE)
        others = [(FamilyRole.ADAPTED, self.adapted), (FamilyRole.MERGED, self.merged)]
        return [(FamilyRole.BASE, base.name), *((role, name) for role, name in others if name is not None)]
