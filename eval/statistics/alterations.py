"""Altered quantities: their share in each model's answers, and base and other models compared on the same questions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from ..benchmark.read_results import Answers, Runs, difference_in_questions
from ..clinical.numbers.number_tasks import ALTERED, MEASURES, NUMBER_TASKS
from ..models import Role
from .estimates import Difference, Flips, mcnemar, paired_bootstrap
from .family import Family, FamilyRole
from .multiple_testing import holm

BOOTSTRAP_SEED = 0
EVERY_TASK = ""
"""In the place of a task's name, for all of them together."""


@dataclass(frozen=True)
class AlteredShare:
    """A model's answers to a task on numbers, or to all of them.

    Attributes:
        family: name of the folder of results.
        model: its name.
        role: in the family; None outside of one.
        task: its name, or `EVERY_TASK`.
        quantities: how many were asked for.
        shares: measure -> fraction of the answers.
        low, high: Wilson's 95 % interval of the share that is altered.
        change: of that share against the base, paired; None for the base, and where the answers cannot be paired.
        p: of McNemar's exact test, adjusted by Holm for all comparisons of `altered_shares`; None likewise.
    """

    family: str
    model: str
    role: FamilyRole | None
    task: str
    quantities: int
    shares: dict[str, float]
    low: float
    high: float
    change: Difference | None = None
    p: float | None = None

    @property
    def altered(self) -> float:
        """The share that is altered."""
        return self.shares[ALTERED]


def altered_shares(runs: Sequence[Runs], families: Sequence[Family]) -> list[AlteredShare]:
    """The shares of each family's models, the base first, and of the models that are compared with nothing."""
    rows = [row for of_folder in runs for row in _of_folder(of_folder, families)]
    compared = [number for number, row in enumerate(rows) if row.p is not None]
    adjusted = holm([rows[number].p or 0.0 for number in compared])
    for number, p in zip(compared, adjusted, strict=True):
        rows[number] = replace(rows[number], p=p)
    return rows


def _of_folder(runs: Runs, families: Sequence[Family]) -> Iterator[AlteredShare]:
    family = next((each for each in families if each.runs is runs), None)
    members: list[tuple[FamilyRole | None, str]] = list(family.members()) if family else []
    members += [(None, member.name) for member in runs.members if not family or member.role == Role.OTHER]
    base = members[0][1] if family else ""
    for role, model in members:
        tasks = [task.name for task in NUMBER_TASKS if (model, task.name) in runs.answers]
        for task in [*tasks, *([EVERY_TASK] if len(tasks) > 1 else [])]:
            names = [task] if task else tasks
            answers = [runs.answers[model, name] for name in names]
            row = _share(
                answers, AlteredShare(runs.name, model, role, task=task, quantities=0, shares={}, low=0.0, high=0.0)
            )
            of_base = [runs.answers.get((base, name)) for name in names]
            yield _compared(row, of_base, answers) if role and role != FamilyRole.BASE else row


def _share(answers: Sequence[Answers], row: AlteredShare) -> AlteredShare:
    values = {name: np.concatenate([of_task.measures[name] for of_task in answers]) for name in MEASURES}
    altered = values[ALTERED]
    interval = stats.binomtest(int(altered.sum()), len(altered)).proportion_ci(method="wilson")
    shares = {name: float(of_all.mean()) for name, of_all in values.items()}
    return replace(row, quantities=len(altered), shares=shares, low=float(interval.low), high=float(interval.high))


def _compared(row: AlteredShare, base: Sequence[Answers | None], answers: Sequence[Answers]) -> AlteredShare:
    """A row with its change; without one where some task of it cannot be paired."""
    flips = []
    for before, after in zip(base, answers, strict=True):
        if before is None or difference_in_questions(before, after):
            return row
        moved = after.measures[ALTERED] - before.measures[ALTERED]
        flips.append(Flips(int((moved > 0).sum()), int((moved < 0).sum()), len(moved)))
    together = Flips(*(sum(each) for each in zip(*((f.gained, f.lost, f.questions) for f in flips), strict=True)))
    return replace(row, change=paired_bootstrap(flips, BOOTSTRAP_SEED), p=mcnemar(together))
