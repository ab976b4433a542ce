"""`pdapt plan recipe`: the search, with the run's cost."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.gpus import GIB
from ...core.log import counted
from ...recipes.filling import Filling, filling
from ...recipes.schema import Recipe, world_size
from ...scaling.constants import FITTED, Measured, read_fit, read_reach
from ...scaling.predict_run import Run, Site, beyond, stack_of_recipe
from ...scaling.search import BEST, Choice, explanation, plan
from ...training.run.journal import JOURNAL_FILE, read_steps, steps_in


@dataclass(frozen=True)
class Prices:
    """The prices of a run.

    Attributes:
        gpu_hour: price of a GPU-hour.
        kwh: price of a kWh.
    """

    gpu_hour: float | None
    kwh: float | None


@dataclass(frozen=True)
class Energy:
    """Energy that a run's GPUs have measured, over the steps that have a measurement."""

    steps: int
    joules_per_step: float
    joules_per_slot: float


@dataclass(frozen=True)
class RecipePlan:
    """The answer of `pdapt plan recipe`.

    Attributes:
        choice: the proposed way.
        best: the fastest ways, fastest first.
        tried: how many ways fit.
        explanation: sentences that explain the choice.
        interval: factors of the predicted speed between which 90 % of published runs lie.
        assumed: sentences that state the assumptions.
        cost: cost by what is paid for.
        measured: energy of another run, or None.
        at_site: whether the interval comes from rows that a site has measured.
    """

    choice: Choice
    best: list[Choice]
    tried: int
    explanation: list[str]
    interval: tuple[float, float]
    assumed: list[str]
    cost: dict[str, float]
    measured: Energy | None
    at_site: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "chosen": self.choice.to_json(),
            "best": [choice.to_json() for choice in self.best],
            "tried": self.tried,
            "explanation": self.explanation,
            "interval": list(self.interval),
            "assumed": self.assumed,
            "cost": self.cost,
            "measured": None if self.measured is None else asdict(self.measured),
        }


def plan_recipe(
    recipe: Recipe,
    tokens: Path | None,
    constants: Path | None,
    *,
    site: Site,
    prices: Prices,
    keep: tuple[str, ...],
    run: Path | None,
) -> RecipePlan:
    """Search the best parallelism, and compute the cost of its run.

    Args:
        recipe, tokens: the checked recipe; the tokens stage's folder, or None.
        constants: a site's file, or None.
        site: the machines.
        prices: prices of GPU-hours and energy.
        keep: settings that stay.
        run: folder of a run whose measured energy is shown, or None.

    Raises:
        UserError: nothing fits, or a file is not what it should be.
    """
    path = constants or FITTED
    fit, reach, slots = read_fit(path), read_reach(path), filling(recipe, tokens)
    measured = energy(run) if run else None
    choice, every = plan(recipe, slots, site, fit.constants, keep=keep)
    return RecipePlan(
        choice=choice,
        best=every[:BEST],
        tried=len(every),
        explanation=explanation(choice, every),
        interval=reach.interval_of(stack_of_recipe(recipe)),
        assumed=_assumptions(recipe, slots, site) + beyond(choice.recipe, reach),
        cost=cost(choice.run, prices),
        measured=measured,
        at_site=isinstance(reach.rows, Measured),
    )


def _assumptions(recipe: Recipe, slots: Filling, site: Site) -> list[str]:
    cards = site.nics or recipe.parallel.ranks_per_node
    return [
        f"{slots.source}: {slots.fill:.1%} of the slots are filled; a token's piece of a document has "
        f"{slots.attended:,.0f} tokens on average",
        f"{counted(cards, 'network card')} of {site.nic / 1e9:g} GB/s per node",
        f"{site.watts:,g} W per GPU, including its share of the node and of cooling",
        "MFU is the share of the BF16 peak, with causal attention counted half",
    ]


def cost(run: Run, prices: Prices) -> dict[str, float]:
    """The cost of a run, by the prices that are given."""
    costs = {}
    if prices.gpu_hour is not None:
        costs["gpu_hours"] = run.gpu_hours * prices.gpu_hour
    if prices.kwh is not None:
        costs["energy"] = run.kwh * prices.kwh
    return costs


def energy(run: Path) -> Energy:
    """Read the energy that a run's GPUs have measured.

    Raises:
        UserError: the folder has no journal, or the energy of no step was measured.
    """
    steps = [step for step in steps_in(read_steps(run / JOURNAL_FILE).rows) if step.joules]
    if not steps:
        raise UserError(f"no step of {run} has a measured energy", where="--run", allowed="a run on GPUs with NVML")
    joules, slots = sum(step.joules or 0.0 for step in steps), sum(step.slots for step in steps)
    return Energy(len(steps), joules_per_step=joules / len(steps), joules_per_slot=joules / slots)


def lines(name: str, result: RecipePlan) -> Iterator[str]:
    """Format a plan for people."""
    recipe, run = result.choice.recipe, result.choice.run
    ways = counted(result.tried, "way fits", "ways fit")
    yield f"{name} on {world_size(recipe)} H100: {ways}. Predicted, not measured."
    yield from (f"  assumed: {assumed}" for assumed in result.assumed)
    yield ""
    yield from table(result.best, result.choice)
    yield ""
    yield "Chosen (*): the simplest way within 1 % of the fastest."
    yield from (f"  {line}" for line in result.explanation)
    low, high = result.interval
    measured = "this site's measured runs, each predicted from the others, took"
    published = "of published runs of models that the planner had not seen, 90 % took"
    yield (
        f"  the whole run: {run.hours:.1f} h, {run.gpu_hours:,.0f} GPU-hours, {run.kwh:,.0f} kWh; "
        f"{measured if result.at_site else published} {1 / high:.2f} to {1 / low:.2f} times as long as predicted"
    )
    for what, price in result.cost.items():
        yield f"  cost of {what.replace('_', '-')}: {price:,.0f}"
    if result.measured is not None:
        steps = counted(result.measured.steps, "step")
        yield f"  measured in {steps} of --run: {result.measured.joules_per_slot:.3g} J per slot"
        yield f"  predicted here: {run.kwh * 3.6e6 / (recipe.steps * _slots(recipe)):.3g} J per slot"


def _slots(recipe: Recipe) -> int:
    return recipe.batch.global_size * recipe.data.seq_length


def table(best: list[Choice], chosen: Choice) -> Iterator[str]:
    """Format the best ways, one per line; the chosen one is marked."""
    spread = "   TP  PP  CP   DP  chunks  micro  grads  recompute"
    yield f"{spread}  GiB   s/step  tokens/s/GPU    MFU  GPU-hours  largest term but products"
    for choice in best:
        run, values = choice.run, choice.settings
        mark = "*" if values == chosen.settings else " "
        term, share = next(limit for limit in choice.limits if limit[0] != "products")
        spread = f"{values.tp:>2} {values.pp:>3} {values.cp:>3} {values.dp:>4} {values.interleaving:>7}"
        recompute = "yes" if values.recompute else "no"
        speed = f"{run.step_seconds:>8.3f} {run.tokens_per_second_per_gpu:>13,.0f} {run.mfu:>6.1%}"
        yield (
            f" {mark} {spread} {values.micro:>6}   {values.grads:<5}  {recompute:<9} {choice.memory.total / GIB:>4.1f} "
            f"{speed} {run.gpu_hours:>10,.0f}  {term} {share:.0%}"
        )
