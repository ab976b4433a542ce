"""`pdapt bench scaling`: a recipe on several numbers of ranks, measured, and compared with the planner.

Each run is `pdapt train` as a user starts it, in a temporary folder. Numbers of ranks take turns, because other work on
a machine slows down whatever runs at the time. On a cluster the runs are jobs (`scaling_chain.py`), and `--collect`
reads their results.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ..core import log
from ..core.errors import UserError
from ..core.files import sha256, write_json
from ..core.log import counted
from ..core.manifest import Manifest
from ..launch.slurm_site import read_site, speed_path
from ..recipes.filling import Filling, filling
from ..recipes.load import to_dict
from ..recipes.schema import Recipe, data_parallel, model_parallel
from ..recipes.validate import validate
from ..scaling.constants import read_fit
from ..scaling.fit import predict
from ..scaling.measured import WARM, Measurement, case_of, efficiencies, measurement, recalibrated, turn_of
from ..scaling.plotting import write_csv
from ..scaling.predict_run import Site
from ..scaling.work import Scaling
from ..training.run.journal import JOURNAL_FILE, read_steps, steps_in
from .scaling_result import ScalingResult, ScalingRow
from .train import DISTURBED, WorkOfOthers, run_pdapt, sample_tokens, unsaved

RESULTS = ("scaling.json", "scaling.csv", "site.json", "scaling.png", "scaling.html")


@dataclass(frozen=True)
class Plan:
    """The runs of a benchmark.

    Attributes:
        recipe: the recipe to scale.
        worlds: numbers of ranks.
        ways: weak scaling, strong scaling or both.
        repeats: how often each is run.
        gpu: whether the ranks run on GPUs.
        nodes: whether the ranks fill nodes with as many ranks as the recipe has on one; on GPUs they always do.
        site: the site where the runs are jobs, by name or path; None for runs on this machine.
    """

    recipe: Recipe
    worlds: list[int]
    ways: list[Scaling]
    repeats: int
    gpu: bool
    nodes: bool = False
    site: str | None = None

    def recipe_on(self, way: Scaling, world: int) -> Recipe:
        """The recipe on a number of ranks."""
        return spread(self.recipe, way, world, self.worlds[0], fill=self.gpu or self.nodes)

    def cores(self, world: int) -> float | None:
        """CPU cores of a rank: those that its job asks for, or its share of this machine's; None on GPUs."""
        if self.gpu:
            return None
        if self.site is None:
            return len(os.sched_getaffinity(0)) / world
        return float(self.recipe.job.cpus_per_rank or read_site(self.site).cpus_per_rank)

    def runs(self) -> Iterator[tuple[Scaling, int, int, Recipe]]:
        """Yield kind of scaling, number of ranks, turn and recipe of each run; numbers of ranks take turns."""
        for turn in range(self.repeats):
            for way in self.ways:
                for world in self.worlds:
                    yield way, world, turn, self.recipe_on(way, world)


def run_all(plan: Plan, tokens: Path | None, out: Path, *, collecting: bool, as_json: bool) -> Iterator[str]:
    """Run a benchmark, or read the runs of one, and give the lines to print.

    Args:
        plan: the checked plan.
        tokens: the tokens stage's folder; None for the embedded sample.
        out: folder for the results; with `collecting` also the folder of the runs.
        collecting: only read the results of runs.
        as_json: give one JSON object.

    Raises:
        UserError: a run is not complete, or nodes are asked for on this machine.
    """
    if plan.nodes and not collecting:
        raise UserError(
            "--nodes is for a cluster", where="--nodes", fix="give --on slurm, or --world for ranks on this machine"
        )
    collected = collect(plan, out) if collecting else None
    with TemporaryDirectory() as work:
        folder = Path(work)
        if tokens is None:
            (folder / "sample-tokens").mkdir()
            tokens = sample_tokens(plan.recipe, folder / "sample-tokens")
        others = WorkOfOthers()
        measurements = collected or measure(plan, tokens, folder)
        result = compare(plan, measurements, filling(plan.recipe, tokens))
        if not collecting:
            result = replace(result, others=others.share())
    write_result(plan, result, out)
    yield from [json.dumps(result.to_json())] if as_json else lines(result)


def check(plan: Plan) -> None:
    """Check that every run is possible.

    Raises:
        UserError: a number of ranks does not fit the recipe, or there are too few steps.
    """
    if plan.recipe.steps < WARM + 2:
        raise UserError(
            f"the first {WARM} steps are not counted, but the recipe has only {counted(plan.recipe.steps, 'step')}",
            where="--steps",
            allowed=f"from {WARM + 2}",
        )
    if not plan.worlds or any(world < 1 for world in plan.worlds):
        raise UserError(f"the numbers of ranks are {plan.worlds}", where="--world", allowed="whole numbers from 1")
    parallel = model_parallel(plan.recipe)
    for world in plan.worlds:
        if world % parallel:
            raise UserError(f"TP x PP x CP = {parallel} does not divide {counted(world, 'rank')}", where="--world")
    for _, _, _, recipe in plan.runs():
        validate(recipe)


