"""Remarks of stages for people: a kind and values, which logs and pages put into words in their language."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ..errors import UserError, check_known
from ..jsonio import JsonObject


class RemarkKind(StrEnum):
    """The kinds of remarks: keys of their texts on pages."""

    RECIPE_BASE = "recipe_base"
    RECIPE_SCALED = "recipe_scaled"
    RECIPE_TEXT = "recipe_text"
    RECIPE_GPUS = "recipe_gpus"
    RECIPE_CORES = "recipe_cores"
    RECIPE_AS_IT_IS = "recipe_as_it_is"
    RECIPE_OVERRIDES = "recipe_overrides"
    RECORD_MISSING = "record_missing"
    LINE_TOO_LONG = "line_too_long"
    LINE_NOT_JSON = "line_not_json"
    LINE_VALUES = "line_values"
    MORE_LINES = "more_lines"
    LOST_STEPS = "lost_steps"
    PLAIN = "plain"


@dataclass(frozen=True)
class Remark:
    """A remark: its kind, and the values that its text shows; `PLAIN` holds an older release's sentence in `text`."""

    kind: RemarkKind
    values: dict[str, str | int | float]

    @staticmethod
    def from_json(value: Any, where: str) -> "Remark":
        """Check a JSON value and make a remark of it: from an object, or from a sentence of an older release.

        Raises:
            UserError: it is neither, its kind is unknown, or a value is neither a number nor text.
        """
        if isinstance(value, str):
            return Remark(RemarkKind.PLAIN, {"text": value})
        row = JsonObject(value, where)
        kind, values = row.text("kind"), row.object("values").values
        check_known(kind, list(RemarkKind), "remark", where)
        for name, held in values.items():
            if not isinstance(held, str | int | float):
                raise UserError(f"{name} is neither a number nor text", where=where)
        return Remark(RemarkKind(kind), values)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
