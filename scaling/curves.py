"""Weak and strong scaling from the fewest GPUs that fit, and goodput under failures: simulated, as figures and CSV.

The rows that the planner is fitted to end at DP groups of 1,024; beyond that it extrapolates, with the latency of a
collective proportional to the number of its ranks.
"""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from textwrap import fill
from typing import Any

from ..core.errors import UserError
from ..core.files import write_json
from ..core.gpus import GIB
from ..core.log import counted
from ..core.manifest import Manifest, run_stage
from ..core.memory import fits, save_stall_seconds
from ..recipes.filling import Filling
from ..recipes.load import to_dict
from ..recipes.memory import of_gpu, of_host
from ..recipes.schema import Recipe, describe_run, model_parallel, saves_asynchronously, world_size
from .constants import FITTED, Constants, Reach, read_fit, read_reach
from .goodput import Failures, daly, goodput
from .plotting import new_figure, save_figure, write_csv
from .predict_run import Run, Site, beyond, predict_run, stack_of_recipe
from .step_time import Terms
from .work import Scaling

LABEL = "simulated with pdapt's planner; nothing here was measured"
COUNTED = {"dp": "gradients and weights", "optimizer": "optimizer", "other": "launches and fixed cost", "tp": "TP",
           "bubble": "pipeline's bubble", "pp": "between stages", "cp": "CP"}  # fmt: skip
"""Terms other than computation, and their names in the figures."""


@dataclass(frozen=True)
class Point:
    """A number of GPUs.

    Attributes:
        scaling: weak or strong.
        gpus: GPUs of the run.
        global_batch: sequences per step.
        run: the predicted run.
        fits: whether the predicted memory fits.
    """

    scaling: Scaling
    gpus: int
    global_batch: int
    run: Run
    fits: bool


def points(recipe: Recipe, filling: Filling, site: Site, constants: Constants, *, largest: int) -> list[Point]:
    """Predict the recipe on 1, 2, 4 ... copies of the model, from the fewest that fit, with at most its micro-batch.

    Weak scaling: each copy of the model takes as many sequences as in the recipe. Strong scaling: the global batch is
    the recipe's, up to one sequence for each copy.

    Raises:
        UserError: one copy of the model needs more than `largest` GPUs, or the recipe fits on no such number of GPUs.
    """
    spread = model_parallel(recipe)
    if spread > largest:
        raise UserError(f"the model is spread over {spread} ranks", where="--gpus", allowed=f"{spread} or more")
    each = recipe.batch.global_size * spread // world_size(recipe)
    curve = []
    copies = 1
    while copies * spread <= largest:
        weak = _on(recipe, copies, max(1, each) * copies)
        curve.append(_point(Scaling.WEAK, weak, predict_run(weak, filling, site, constants)))
        if recipe.batch.global_size >= copies:
            # The batch is rounded to a multiple of the number of copies.
            strong = _on(recipe, copies, max(1, round(recipe.batch.global_size / copies)) * copies)
            curve.append(_point(Scaling.STRONG, strong, predict_run(strong, filling, site, constants)))
        copies *= 2
    least = min((point.gpus for point in curve if point.fits), default=None)
    if least is None:
        raise UserError(
            f"the recipe does not fit on up to {counted(largest, 'GPU')}, spread as it is (predicted)",
            where="--gpus",
            fix="find a way that fits with `pdapt plan recipe`, or allow more GPUs",
        )
    return [point for point in curve if point.gpus >= least]


def _point(scaling: Scaling, recipe: Recipe, run: Run) -> Point:
    room = fits(of_gpu(recipe), recipe.machine.gpu_gib * GIB)
    batch = recipe.batch.global_size
    return Point(scaling, gpus=world_size(recipe), global_batch=batch, run=run, fits=room)