def spread(recipe: Recipe, way: Scaling, world: int, first: int, *, fill: bool) -> Recipe:
    """The recipe on a number of ranks, which `fill` nodes or share one.

    It has the same number of sequences per rank as on the fewest ranks (weak), or per step (strong). The micro-batch is
    smaller if a rank has fewer sequences than the recipe's, or if that does not divide them.
    """
    node = min(world, recipe.parallel.ranks_per_node) if fill else world
    if world % node:
        raise UserError(f"{world} ranks do not fill nodes of {node}", where="--world", allowed=f"multiples of {node}")
    batch = recipe.batch.global_size * world // first if way == Scaling.WEAK else recipe.batch.global_size
    each = batch * model_parallel(recipe) // world
    micro = max((size for size in range(1, recipe.batch.micro_size + 1) if each % size == 0), default=1)
    return replace(
        unsaved(recipe),
        parallel=replace(recipe.parallel, nodes=world // node, ranks_per_node=node),
        batch=replace(recipe.batch, global_size=batch, micro_size=micro),
    )


def measure(plan: Plan, tokens: Path, work: Path) -> list[Measurement]:
    """Run everything on this machine, and combine the measurements."""
    for way, world, turn, recipe in plan.runs():
        log.info(f"bench: {way}, {counted(world, 'rank')}, turn {turn + 1} of {plan.repeats}")
        run_pdapt(recipe, tokens, work / run_name(way, world, turn), gpu=plan.gpu)
    return collect(plan, work)


def collect(plan: Plan, work: Path) -> list[Measurement]:
    """Read the results of the runs.

    Raises:
        UserError: a run is missing, or did too few steps.
    """
    measurements = []
    for way in plan.ways:
        for world in plan.worlds:
            folders = [work / run_name(way, world, turn) / "run" for turn in range(plan.repeats)]
            turns = []
            for folder in folders:
                steps = steps_in(read_steps(folder / JOURNAL_FILE).rows)
                try:
                    turns.append(turn_of(steps))
                except ValueError as error:
                    raise UserError(f"{folder} has too few steps: {error}", where=str(folder / JOURNAL_FILE)) from None
            batch = plan.recipe_on(way, world).batch.global_size
            measurements.append(measurement(way, world, turns, cores=plan.cores(world), batch=batch))
    return measurements


def run_name(way: str, world: int, turn: int) -> str:
    """The folder of a run."""
    return f"{way}-{world}-{turn}"


def compare(plan: Plan, measurements: list[Measurement], filling: Filling) -> ScalingResult:
    """Compare measurements with the plan: with the published fit, and with one adjusted to the fewest ranks alone."""
    start = (read_fit(speed_path(plan.site)) if plan.site else read_fit()).constants
    machines = read_site(plan.site).machines() if plan.site else Site()
    recipes = [plan.recipe_on(row.scaling, row.world) for row in measurements]
    shares = [_share(measured, measurements[0]) for measured in measurements]
    cases = [
        case_of(
            recipe,
            filling,
            machines,
            replace(measured, slots_per_second_per_rank=measured.slots_per_second_per_rank / share),
        )
        for recipe, measured, share in zip(recipes, measurements, shares, strict=True)
    ]
    published = predict(cases, start)
    beforehand = predict(cases, recalibrated(cases[:1], start).constants)
    site = recalibrated(cases, start)
    rows = [
        ScalingRow(
            measured=measured,
            efficiency=efficiency,
            dp=data_parallel(recipes[number]),
            planned=float(published[number]) if plan.gpu else None,
            planned_from_fewest_ranks=float(beforehand[number]) * shares[number],
            error_pct=100 * (float(beforehand[number]) / cases[number].published - 1),
        )
        for number, (measured, efficiency) in enumerate(zip(measurements, efficiencies(measurements), strict=True))
    ]
    return ScalingResult(rows, site)


def _share(measured: Measurement, first: Measurement) -> float:
    """Cores of a rank relative to the first measurement's: on cores, a rank's speed is assumed to be proportional."""
    return measured.cores / first.cores if measured.cores is not None and first.cores is not None else 1.0


def write_result(plan: Plan, result: ScalingResult, out: Path) -> None:
    """Write `scaling.json`, `scaling.csv`, `site.json`, `scaling.png`, the page `scaling.html`, and their manifest."""
    from .scaling_page import page

    values = result.to_json()
    write_csv(out / "scaling.csv", values["rows"])
    write_json(out / "site.json", values["site"])
    write_json(out / "scaling.json", {"recipe": to_dict(plan.recipe), **values})
    page(plan.recipe, result, out, gpu=plan.gpu)
    hashes = {name: sha256(out / name) for name in RESULTS}
    Manifest("scaling", {}, to_dict(plan.recipe), counts={"rows": len(result.rows)}, outputs=hashes).write(out)


def lines(result: ScalingResult) -> Iterator[str]:
    """Format a result for people."""
    for row in result.rows:
        measured, efficiency = row.measured, row.efficiency
        share = f"{efficiency.by_rank:.0%} per rank"
        if efficiency.by_core is not None:
            share += f", {efficiency.by_core:.0%} per core"
        yield (
            f"{measured.scaling}, {counted(measured.world, 'rank')}, batch {measured.global_batch}: "
            f"{measured.seconds:.3f} s per step (turns differ by {measured.spread:.1%}), "
            f"{measured.tokens_per_second:,.0f} tokens/s; efficiency {share}; "
            f"wait for data {measured.data_wait:.3f} s, between steps {measured.between:.3f} s; error of the plan from "
            f"the fewest ranks {row.error_pct:+.0f} %"
        )
        if measured.oversubscribed:
            yield "    OVERSUBSCRIBED: ranks share cores, so this says nothing about scaling"
    if (result.others or 0) > DISTURBED:
        yield f"DISTURBED: other processes took {result.others:.0%} of the cores' time; repeat it on an idle machine"
