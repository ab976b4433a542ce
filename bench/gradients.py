"""The cost of BF16 gradients in accuracy: the same run with FP32 ones beside it, on CPU ranks.

Weights, data and their order are the same in all runs; only the type in which a rank sums its micro-batches' gradients
and ranks reduce them differs, or how many ranks share the batch. FP32 runs on different numbers of ranks differ in the
order of their sums alone, so that their difference is what rounding does anyway.
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
"""Last steps whose mean loss is compared: that of a single batch is mostly the batch's."""


@dataclass(frozen=True)
class Curve:
    """A run's loss (nats a token) and gradient norm, step by step."""

    losses: list[float]
    norms: list[float]


@dataclass(frozen=True)
class Difference:
    """A run against another of the same steps.

    Attributes:
        name: what differs.
        loss_pct: mean over all steps of the losses' difference, as a share of the loss, in percent, with its sign.
        loss_size_pct: the same of the difference's size.
        last_loss_pct: as `loss_pct`, over the last `LAST` steps.
        norm_pct: mean of the gradient norms' difference, as a share of the norm, in percent, with its sign.
        norm_size_pct: the same of the difference's size.
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
        steps: of each run.
        first_loss, last_loss: of the first FP32 run: of its first step, and the mean of its last `LAST` ones.
        bf16: BF16 against FP32 gradients, for each number of ranks.
        rounding: FP32 gradients on more ranks against the fewest.
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
    """The recipe on so many ranks of this machine, one sequence at once on each.

    Raises:
        UserError: the batch cannot be shared out.
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
        recipe: in BF16.
        ranks: numbers of them; the fewest first.
        tokens: the tokens stage's folder.
        work: a folder that is thrown away.

    Raises:
        UserError: the recipe is not in BF16, has too few steps, or its batch cannot be shared out.
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
    """A result's lines, for people."""
    yield (
        f"{counted(result.steps, 'step')}: loss {result.first_loss:.3f} at first, {result.last_loss:.3f} over the last "
        f"{LAST}"
    )
    for title, rows in (("BF16 against FP32 gradients", result.bf16), ("FP32, another sum's order", result.rounding)):
        for row in rows:
            yield (
                f"{title}, {row.name}: loss {row.loss_pct:+.3f} % (size {row.loss_size_pct:.3f} %), over the last "
                f"{LAST} steps {row.last_loss_pct:+.3f} %; gradient norm {row.norm_pct:+.3f} % (size "
                f"{row.norm_size_pct:.3f} %)"
            )
