"""Requests to mergekit: ways to merge a tuned model with its base, and averages of checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import UserError, nearest
from ..core.hf.weights import DTYPES, NAMES
from ..core.log import counted
from .factors import Factors

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration

BASE, TUNED = "base", "tuned"
DENSITY = 0.5
SEED = 0


@dataclass(frozen=True)
class Method:
    """A way to merge two models.

    Attributes:
        title: the method in words.
        sparse: whether it keeps only a part (the density) of the difference's values.
        drawn: whether it draws these values at random.
    """

    title: str
    sparse: bool = False
    drawn: bool = False


METHODS = {
    "slerp": Method("SLERP"),
    "linear": Method("Linear interpolation"),
    "task_arithmetic": Method("Task arithmetic"),
    "ties": Method("TIES", sparse=True),
    "dare_linear": Method("DARE, linear", sparse=True, drawn=True),
    "dare_ties": Method("DARE, TIES", sparse=True, drawn=True),
}
"""mergekit's name -> the method."""


@dataclass(frozen=True)
class Merge:
    """How a tuned model is merged with its base.

    Attributes:
        method: a key of METHODS.
        factors: how far to go from base to tuned.
        density: share of the difference's values that is kept; None if the method keeps all.
        seed: seed of the draw; None if nothing is drawn.
    """

    method: str
    factors: Factors
    density: float | None = None
    seed: int | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the parents."""
        return BASE, TUNED

    def to_json(self) -> dict[str, Any]:
        """The choices that decide the result, as JSON values."""
        chosen = {"density": self.density, "seed": self.seed}
        return {"method": self.method, "t": self.factors.to_json()} | {
            name: value for name, value in chosen.items() if value is not None
        }

    def __str__(self) -> str:
        """In words, for a model card."""
        kept = "" if self.density is None else f", density {self.density:g}"
        drawn = "" if self.seed is None else f", seed {self.seed} (mergekit's --random-seed)"
        return f"{METHODS[self.method].title} of a tuned model with its base at {self.factors}{kept}{drawn}"

    def mergekit(self, paths: Sequence[str], dtype: str) -> "MergeConfiguration":
        """Make mergekit's configuration.

        Args:
            paths: paths of base and tuned.
            dtype: type of their weights, in safetensors' spelling.
        """
        if self.method == "slerp":
            return _configuration(paths, "slerp", base=True, parameters={"t": self.factors.setting()})
        if self.method == "linear":
            weights = self.factors.setting(lambda t: 1 - t), self.factors.setting()
            return _configuration(paths, "linear", each=[{"weight": weight} for weight in weights])
        kept = {} if self.density is None else {"density": self.density}
        return _configuration(
            paths,
            self.method,
            base=True,
            each=[{}, {"weight": 1.0} | kept],
            # With one tuned model, some methods normalize the weight away; lambda scales in all of them.
            parameters={"lambda": self.factors.setting()},
            # The difference of two BF16 models is much finer than BF16 at the size of their values.
            dtype="float32",
            out_dtype=NAMES[DTYPES[dtype]],
        )


def choose_method(method: str, factors: Factors, density: float | None, seed: int | None) -> Merge:
    """Check options against the method, and fill in what it needs.

    Raises:
        UserError: an unknown method, or an option that the method does not have or that is out of range.
    """
    if method not in METHODS:
        raise UserError(
            f"unknown merge method '{method}'",
            where="--method",
            allowed=", ".join(METHODS),
            fix=nearest(method, [*METHODS]),
        )
    known = METHODS[method]
    for option, given, used in (("density", density, known.sparse), ("seed", seed, known.drawn)):
        if given is not None and not used:
            having = [name for name, other in METHODS.items() if (other.sparse if option == "density" else other.drawn)]
            raise UserError(
                f"the method {method} has no {option}", where=f"--{option}", allowed=f"with {', '.join(having)}"
            )
    if density is not None and not 0 < density <= 1:
        raise UserError(f"density is {density}", where="--density", allowed="above 0, up to 1 (all values)")
    if seed is not None and not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}", where="--seed", allowed="from 0 to 4294967295")
    return Merge(
        method,
        factors,
        (DENSITY if density is None else density) if known.sparse else None,
        (SEED if seed is None else seed) if known.drawn else None,
    )


@dataclass(frozen=True)
class Average:
    """An average of checkpoints of one run, in their order.

    Attributes:
        count: number of checkpoints.
        decay: decay of the exponential moving average; None for the plain mean.
    """

    count: int
    decay: float | None = None
    seed: None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the parents."""
        return tuple(f"checkpoint-{number + 1}" for number in range(self.count))

    @property
    def weights(self) -> list[float]:
        """Each checkpoint's share.

        An exponential moving average starts as the first checkpoint, and keeps the share `decay` of itself at each
        further one: shares d^(n-1), (1-d) d^(n-2), …, (1-d).
        """
        if self.decay is None:
            return [1 / self.count] * self.count
        last = self.count - 1
        later = [(1 - self.decay) * self.decay ** (last - number) for number in range(1, self.count)]
        return [self.decay**last, *later]

    def to_json(self) -> dict[str, Any]:
        """The choices that decide the result, as JSON values."""
        return {"average": "uniform" if self.decay is None else "ema", "count": self.count, "decay": self.decay}

    def __str__(self) -> str:
        """In words, for a model card."""
        how = "Mean" if self.decay is None else f"Exponential moving average (decay {self.decay:g})"
        return f"{how} of {counted(self.count, 'checkpoint')} of a run, the oldest first"

    def mergekit(self, paths: Sequence[str], dtype: str) -> "MergeConfiguration":
        """Make mergekit's configuration; see `Merge.mergekit`."""
        del dtype  # mergekit adds up in FP32 whatever the type
        return _configuration(paths, "linear", each=[{"weight": weight} for weight in self.weights])


def _configuration(
    paths: Sequence[str],
    method: str,
    *,
    base: bool = False,
    each: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    out_dtype: str | None = None,
) -> "MergeConfiguration":
    from mergekit.common import ModelPath, ModelReference
    from mergekit.config import InputModelDefinition, MergeConfiguration

    # ModelPath spelled out, because mergekit reads '@' and '+' in a plain string as revision and adapter.
    models = [ModelReference(model=ModelPath(path=path)) for path in paths]
    own = [*each, *({} for _ in models[len(each) :])]
    return MergeConfiguration(
        merge_method=method,
        base_model=models[0] if base else None,
        models=[
            InputModelDefinition(model=model, parameters=dict(values) or None)
            for model, values in zip(models, own, strict=True)
        ],
        parameters=dict(parameters) if parameters else None,
        dtype=dtype,
        out_dtype=out_dtype,
    )
