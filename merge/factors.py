"""How far a merge goes from base to tuned: one factor, or several by layer and by kind of module."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from ..core.errors import UserError, check_known

MODULES = {
    "norms": ("norm",),
    "attention": ("self_attn",),
    "mlp": (".mlp.",),
    "embeddings": ("embed_tokens", "lm_head"),
}
"""Kind of module -> what its tensors' names contain. The first match counts: attention's own norms are norms."""
MOST_POINTS = 101


@dataclass(frozen=True)
class Factors:
    """Where a merge lies between base (0) and tuned (1).

    Several numbers are spread evenly over the layers and interpolated linearly between them, as mergekit does; tensors
    outside the layers (embeddings, the last norm) take the first.

    Attributes:
        everywhere: the factors of all tensors.
        modules: kind of module (a key of MODULES) -> the factors of its tensors instead.
    """

    everywhere: tuple[float, ...]
    modules: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: a kind of module is unknown, or a factor is not from 0 to 1.
        """
        for name in self.modules:
            check_known(name, MODULES, "kind of module", "--t")
        for value in (*self.everywhere, *(value for values in self.modules.values() for value in values)):
            if not 0 <= value <= 1:
                raise UserError(f"t is {value}", where="--t", allowed="from 0 (base) to 1 (tuned)")

    def setting(self, of: Callable[[float], float] = lambda t: t) -> Any:
        """The value in mergekit's configuration: a number, a list, or a list of filters.

        Args:
            of: function that is applied to each factor.
        """

        def spelled(values: tuple[float, ...]) -> float | list[float]:
            made = [of(value) for value in values]
            return made if len(made) > 1 else made[0]

        if not self.modules:
            return spelled(self.everywhere)
        filters = [
            {"filter": part, "value": spelled(self.modules.get(name, self.everywhere))}
            for name, parts in MODULES.items()
            for part in parts
        ]
        return [*filters, {"value": spelled(self.everywhere)}]

    def to_json(self) -> Any:
        """The factors as JSON values; a single one as a number."""
        if not self.modules and len(self.everywhere) == 1:
            return self.everywhere[0]
        return {"everywhere": list(self.everywhere)} | {name: list(values) for name, values in self.modules.items()}

    def __str__(self) -> str:
        """The factors in words, for a model card."""
        own = [f"{_words(values)} in {name}" for name, values in self.modules.items()]
        return ", ".join([f"t = {_words(self.everywhere)}", *own])


def _words(values: tuple[float, ...]) -> str:
    return " to ".join(f"{value:g}" for value in values) + (" over the layers" if len(values) > 1 else "")


def parse_factors(given: list[str]) -> Factors:
    """Read `0.5`, `0.2,0.8` (over the layers) and `MODULE=0.3`, in any order.

    Raises:
        UserError: something else was given, or a kind of module twice.
    """
    everywhere: list[tuple[float, ...]] = []
    modules: dict[str, tuple[float, ...]] = {}
    for item in given:
        name, equals, text = item.rpartition("=")
        if name in modules if equals else everywhere:
            raise UserError(f"t is given twice{f' for {name}' if equals else ''}: {item}", where="--t")
        values = tuple(float(_number(word, item)) for word in text.split(","))
        if equals:
            modules[name] = values
        else:
            everywhere.append(values)
    return Factors(everywhere[0] if everywhere else (0.5,), modules)


def parse_points(given: str, where: str = "--t") -> list[float]:
    """Read the points of a sweep: `BEGIN:END:STEP`, the end included, or `0.2,0.5`; `where` names the option.

    Raises:
        UserError: something else was given, a point twice, too many, or one that is not from 0 to 1.
    """
    words = given.split(":")
    if len(words) == 1:
        points = [_number(word, given, where) for word in given.split(",")]
    elif len(words) == 3:
        begin, end, step = (_number(word, given, where) for word in words)
        Factors((float(begin), float(end)))
        if step <= 0 or end < begin:
            raise UserError(f"{given} has no points", where=where, allowed="BEGIN:END:STEP with END >= BEGIN, STEP > 0")
        if (end - begin) / MOST_POINTS >= step:
            raise UserError(f"{given} has too many points", where=where, allowed=f"at most {MOST_POINTS}")
        points = [begin + n * step for n in range(int((end - begin) / step) + 1)]
    else:
        raise UserError(f"{given!r} is not a set of points", where=where, allowed="0.1:0.9:0.1, or 0.2,0.5")
    values = [float(point) for point in points]
    if len(values) > MOST_POINTS:
        raise UserError(f"{given} has too many points", where=where, allowed=f"at most {MOST_POINTS}")
    if len(set(map(point_name, values))) < len(values):
        raise UserError(f"a point is given twice: {given}", where=where, fix="give each once")
    for value in values:
        Factors((value,))
    return values


def point_name(t: float) -> str:
    """Name of a point's folder."""
    return f"t{t:.15g}"


def _number(word: str, given: str, where: str = "--t") -> Decimal:
    """Read a number exactly as written, so that three times 0.1 is 0.3."""
    try:
        number = Decimal(word)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise UserError(
            f"{word!r} is not a factor (in {given!r})", where=where, allowed="numbers from 0 (base) to 1 (tuned)"
        )
    return number
