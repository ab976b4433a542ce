"""What an evaluation found: scores with standard errors, and paired comparisons."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from ..core.errors import UserError, check_known
from ..core.files import read_object
from ..core.jsonio import JsonObject

SCORES = "scores.json"
LARGEST = 700.0
"""Of a logarithm: its exponential is below 1.8e308."""
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of models and tasks."""
Role = Literal["base", "checkpoint", "merged", "other"]
ROLES: dict[str, Role] = {"base": "base", "tuned": "checkpoint", "merged": "merged", "other": "other"}
"""What the user calls them: a tuned model is a checkpoint of some training, if not of ours."""
SPOKEN = {role: name for name, role in ROLES.items()}
"""The other way round."""


@dataclass(frozen=True)
class Model:
    """A model to evaluate: a Hugging Face folder, and what it is in the run. Checkpoints are given in order.

    `step` is the training step that a checkpoint was saved after, where that is known.
    """

    name: str
    role: Role
    path: Path
    step: int | None = None


def check_name(name: Any, where: str = "", kind: str = "model") -> None:
    """Check that a name can be that of a folder, and so of a file of the report.

    Raises:
        UserError: it cannot.
    """
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        allowed = "letters, digits, '.', '_' and '-', a letter or digit first"
        raise UserError(f"{name!r} cannot name a {kind}", where=where, allowed=allowed)


def parse_roles(given: list[str]) -> dict[str, Role]:
    """`NAME=ROLE` of each as name -> role.

    Raises:
        UserError: an item has another form, a role is unknown, or a name is there twice.
    """
    found: dict[str, Role] = {}
    for item in given:
        name, equals, role = item.rpartition("=")
        if not equals or not name or name in found:
            raise UserError(
                f"{name} has two roles" if name in found else f"{item!r} gives no model a role",
                where="--role",
                allowed=f"NAME={'|'.join(ROLES)}, a model once",
            )
        check_known(role, ROLES, "role", "--role")
        found[name] = ROLES[role]
    return found


@dataclass(frozen=True)
class Score:
    """A model's score on a task; `source` is empty for the whole domain.

    `documents` is how many documents stand behind it, `units` how many bytes, words or questions.
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

    In nats per byte for byte_perplexity (exp of it is the ratio of the two perplexities), in fractions of the questions
    for acc. `p_holm` is adjusted for all comparisons of the evaluation.
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
        return self.difference < 0 if self.metric == "byte_perplexity" else self.difference > 0


@dataclass(frozen=True)
class Scores:
    """Everything an evaluation found. `models` are pairs of name and role, in the order given."""

    models: list[tuple[str, Role]]
    scores: list[Score]
    comparisons: list[Comparison]

    @staticmethod
    def read(folder: Path) -> "Scores":
        """Read the scores of a finished evaluation.

        Raises:
            UserError: the folder has none.
        """
        value = read_object(folder / SCORES, nan=True)

        def rows(key: str) -> list[JsonObject]:
            return [JsonObject(row, f"{value.where}: {key}") for row in value.list(key)]

        return Scores(
            models=[(model.text("name"), cast(Role, model.text("role"))) for model in rows("models")],
            scores=[_typed(Score, row) for row in rows("scores")],
            comparisons=[_bounded(_typed(Comparison, row), row.where) for row in rows("comparisons")],
        )

    @property
    def domains(self) -> list[str]:
        """The domains, in the order of the tasks."""
        return list(dict.fromkeys(score.domain for score in self.scores))

    def named(self, role: Role) -> list[str]:
        """Names of the models with a role."""
        return [name for name, its in self.models if its == role]

    def score(self, model: str, domain: str, metric: str, source: str = "") -> Score:
        """One score.

        Raises:
            UserError: there is none.
        """
        found = {(s.model, s.domain, s.metric, s.source): s for s in self.scores}
        return _of(found, (model, domain, metric, source))

    def comparison(self, model: str, against: str, domain: str, metric: str) -> Comparison:
        """One comparison.

        Raises:
            UserError: there is none.
        """
        found = {(c.model, c.against, c.domain, c.metric): c for c in self.comparisons}
        return _of(found, (model, against, domain, metric))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "models": [{"name": name, "role": role} for name, role in self.models],
            "scores": [asdict(score) for score in self.scores],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
        }


def _of[T](found: dict[tuple[str, str, str, str], T], key: tuple[str, str, str, str]) -> T:
    if key not in found:
        raise UserError(
            f"{SCORES} does not tell of {', '.join(filter(None, key))}",
            where=SCORES,
            mend="evaluate the models again, into a new folder",
        )
    return found[key]


def _bounded(row: Comparison, where: str) -> Comparison:
    """Check that a comparison's values are such that their exponentials are numbers."""
    if any(abs(value) > LARGEST for value in (row.difference, row.low, row.high)):
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
