"""How much of the hardware's figures training reaches: shared by all models and settings, and fitted by `fit.py`."""

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
    """The fitted constants; their defaults are what is known beforehand. Shares are of the data sheet's figure.

    Attributes:
        bf16: share of the peak that large BF16 products reach at 700 W.
        fp8: the same in FP8.
        attention: share of the BF16 peak that cuDNN's attention and FlashAttention 3 reach on long sequences.
        attention_2: the same of FlashAttention 2.
        attention_triton: the same of Triton's.
        half_length: length at which attention reaches half of that.
        memory: share of the memory's speed that fused element-wise operations reach.
        unfused: times as long as those take unfused.
        kernel: seconds of a matrix product beyond its arithmetic: launch, ramp and last wave.
        tp_exposed: share of TP's communication that remains where it runs beside the products.
        dp_exposed: share of the gradients' and weights' communication that remains although it overlaps.
        fsdp_exposed: the same with FSDP, which gathers in every micro-batch.
        network: share of the network cards' speed that collectives reach.
        hop: seconds that a collective takes for each rank of its group.
        pp_exposed: share of the time between stages that remains where chunks are interleaved.
        progress: share by which software of the same kind becomes faster in a year.
        step: seconds of a step beyond all that.
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
        """A sentence on how a prediction goes beyond these rows; None where it does not."""
        low, high = self.gpus
        parts = [] if model in self.models else [f"{model} is another model"]
        parts += [] if low <= gpus <= high else [f"{counted(gpus, 'GPU')} another size"]
        if not parts:
            return None
        rows = f"{', '.join(self.models)} on {low} to {counted(high, 'GPU')}"
        return f"beyond what was measured at this site, {rows}: {' and '.join(parts)}"


class Fit(NamedTuple):
    """Fitted constants, as files hold them.

    Attributes:
        constants: of the step-time model.
        interval: quantiles of the measured over the predicted speed, of rows that the fit has not seen.
        rows: number of rows that they are fitted to; None where nobody counted.
    """

    constants: Constants
    interval: tuple[float, float]
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, in the form that `read_fit` reads."""
        values = {"constants": asdict(self.constants), "interval": list(self.interval)}
        return values if self.rows is None else values | {"rows": self.rows}


def read_fit(path: Path = FITTED) -> Fit:
    """Read a file that `pdapt plan fit`, `bench scaling` or another bench wrote.

    Raises:
        UserError: it is not such a file.
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
    """Read from a file of constants what a site has measured; None where it says nothing of that.

    Raises:
        UserError: it says so in another form.
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


def _two(values: list[Any]) -> bool:
    return len(values) == 2 and all(map(_positive, values))


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LARGEST
