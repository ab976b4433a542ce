"""`pdapt plan recipe`: the search, with the run's cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..recipes.filling import Filling, filling
from ..recipes.schema import Recipe, world_size
from ..scaling.constants import FITTED, read_fit
from ..scaling.predict_run import Run, Site
from ..scaling.search import BEST, Choice, explanation, plan
from ..training.run.journal import JOURNAL_FILE, read_steps


@dataclass(frozen=True)
class Prices:
    """The prices of a run.

    Attributes:
        gpu_hour: price of a GPU-hour.
        kwh: price of a kWh.
    """

    gpu_hour: float | None
    kwh: float | None


def planned(
    recipe: Recipe,
    tokens: Path | None,
    constants: Path | None,
    *,
    site: Site,
    prices: Prices,
    keep: tuple[str, ...],
    run: Path | None,
) -> dict[str, Any]:
    """Search the best parallelism, and compute the cost of its run.

    Args:
        recipe, tokens: checked; the tokens stage's folder, or None.
        constants: a site's file, or None.
        site: its machines.
        prices: of the run.
        keep: settings that stay.
        run: folder of a run whose measured energy is shown, or None.

    Returns:
        `choice`; and as JSON values all else.

    Raises:
        UserError: nothing fits, or a file is not what it should be.
    """
    fit, slots = read_fit(constants or FITTED), filling(recipe, tokens)
    measured = energy(run) if run else None
    choice, every = plan(recipe, slots, site, fit.constants, keep=keep)
    return {
        "choice": choice,
        "chosen": choice.to_json(),
        "best": [other.to_json() for other in every[:BEST]],
        "tried": len(every),
        "explanation": explanation(choice, every),
        "interval": list(fit.interval),
        "assumed": _assumptions(recipe, slots, site),
        "cost": cost(choice.run, prices),
        "measured": measured,
    }


def _assumptions(recipe: Recipe, slots: Filling, site: Site) -> list[str]:
    cards = site.nics or recipe.parallel.ranks_per_node
    return [
        f"{slots.source}: {slots.fill:.1%} of the slots filled, in pieces of {slots.attended:,.0f} (mean by token)",
        f"{cards} network card{'s' if cards > 1 else ''} of {site.nic / 1e9:g} GB/s a node",
        f"{site.watts:g} W a GPU, with its share of the node and of cooling",
        "MFU is over the BF16 peak, with causal attention counted half",
    ]


def cost(run: Run, prices: Prices) -> dict[str, float]:
    """The cost of a run, by the prices that are given."""
    costs = {}
    if prices.gpu_hour is not None:
        costs["gpu_hours"] = run.gpu_hours * prices.gpu_hour
    if prices.kwh is not None:
        costs["energy"] = run.kwh * prices.kwh
    return costs


def energy(run: Path) -> dict[str, float]:
    """Energy that a run's GPUs have measured.

    Raises:
        UserError: the folder has no journal, or no step of it was measured.
    """
    steps = [row for row in read_steps(run / JOURNAL_FILE).rows if row["event"] == "step"]
    rows = [row for row in steps if row.get("joules")]
    if not rows:
        raise UserError(f"no step of {run} has a measured energy", where="--run", allowed="a run on GPUs with NVML")
    joules, slots = sum(row["joules"] for row in rows), sum(row["slots"] for row in rows)
    return {"steps": len(rows), "joules_per_step": joules / len(rows), "joules_per_slot": joules / slots}


def lines(name: str, result: dict[str, Any]) -> Iterator[str]:
    """A plan's lines, for people."""
    choice: Choice = result["choice"]
    recipe, run = choice.recipe, choice.run
    yield f"{name} on {world_size(recipe)} H100: {result['tried']} ways fit. Predicted, not measured."
    yield from (f"  assumed: {assumed}" for assumed in result["assumed"])
    yield ""
    yield from table([*result["best"]], choice.settings)
    yield ""
    yield "Chosen: the simplest within 1 % of the fastest."
    yield from (f"  {line}" for line in result["explanation"])
    low, high = result["interval"]
    yield (
        f"  the whole run: {run.hours:.1f} h, {run.gpu_hours:,.0f} GPU-hours, {run.kwh:,.0f} kWh; of published runs of "
        f"models that the planner had not seen, 90 % took {1 / high:.2f} to {1 / low:.2f} times as long as predicted"
    )
    for what, price in result["cost"].items():
        yield f"  cost of {what.replace('_', '-')}: {price:,.0f}"
    if result["measured"]:
        measured = result["measured"]
        yield f"  measured in {measured['steps']} steps of --run: {measured['joules_per_slot']:.3g} J a slot"
        yield f"  predicted here: {run.kwh * 3.6e6 / (recipe.steps * _slots(recipe)):.3g} J a slot"


def _slots(recipe: Recipe) -> int:
    return recipe.batch.global_size * recipe.data.seq_length


def table(best: list[dict[str, Any]], chosen: dict[str, Any]) -> Iterator[str]:
    """The best ways, one a line; the chosen one is marked."""
    spread = "   TP  PP  CP   DP  chunks  micro  grads  recompute"
    yield f"{spread}  GiB   s/step  tokens/s/GPU    MFU  GPU-hours  after products"
    for row in best:
        mark = "*" if all(row[name] == value for name, value in chosen.items()) else " "
        after = next((name, seconds) for name, seconds in row["terms_seconds"].items() if name != "products")
        spread = f"{row['tp']:>2} {row['pp']:>3} {row['cp']:>3} {row['dp']:>4} {row['interleaving']:>7}"
        recompute = "yes" if row["recompute"] else "no"
        speed = f"{row['step_seconds']:>8.3f} {row['tokens_per_second_per_gpu']:>13,.0f} {row['mfu']:>6.1%}"
        yield (
            f" {mark} {spread} {row['micro']:>6}   {row['grads']:<5}  {recompute:<9} {row['memory_gib']:>4.1f} {speed} "
            f"{row['gpu_hours']:>10,.0f}  {after[0]} {after[1] / row['step_seconds']:.0%}"
        )