def _on(recipe: Recipe, copies: int, batch: int) -> Recipe:
    """The recipe with a number of copies of the model, and a micro-batch that divides the share of each."""
    each = batch // copies
    micro = max(size for size in range(1, recipe.batch.micro_size + 1) if each % size == 0)
    gpus = copies * model_parallel(recipe)
    node = min(recipe.parallel.ranks_per_node, gpus)
    return replace(
        recipe,
        parallel=replace(recipe.parallel, nodes=max(1, gpus // node), ranks_per_node=node),
        batch=replace(recipe.batch, global_size=batch, micro_size=micro),
    )


def efficiency(curve: list[Point], scaling: Scaling) -> list[tuple[int, float]]:
    """List the numbers of GPUs, each with its tokens/s/GPU divided by those of the fewest GPUs."""
    chosen = [point for point in curve if point.scaling == scaling]
    first = chosen[0].run.tokens_per_second_per_gpu
    return [(point.gpus, point.run.tokens_per_second_per_gpu / first) for point in chosen]


def takeovers(curve: list[Point], scaling: Scaling) -> dict[str, int]:
    """Find, for each term but computation, the fewest GPUs at which it is the largest, and over 5 % of the step."""
    first: dict[str, int] = {}
    for point in (point for point in curve if point.scaling == scaling):
        by_term = shares(point)
        name = max(by_term, key=lambda term: by_term[term])
        if by_term[name] > 0.05:
            first.setdefault(name, point.gpus)
    return first


def shares(point: Point) -> dict[str, float]:
    """Share of each term other than computation in a point's step."""
    return {name: float(getattr(point.run.terms, name)) / point.run.step_seconds for name in COUNTED}


@dataclass(frozen=True)
class GoodputPoint:
    """Goodput of a number of GPUs, with the best interval between saves, and with the recipe's."""

    gpus: int
    hours_between_failures: float
    stall_seconds: float
    best_interval_seconds: float
    goodput_at_best: float
    recipe_interval_seconds: float
    goodput_at_recipe: float


def goodputs(recipe: Recipe, curve: list[Point], failures: Failures) -> list[GoodputPoint]:
    """Compute the goodput of the weak curve's points."""
    return [_goodput(recipe, point, failures) for point in curve if point.scaling == Scaling.WEAK]


def _goodput(recipe: Recipe, point: Point, failures: Failures) -> GoodputPoint:
    spread = _on(recipe, point.gpus // model_parallel(recipe), point.global_batch)
    restart = 60 * failures.restart_minutes
    stall = failures.save_seconds + save_stall_seconds(
        of_host(spread), asynchronous=saves_asynchronously(spread, gpu=True)
    )
    mean, given = failures.mean_seconds(point.gpus), recipe.checkpoint.every * point.run.step_seconds
    best = daly(stall, mean)
    return GoodputPoint(
        gpus=point.gpus,
        hours_between_failures=mean / 3600,
        stall_seconds=stall,
        best_interval_seconds=best,
        goodput_at_best=goodput(best, stall, mean, restart),
        recipe_interval_seconds=given,
        goodput_at_recipe=goodput(given, stall, mean, restart),
    )


@dataclass(frozen=True)
class TrainingTime:
    """Hours that a number of GPUs needs for as many real tokens as the recipe's run has, without validations.

    Attributes:
        scaling, gpus: kind of scaling and GPUs of the curve's point.
        steps: steps that hold these tokens, with the point's global batch.
        hours_without_failures: hours of the steps alone.
        hours: hours with saves and failures, if the run saves at the best interval.
        least, most: limits of `hours`, by the planner's interval.
        hours_at_recipe: like `hours`, but saving after as many steps as the recipe; None if failures prevent progress.
        gpu_hours: GPU-hours that correspond to `hours`.
    """

    scaling: Scaling
    gpus: int
    steps: float
    hours_without_failures: float
    hours: float
    least: float
    most: float
    hours_at_recipe: float | None
    gpu_hours: float


def training_times(
    recipe: Recipe, curve: list[Point], failures: Failures, interval: tuple[float, float]
) -> list[TrainingTime]:
    """Compute the time to train at each point of both curves."""
    times = []
    for point in curve:
        lost = _goodput(recipe, point, failures)
        steps = recipe.steps * recipe.batch.global_size / point.global_batch
        whole = steps * point.run.step_seconds / 3600
        hours = whole / lost.goodput_at_best
        times.append(
            TrainingTime(
                scaling=point.scaling,
                gpus=point.gpus,
                steps=steps,
                hours_without_failures=whole,
                hours=hours,
                least=hours / interval[1],
                most=hours / interval[0],
                hours_at_recipe=whole / lost.goodput_at_recipe if lost.goodput_at_recipe > 0 else None,
                gpu_hours=hours * point.gpus,
            )
        )
    return times


def draw(
    recipe: Recipe, filling: Filling, out: Path, *, largest: int, failures: Failures, site: Path | None
) -> Manifest:
    """Simulate, and write `curves.json` and, of `scaling`, `goodput` and `time_to_train`, a CSV file and a figure each.

    Args:
        recipe: the checked recipe.
        filling: how full its slots are.
        out: the folder to make.
        largest: largest number of GPUs.
        failures: how often GPUs fail.
        site: file of constants, or None for the published fit.

    Raises:
        UserError: `out` holds something else, or the recipe does not fit on up to `largest` GPUs.
    """
    path = site or FITTED
    constants, reach = read_fit(path).constants, read_reach(path)
    interval = reach.interval_of(stack_of_recipe(recipe))
    config = {
        "recipe": to_dict(recipe),
        "filling": asdict(filling),
        "largest": largest,
        "failures": asdict(failures),
        "constants": asdict(constants),
    }

    def body(work: Path) -> dict[str, Any]:
        curve = points(recipe, filling, Site(), constants, largest=largest)
        simulated = Simulated(
            curve,
            goodputs(recipe, curve, failures),
            training_times(recipe, curve, failures, interval),
            interval,
            beyond=sorted({sentence for point in curve for sentence in _beyond(recipe, point, reach)}),
        )
        words = f"{describe_run(recipe)}; constants: {site.stem if site else 'published speeds'}"
        fails = f"a failure every {failures.gpu_years:g} years per GPU, {failures.restart_minutes:g} minutes to restart"
        return _write(simulated, work, Title(f"{words}\n{fails}", world_size(recipe)))

    return run_stage("plan-curves", {}, config, out=out, body=body)


def _beyond(recipe: Recipe, point: Point, reach: Reach) -> list[str]:
    """List how a point goes beyond the rows that the constants are fitted to."""
    return beyond(_on(recipe, point.gpus // model_parallel(recipe), point.global_batch), reach)


@dataclass(frozen=True)
class Simulated:
    """The results of a simulation: see `points`, `goodputs`, `training_times` and `Reach`."""

    curve: list[Point]
    lost: list[GoodputPoint]
    times: list[TrainingTime]
    interval: tuple[float, float]
    beyond: list[str]


CHARACTERS_PER_INCH = 12
"""Number of characters at 9 points that certainly fit."""


@dataclass(frozen=True)
class Title:
    """The title of a figure, and the recipe's own number of GPUs, which the figure marks."""

    text: str
    gpus: int

    def put(self, figure: Any, axes: list[Any]) -> None:
        """Write the title, and mark the recipe's number of GPUs in each panel."""
        columns = int(CHARACTERS_PER_INCH * figure.get_figwidth())
        figure.suptitle("\n".join(fill(line, columns) for line in self.text.splitlines()), fontsize=9)
        for axis in axes:
            axis.axvline(self.gpus, color="gray", linestyle=":", linewidth=1)
            axis.text(
                self.gpus, 0.5, f"recipe: {self.gpus} ", fontsize=7, rotation=90, transform=axis.get_xaxis_transform()
            )
            axis.xaxis.set_minor_formatter("")


def _write(simulated: Simulated, work: Path, title: Title) -> dict[str, Any]:
    """Write all files of the stage, and return its counts."""
    curve = simulated.curve
    write_csv(work / "scaling.csv", [_row(point) for point in curve])
    write_csv(work / "goodput.csv", [asdict(point) for point in simulated.lost])
    write_csv(work / "time_to_train.csv", [asdict(time) for time in simulated.times])
    summary = {
        "label": LABEL,
        "interval": simulated.interval,
        "weak": efficiency(curve, Scaling.WEAK),
        "strong": efficiency(curve, Scaling.STRONG),
        "takes_over": {scaling: takeovers(curve, scaling) for scaling in Scaling},
        "beyond": simulated.beyond,
    }
    write_json(work / "curves.json", summary)
    _draw_scaling(curve, simulated.interval, work / "scaling.png", title)
    _draw_goodput(simulated.lost, work / "goodput.png", title)
    _draw_times(simulated.times, work / "time_to_train.png", title)
    counts = {"points": len(curve), "label": LABEL, "takes_over": summary["takes_over"]}
    return counts | {"beyond": simulated.beyond}


def _row(point: Point) -> dict[str, Any]:
    run = point.run
    terms = {item.name: float(getattr(run.terms, item.name)) for item in fields(Terms)}
    return {
        "scaling": point.scaling,
        "gpus": point.gpus,
        "global_batch": point.global_batch,
        "fits": point.fits,
        "step_seconds": run.step_seconds,
        "tokens_per_second_per_gpu": run.tokens_per_second_per_gpu,
        "mfu": run.mfu,
        **{f"{name}_seconds": seconds for name, seconds in terms.items()},
    }


def _draw_scaling(curve: list[Point], interval: tuple[float, float], path: Path, title: Title) -> None:
    """Draw the efficiency of both kinds of scaling, and the parts of a step's time."""
    figure, axes = new_figure((13, 4.2), 3)
    for scaling, style in ((Scaling.WEAK, "o-"), (Scaling.STRONG, "s--")):
        gpus, speeds = zip(*efficiency(curve, scaling), strict=True)
        axes[0].plot(gpus, speeds, style, label=scaling)
        low, high = ([speed * bound for speed in speeds] for bound in interval)
        axes[0].fill_between(gpus, low, high, alpha=0.12)
    axes[0].set(xscale="log", xlabel="GPUs", ylabel="tokens/s/GPU relative to the fewest GPUs that fit", ylim=(0, 1.15))
    axes[0].set_title("efficiency, with the predictions' 90 % interval")
    axes[0].legend()
    for axis, scaling in zip(axes[1:], Scaling, strict=True):
        chosen = [point for point in curve if point.scaling == scaling]
        gpus = [point.gpus for point in chosen]
        by_point = [shares(point) for point in chosen]
        percents = {label: [100 * by_term[name] for by_term in by_point] for name, label in COUNTED.items()}
        shown = {label: values for label, values in percents.items() if max(values) > 0.5}
        axis.stackplot(gpus, *shown.values(), labels=list(shown))
        axis.set(xscale="log", xlabel="GPUs", ylabel="% of a step", title=f"other than computation, {scaling} scaling")
        axis.legend(loc="upper left", fontsize=8)
    title.put(figure, list(axes))
    save_figure(figure, path, LABEL)


def _draw_goodput(rows: list[GoodputPoint], path: Path, title: Title) -> None:
    """Draw goodput with the best interval and with the recipe's."""
    figure, axis = new_figure((6.5, 4.2))
    gpus = [row.gpus for row in rows]
    axis.plot(gpus, [row.goodput_at_best for row in rows], "o-", label="Daly's save interval")
    axis.plot(gpus, [row.goodput_at_recipe for row in rows], "s--", label="the recipe's save interval")
    axis.set(xscale="log", xlabel="GPUs", ylabel="goodput", ylim=(0, 1.02), title="productive time, under failures")
    axis.legend()
    title.put(figure, [axis])
    save_figure(figure, path, LABEL)


def _draw_times(times: list[TrainingTime], path: Path, title: Title) -> None:
    """Draw the hours for the recipe's tokens, with and without failures, for both kinds of scaling."""
    figure, axis = new_figure((6.5, 4.6))
    for scaling, color in ((Scaling.WEAK, "C0"), (Scaling.STRONG, "C1")):
        chosen = [time for time in times if time.scaling == scaling]
        gpus = [time.gpus for time in chosen]
        axis.plot(gpus, [time.hours for time in chosen], "o-", color=color, label=f"{scaling}, with failures")
        axis.fill_between(
            gpus, [time.least for time in chosen], [time.most for time in chosen], color=color, alpha=0.15
        )
        without = [time.hours_without_failures for time in chosen]
        axis.plot(gpus, without, ":", color=color, label=f"{scaling}, without failures")
    axis.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="hours", title="time to train the recipe's tokens")
    axis.legend(fontsize=8)
    title.put(figure, [axis])
    save_figure(figure, path, LABEL)
