"""Scores on clinical documents: F1 of mentions, exact match and Hamming score of options, codes; paired changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np

from ..benchmark.read_results import Answers, Runs, difference_in_questions
from ..clinical.documents.document_tasks import DOCUMENT_TASKS, DocumentTask
from ..clinical.documents.score_documents import CHOICE_MEASURES, ENTITY_MEASURES
from ..models import Role
from .contamination import uncontaminated
from .estimates import RESAMPLES, Difference
from .family import Family, FamilyRole
from .multiple_testing import LEVEL, holm

BOOTSTRAP_SEED = 0


class DocumentMetric(StrEnum):
    """A score on documents."""

    F1 = "f1"
    EXACT_MATCH = "exact_match"
    HAMMING = "hamming"
    HISTOLOGY = "histology"


@dataclass(frozen=True)
class DocumentScore:
    """A model's score on a task.

    Attributes:
        family: name of the folder of results.
        model: its name.
        role: in the family; None outside of one.
        task: its name.
        metric: see there.
        questions: that were asked.
        value: the score, from 0 to 1.
        low, high: its 95 % interval, of a bootstrap of the questions.
        change: against the base, paired; None for the base, and where the answers cannot be paired.
        p: of the change, adjusted by Holm for all comparisons of `document_scores`; None likewise.
        clean: the score without contaminated questions, and how many are left; None without a list of them.
    """

    family: str
    model: str
    role: FamilyRole | None
    task: str
    metric: DocumentMetric
    questions: int
    value: float
    low: float
    high: float
    change: Difference | None = None
    p: float | None = None
    clean: tuple[float, int] | None = None


def document_scores(
    runs: Sequence[Runs], families: Sequence[Family], contaminated: dict[str, set[str]] | None
) -> list[DocumentScore]:
    """The scores of each family's models, the base first, and of the models that are compared with nothing."""
    rows = [row for of_folder in runs for row in _of_folder(of_folder, families, contaminated)]
    compared = [number for number, row in enumerate(rows) if row.p is not None]
    adjusted = holm([rows[number].p or 0.0 for number in compared])
    for number, p in zip(compared, adjusted, strict=True):
        rows[number] = replace(rows[number], p=p)
    return rows


def metrics_of(task: DocumentTask) -> list[DocumentMetric]:
    """The scores of a task, that of its paper first."""
    if task.measures == ENTITY_MEASURES:
        return [DocumentMetric.F1]
    second = DocumentMetric.HAMMING if task.measures == CHOICE_MEASURES else DocumentMetric.HISTOLOGY
    return [DocumentMetric.EXACT_MATCH, second]


def _of_folder(
    runs: Runs, families: Sequence[Family], contaminated: dict[str, set[str]] | None
) -> Iterator[DocumentScore]:
    family = next((each for each in families if each.runs is runs), None)
    members: list[tuple[FamilyRole | None, str]] = list(family.members()) if family else []
    members += [(None, member.name) for member in runs.members if not family or member.role == Role.OTHER]
    base = members[0][1] if family else ""
    for task in DOCUMENT_TASKS:
        for metric in metrics_of(task):
            for role, model in members:
                answers = runs.answers.get((model, task.name))
                if answers is not None:
                    before = runs.answers.get((base, task.name)) if role and role != FamilyRole.BASE else None
                    row = _score(answers, metric, before)
                    clean = _clean(answers, metric, contaminated)
                    yield replace(row, family=runs.name, role=role, clean=clean)


def _score(answers: Answers, metric: DocumentMetric, base: Answers | None) -> DocumentScore:
    """A score with its interval; its change against the base, if there is one to pair with."""
    value, draws = _value(answers, metric), _draws(answers, metric)
    low, high = _interval(draws)
    row = DocumentScore(
        family="",
        model=answers.model,
        role=None,
        task=answers.task,
        metric=metric,
        questions=len(answers.keys),
        value=value,
        low=low,
        high=high,
    )
    if base is None or difference_in_questions(base, answers):
        return row
    change = _difference(value - _value(base, metric), draws - _draws(base, metric), len(answers.keys))
    return replace(row, change=change, p=change.p)


def _difference(value: float, draws: np.ndarray, questions: int) -> Difference:
    """A change with the interval of its draws; p counts draws as far from it as it is from zero."""
    low, high = _interval(draws)
    as_far = np.abs(draws - value) >= abs(value) - 1e-12
    p = (1 + int(as_far.sum())) / (len(draws) + 1)
    return Difference(value=value, stderr=float(draws.std(ddof=1)), low=low, high=high, p=p, documents=questions)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    """The percentile interval of a bootstrap."""
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _parts(answers: Answers, metric: DocumentMetric) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of each question, [questions]: the score is the ratio of their sums."""
    if metric == DocumentMetric.F1:
        true_positives, predicted, gold = (answers.measures[name] for name in ENTITY_MEASURES)
        return 2 * true_positives, predicted + gold
    values = answers.right if metric == DocumentMetric.EXACT_MATCH else answers.measures[metric]
    return values, np.ones(len(values))


def _value(answers: Answers, metric: DocumentMetric) -> float:
    numerator, denominator = _parts(answers, metric)
    return float(numerator.sum() / denominator.sum()) if denominator.sum() else 1.0


def _draws(answers: Answers, metric: DocumentMetric) -> np.ndarray:
    """The score of each resample of the questions, [draws]; the same resamples for every model."""
    numerator, denominator = _parts(answers, metric)
    times = _resamples(len(numerator))
    above, below = times @ numerator, times @ denominator
    return np.divide(above, below, out=np.ones_like(above), where=below > 0)


@lru_cache(maxsize=1)
def _resamples(questions: int) -> np.ndarray:
    """How often each question is in each resample, [draws, questions]."""
    random = np.random.default_rng(BOOTSTRAP_SEED)
    return random.multinomial(questions, np.full(questions, 1 / questions), size=RESAMPLES).astype(float)


def _clean(
    answers: Answers, metric: DocumentMetric, contaminated: dict[str, set[str]] | None
) -> tuple[float, int] | None:
    if contaminated is None:
        return None
    kept = answers.keep(uncontaminated(answers, contaminated))
    return (_value(kept, metric), len(kept.keys)) if kept.keys else None
