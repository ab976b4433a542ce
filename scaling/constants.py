"""How much of the hardware's stated speed training reaches: the same for all models, fitted in `fit.py`."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import UserError
from ..core.files import read_json
from ..core.log import counted
from .read_row import LARGEST

FITTED = Path(__file__).parent / "fitted.json"


@dataclass(frozen=True)
class Constants:
    """The fitted constants; the defaults are what is known beforehand. Shares refer to the data sheet's value.

    Attributes:
        bf16: share of the peak that large BF16 products reach at 700 W.
        fp8: the same in FP8.
        attention: share of the BF16 peak that cuDNN's attention and FlashAttention 3 reach on long sequences.
        attention_2: the same for FlashAttention 2.
        attention_triton: the same for Triton's kernel.
        half_length: sequence length at which attention reaches half of that share.
        memory: share of the memory's speed that fused element-wise operations reach.
        unfused: how many times as long these operations take if they are not fused.
        kernel: seconds of a matrix product beyond its arithmetic: launch, ramp and last wave.
        tp_exposed: share of TP's communication time that remains although it overlaps with matrix products.
        dp_exposed: share of the time to exchange gradients and weights that remains although it overlaps.
        fsdp_exposed: the same with FSDP, which gathers in every micro-batch.
        network: share of the network cards' speed that collectives reach.
        hop: seconds that a collective takes for each rank of its group.
        pp_exposed: share of the time between stages that remains if chunks are interleaved.
        progress: share by which software of the same kind becomes faster in a year.
        step: seconds of a step beyond all of the above.
    """

    bf16: float = 0.72
    fp8: float = 0.60
    attention: float = 0.50
    attention_2: float = 0.4
    attention_triton: float = 0.25
    half_length: float = 500.0
    memory: float = 0.75
    unfused: float = 1.8
    kernel: float = 6e-6
    tp_exposed: float = 0.6
    dp_exposed: float = 0.15
    fsdp_exposed: float = 0.25
    network: float = 0.8
    hop: float = 3e-6
    pp_exposed: float = 0.3
    progress: float = 0.02
    step: float = 0.01


CONSTANT_NAMES = [item.name for item in fields(Constants)]


class Measured(NamedTuple):
    """The rows of a site that its constants are fitted to: names of models, and the fewest and most GPUs."""

    models: list[str]
    gpus: tuple[int, int]

    def beyond(self, model: str, gpus: int) -> str | None:
        """A sentence on how a prediction goes beyond these rows; None if it does not."""
        low, high = self.gpus
        parts = [] if model in self.models else [f"{model} is another model"]
        parts += [] if low <= gpus <= high else [f"{counted(gpus, 'GPU')} another size"]
        if not parts:
            return None
        rows = f"{', '.join(self.models)} on {low} to {counted(high, 'GPU')}"
        return f"beyond what was measured at this site, {rows}: {' and '.join(parts)}"


class Extent(NamedTuple):
    """The rows that the published constants are fitted to: fewest and most parameters and GPUs, largest DP and CP."""

    parameters: tuple[float, float]
    gpus: tuple[int, int]
    dp: int
    cp: int

    def beyond(self, parameters: float, gpus: int, *, dp: int, cp: int, of: str = "") -> str | None:
        """A sentence on how a prediction goes beyond these rows, which `of` names; None if it does not."""
        (small, large), (few, many) = self.parameters, self.gpus
        parts = [] if small <= parameters <= large else [f"{parameters / 1e9:.1f} G parameters"]
        parts += [] if few <= gpus <= many else [counted(gpus, "GPU")]
        parts += [] if dp <= self.dp else [f"DP {dp:,} (theirs: at most {self.dp:,})"]
        parts += [] if cp <= self.cp else [f"CP {cp} (theirs: at most {self.cp})"]
        if not parts:
            return None
        rows = f"{small / 1e9:.1f} to {large / 1e9:.0f} G parameters on {few:,} to {many:,} GPUs"
        return f"beyond the published rows{of} that the planner is fitted to, {rows}: {' and '.join(parts)}"


class Reach(NamedTuple):
    """The range in which a file's constants hold.

    Attributes:
        interval: interval as in `Fit`, for Megatron's trainer.
        stacks: the same for other kinds of trainers, by name: over all available rows of that kind, each predicted by a
            fit without the rows of its software.
        extents: the range of the rows of those other kinds, by name.
        rows: the rows that the constants are fitted to: a site's, or the published ones; None if the file does not say.
    """

    interval: tuple[float, float]
    stacks: dict[str, tuple[float, float]]
    extents: dict[str, Extent]
    rows: Measured | Extent | None

    def interval_of(self, stack: str) -> tuple[float, float]:
        """The interval for a kind of trainer; for others than Megatron's it is at least as wide as Megatron's."""
        low, high = self.stacks.get(stack, self.interval)
        return min(low, self.interval[0]), max(high, self.interval[1])

    def unmeasured(self, stack: str, parameters: float, gpus: int, *, dp: int, cp: int) -> str | None:
        """Why no rows support an interval for a kind of trainer other than Megatron's; None if some do.

        Args:
            stack: the kind, one of `stacks`.
            parameters, gpus, dp, cp: see `beyond`.
        """
        if not isinstance(self.rows, Extent):
            return f"these constants are a site's, which has no row of {stack}"
        return self.extents[stack].beyond(parameters, gpus, dp=dp, cp=cp, of=f" of {stack}")

    def beyond(self, model: str, parameters: float, gpus: int, *, dp: int, cp: int) -> list[str]:
        """List a sentence if a prediction goes beyond the rows that the constants are fitted to.

        Args:
            model: name of the model.
            parameters: parameters of the model.
            gpus: GPUs of the run.
            dp, cp: copies of the model, and ranks that share a sequence.
        """
        if self.rows is None:
            return ["the file of constants does not say which models and GPUs it was measured on"]
        if isinstance(self.rows, Measured):
            sentence = self.rows.beyond(model, gpus)
        else:
            sentence = self.rows.beyond(parameters, gpus, dp=dp, cp=cp)
        return [sentence] if sentence else []


class Fit(NamedTuple):
    """Fitted constants, as files hold them.

    Attributes:
        constants: constants of the step-time model.
        interval: quantiles of measured over predicted speed, for rows that the fit has not seen.
        rows: number of rows that the constants are fitted to; None if unknown.
    """

    constants: Constants
    interval: tuple[float, float]
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, in the form that `read_fit` reads."""
        values = {"constants": asdict(self.constants), "interval": list(self.interval)}
        return values if self.rows is None else values | {"rows": self.rows}


