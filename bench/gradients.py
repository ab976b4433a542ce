"""The cost of BF16 gradients in accuracy: the same run with BF16 and with FP32 gradients, on CPU ranks.

Weights, data and their order are the same in all runs. Only the type in which a rank sums its micro-batches' gradients
and ranks reduce them differs, or the number of ranks that share the batch. FP32 runs on different numbers of ranks
differ only in the order of their sums, so their difference shows the effect of rounding alone.
"""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core import log
from ..core.errors import UserError
from ..core.log import counted
from ..core.memory import GRADIENT
from ..recipes.schema import Recipe
from ..recipes.validate import validate
from ..training.run.journal import JOURNAL_FILE, Event, read
from .train import run_pdapt, unsaved

LAST = 50
"""Number of last steps whose mean loss is compared: the loss of a single step depends mostly on its batch."""


@dataclass(frozen=True)
class Curve:
    """A run's loss (nats per token) and gradient norm, step by step."""

    losses: list[float]
    norms: list[float]


@dataclass(frozen=True)
class Difference:
    """The difference between two runs of the same steps.

    Attributes:
        name: what differs.
        loss_pct: mean over all steps of the losses' difference, in percent of the loss, with its sign.
        loss_size_pct: the same for the absolute difference.
        last_loss_pct: like `loss_pct`, over the last `LAST` steps.
        norm_pct: mean of the gradient norms' difference, in percent of the norm, with its sign.
        norm_size_pct: the same for the absolute difference.
    """

    name: str
    loss_pct: float
    loss_size_pct: float
    last_loss_pct: float
    norm_pct: float
    norm_size_pct: float


@dataclass(frozen=True)
class GradientResult:
    """The result of `pdapt bench gradients`.

    Attributes:
        steps: steps of each run.
        first_loss, last_loss: the first FP32 run's loss in its first step, and its mean in the last `LAST` steps.
        bf16: BF16 compared with FP32 gradients, for each number of ranks.
        rounding: FP32 gradients on more ranks, compared with the fewest.
    """

    steps: int
    first_loss: float
    last_loss: float
    bf16: list[Difference]
    rounding: list[Difference]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def spread(recipe: Recipe, ranks: int, grads: str) -> Recipe:
    """The recipe on `ranks` ranks of this machine, with one sequence at once on each.

    Raises:
        UserError: the ranks do not divide the batch.
    """
    wanted = replace(
        unsaved(recipe),
        parallel=replace(recipe.parallel, nodes=1, ranks_per_node=ranks),
        batch=replace(recipe.batch, micro_size=1),
        optimizer=replace(recipe.optimizer, grads=grads),
    )
    validate(wanted)
    return wanted


def bench(recipe: Recipe, ranks: list[int], tokens: Path, work: Path) -> GradientResult:
    """Train with both types of gradients on each number of ranks, and compare.

    Args:
        recipe: a recipe in BF16.
        ranks: numbers of ranks, the fewest first.
        tokens: the tokens stage's folder.
        work: a temporary folder.

    Raises:
        UserError: the recipe is not in BF16, has too few steps, or the ranks do not divide its batch.
    """
    if recipe.steps < LAST:
        raise UserError(f"there are {counted(recipe.steps, 'step')}", where="--steps", allowed=f"from {LAST}")
    runs = {(count, grads): spread(recipe, count, grads) for count in ranks for grads in GRADIENT}
    curves: dict[tuple[int, str], Curve] = {}
    for (count, grads), variant in runs.items():
        log.info(f"bench: {grads} gradients, {counted(count, 'rank')}")
        folder = work / f"{count}-{grads}"
        run_pdapt(variant, tokens, folder)
        curves[count, grads] = curve_of(folder / "run")
    first = curves[ranks[0], "fp32"]
    return GradientResult(
        steps=recipe.steps,
        first_loss=first.losses[0],
        last_loss=statistics.mean(first.losses[-LAST:]),
        bf16=[difference(f"DP {count}", curves[count, "bf16"], curves[count, "fp32"]) for count in ranks],
        rounding=[difference(f"DP {count} against DP {ranks[0]}", curves[count, "fp32"], first) for count in ranks[1:]],
    )


def curve_of(run_folder: Path) -> Curve:
    """Read a run's curve from its journal."""
    rows = [row for row in read(run_folder / JOURNAL_FILE) if row["event"] == Event.STEP]
    return Curve([row["loss"] for row in rows], [row["grad_norm"] for row in rows])


def difference(name: str, run: Curve, other: Curve) -> Difference:
    """Compare two runs of the same steps."""
    losses, norms = (
        [100 * (mine / theirs - 1) for mine, theirs in zip(curve, reference, strict=True)]
        for curve, reference in ((run.losses, other.losses), (run.norms, other.norms))
    )
    return Difference(
        name=name,
        loss_pct=statistics.mean(losses),
        loss_size_pct=statistics.mean(map(abs, losses)),
        last_loss_pct=statistics.mean(losses[-LAST:]),
        norm_pct=statistics.mean(norms),
        norm_size_pct=statistics.mean(map(abs, norms)),
    )


def lines(result: GradientResult) -> Iterator[str]:
    """Format a result for people."""
    yield (
        f"{counted(result.steps, 'step')}: loss {result.first_loss:.3f} at first, {result.last_loss:.3f} over the last "
        f"{LAST}"
    )
    for title, rows in (("BF16 against FP32 gradients", result.bf16), ("FP32, another order of sums", result.rounding)):
        for row in rows:
            yield (
                f"{title}, {row.name}: loss {row.loss_pct:+.3f} % (absolute {row.loss_size_pct:.3f} %), over the last "
                f"{LAST} steps {row.last_loss_pct:+.3f} %; gradient norm {row.norm_pct:+.3f} % (absolute "
                f"{row.norm_size_pct:.3f} %)"
            )
