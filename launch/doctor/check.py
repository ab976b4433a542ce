"""One check of the doctor: a value, a verdict on it, and how to fix it."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The verdict on what was checked."""

    OK = "ok"
    SLOW = "slow"
    """It runs, slower than it could."""
    UNTESTED = "untested"
    """It could not be checked here, or nobody has run pdapt with it."""
    WRONG = "wrong"
    """It stops a run."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: the thing that was checked.
        verdict: see `Verdict`.
        value: its state, in one line.
        meaning: the consequence, where the verdict is not `ok`.
        fix: the remedy, likewise.
    """

    name: str
    verdict: Verdict
    value: str
    meaning: str = ""
    fix: str = ""

    def __post_init__(self) -> None:
        assert self.verdict == Verdict.OK or (self.meaning and self.fix), f"{self.name} explains nothing"

    def lines(self) -> list[str]:
        """The check for people."""
        first = f"{self.verdict:<9}{self.name:<19}{self.value}"
        if self.verdict == Verdict.OK:
            return [first]
        return [first, f"{'':9}meaning: {self.meaning}", f"{'':9}fix: {self.fix}"]