def read_fit(path: Path = FITTED) -> Fit:
    """Read a file that `pdapt plan fit`, `bench scaling` or another bench wrote.

    Raises:
        UserError: it is not a file of constants.
    """
    value = read_json(path)
    given, interval = (value.get("constants"), value.get("interval")) if isinstance(value, dict) else (None, None)
    constants: dict[str, float] = given if isinstance(given, dict) else {}
    known = set(constants) == set(CONSTANT_NAMES) and all(map(_positive, constants.values()))
    if not known or not isinstance(interval, list) or len(interval) != 2 or not all(map(_positive, interval)):
        raise UserError(
            "this is not a file of constants",
            where=str(path),
            allowed=f"an object `constants` with {', '.join(CONSTANT_NAMES)}, and two numbers `interval`, each above 0",
            fix="`pdapt plan fit --out FILE` or `pdapt bench scaling` writes one",
        )
    return Fit(Constants(**constants), (interval[0], interval[1]))


def read_measured(path: Path = FITTED) -> Measured | None:
    """Read from a file of constants what a site has measured; None if the file says nothing about that.

    Raises:
        UserError: the entry has another form.
    """
    value = read_json(path)
    given = value.get("measured") if isinstance(value, dict) else None
    if given is None:
        return None
    models, gpus = (given.get("models"), given.get("gpus")) if isinstance(given, dict) else (None, None)
    named = isinstance(models, list) and all(isinstance(model, str) for model in models)
    if not isinstance(models, list) or not named or not isinstance(gpus, list) or not _two(gpus):
        fix = "`pdapt plan fit ROWS --for SITE` writes it"
        raise UserError("`measured` is not what a site measured", where=str(path), fix=fix)
    return Measured(models, (int(gpus[0]), int(gpus[1])))


def read_reach(path: Path = FITTED) -> Reach:
    """Read the range in which a file's constants hold; for trainers other than Megatron's the intervals are published.

    Raises:
        UserError: see `read_fit` and `read_measured`.
    """
    fit, measured, published = read_fit(path), read_measured(path), read_json(FITTED)
    stacks = {name: (low, high) for name, (low, high) in published["stacks"].items()}
    extents = {name: _extent(value) for name, value in published["extents"].items()}
    rows = measured or (_extent(published["extent"]) if path == FITTED else None)
    return Reach(fit.interval, stacks, extents, rows)


def _extent(value: dict[str, Any]) -> Extent:
    (small, large), (few, many) = value["parameters"], value["gpus"]
    return Extent((small, large), (few, many), dp=value["dp"], cp=value["cp"])


def _two(values: list[Any]) -> bool:
    return len(values) == 2 and all(map(_positive, values))


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LARGEST
