"""Scores of models on held-out text with standard errors, and paired comparisons: `scores.json` or `proxy.json`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..core.errors import UserError, check_known
from ..core.files import read_object
from ..core.jsonio import JsonObject
from .models import Role

SCORES_FILE = "scores.json"
PROXY_FILE = "proxy.json"
"""`Scores` of `pdapt eval proxy`, which may be called again for further models."""
LARGEST_LOGARITHM = 700.0
"""Its exponential is below 1.8e308."""


class Metric(StrEnum):
    """Scores on held-out text; lm-eval's names, except the last.

    `GOLD_LOGPROB` is the log-probability of the true answer in nats, which moves before accuracy does.
    """

    BYTE_PERPLEXITY = "byte_perplexity"
    WORD_PERPLEXITY = "word_perplexity"
    BITS_PER_BYTE = "bits_per_byte"
    ACCURACY = "acc"
    ACCURACY_NORM = "acc_norm"
    GOLD_LOGPROB = "gold_logprob"


@dataclass(frozen=True)
class Score:
    """A model's score on a task.

    Attributes:
        model: the model's name.
        task: the task's name for lm-eval.
        domain: domain of the task's text.
        source: source of the text; empty for the whole domain.
        metric: name of a `Metric`.
        value: the score.
        stderr: standard error of the score; None if it has none.
        documents: number of documents that the score is computed from.
        units: number of bytes, words or questions that the score is computed from.
    """

    model: str
    task: str
    domain: str
    source: str
    metric: str
    value: float
    stderr: float | None
    documents: int
    units: int


@dataclass(frozen=True)
class Comparison:
    """`model` minus `against` over the same documents.

    Attributes:
        model: the model that is compared.
        against: the model that it is compared with.
        task: the task's name for lm-eval.
        domain: domain of the task's text.
        metric: name of a `Metric`.
        difference: in nats per byte for byte_perplexity (the ratio of the perplexities is e to the difference), in
            fractions of the questions for acc.
        stderr: standard error of the difference.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        p: p-value of the paired test.
        p_holm: the p-value, adjusted for all comparisons of the evaluation.
        documents: number of documents that both models were evaluated on.
    """

    model: str
    against: str
    task: str
    domain: str
    metric: str
    difference: float
    stderr: float
    low: float
    high: float
    p: float
    p_holm: float
    documents: int

    @property
    def clear(self) -> bool:
        """Whether chance is an unlikely reason: adjusted p below 0.05."""
        return self.p_holm < 0.05

    @property
    def better(self) -> bool:
        """Whether `model` is the better of the two, clearly or not."""
        return self.difference < 0 if self.metric == Metric.BYTE_PERPLEXITY else self.difference > 0


def scores_file(folder: Path) -> Path:
    """The file of scores in a folder: of an evaluation, or of `pdapt eval proxy`."""
    proxy = folder / PROXY_FILE
    return proxy if proxy.is_file() else folder / SCORES_FILE


@dataclass(frozen=True)
class Scores:
    """All scores and comparisons of an evaluation.

    Attributes:
        models: pairs of name and role, in the order given; objects with `name` and `role` in the file.
        scores: the scores, by model, domain, source and metric.
        comparisons: comparisons of each checkpoint and merge with the base, and of merge and last checkpoint.
    """

    models: list[tuple[str, Role]]
    scores: list[Score]
    comparisons: list[Comparison]

    @staticmethod
    def read(folder: Path) -> "Scores":
        """Read the scores of a finished evaluation, or of a proxy.

        Raises:
            UserError: the folder has none, or the file is damaged.
        """
        value = read_object(scores_file(folder), nan=True)

        def rows(key: str) -> list[JsonObject]:
            return [JsonObject(row, f"{value.where}: {key}") for row in value.list(key)]

        return Scores(
            models=[(model.text("name"), _role(model)) for model in rows("models")],
            scores=[_typed(Score, row) for row in rows("scores")],
            comparisons=[_bounded(_typed(Comparison, row), row.where) for row in rows("comparisons")],
        )

    @property
    def domains(self) -> list[str]:
        """The domains, in the order of the tasks."""
        return list(dict.fromkeys(score.domain for score in self.scores))

    def with_role(self, role: Role) -> list[str]:
        """Names of the models with a role."""
        return [name for name, of_model in self.models if of_model == role]

    def score(self, model: str, domain: str, metric: str, source: str = "") -> Score:
        """The score of a model in a domain, or in one of its sources.

        Raises:
            UserError: there is none.
        """
        scores = {(s.model, s.domain, s.metric, s.source): s for s in self.scores}
        return _entry(scores, (model, domain, metric, source))

    def comparison(self, model: str, against: str, domain: str, metric: str) -> Comparison:
        """The comparison of two models in a domain.

        Raises:
            UserError: there is none.
        """
        comparisons = {(c.model, c.against, c.domain, c.metric): c for c in self.comparisons}
        return _entry(comparisons, (model, against, domain, metric))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "models": [{"name": name, "role": role} for name, role in self.models],
            "scores": [asdict(score) for score in self.scores],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
        }


def _role(model: JsonObject) -> Role:
    role = model.text("role")
    check_known(role, list(Role), "role", model.where)
    return Role(role)


def _entry[T](entries: dict[tuple[str, str, str, str], T], key: tuple[str, str, str, str]) -> T:
    if key not in entries:
        raise UserError(
            f"{SCORES_FILE} has no entry for {', '.join(filter(None, key))}",
            where=SCORES_FILE,
            fix="evaluate the models again, into a new folder",
        )
    return entries[key]


def _bounded(row: Comparison, where: str) -> Comparison:
    """Check that the exponentials of a comparison's values are numbers."""
    if any(abs(value) > LARGEST_LOGARITHM for value in (row.difference, row.low, row.high)):
        raise UserError(f"the difference of {row.model} and {row.against} is {row.difference:g}", where=where)
    return row


def _typed[T: (Score, Comparison)](kind: type[T], row: JsonObject) -> T:
    """A row of the file, each value of the type that its field has; `float | None` may be null."""
    take: dict[Any, Callable[[str], Any]] = {
        str: row.text,
        int: row.integer,
        float: lambda name: row.number(name, nan=True),
        float | None: lambda name: row.number(name, nan=True) if name in row else None,
    }
    return kind(**{field.name: take[field.type](field.name) for field in fields(kind)})
