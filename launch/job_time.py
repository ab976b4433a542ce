"""The time of a training job: how long it asks for, how many jobs a run takes, and when a job is asked to save."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.log import counted
from ..core.memory import save_stall_seconds
from ..core.slurm import SlurmOptions, as_time, seconds_of
from ..recipes.filling import filling
from ..recipes.memory import of_host
from ..recipes.schema import Recipe, world_size
from ..scaling.constants import read_fit, read_reach
from ..scaling.goodput import Failures
from ..scaling.predict_run import VALIDATED, Run, beyond, predict_run, stack_of_recipe
from .slurm_site import SlurmSite, longest_seconds, speed_path

MINUTE = 60
START = round(Failures.restart_minutes * MINUTE)
"""Seconds from a job's start until training goes on, in which inputs are checked and a checkpoint is read."""
SLACK = 2 * MINUTE
"""Seconds by which a job is asked to save earlier than it would need: Slurm looks at its limits once a minute."""
UNPREDICTED = 10 * MINUTE
"""Seconds before the limit at which a job is asked to save where no speed is predicted."""
HASHED = 1e9
"""Bytes a second that are hashed after a save, by one process: what is assumed of a parallel file system."""


@dataclass(frozen=True)
class JobTime:
    """The time that a run's jobs ask for.

    Attributes:
        limit: seconds of a job.
        lead: seconds before the limit at which it is asked to save.
        run: as predicted; None where ranks run on cores, of which nothing is predicted.
        interval: seconds of the whole run, the least and the most, by the planner's interval.
        jobs: how often the job is expected to start, if the run takes the most.
        beyond: how the prediction goes beyond the rows that the planner is fitted to, sentences.
    """

    limit: int
    lead: int
    run: Run | None = None
    interval: tuple[float, float] = (0.0, 0.0)
    jobs: int | None = None
    beyond: tuple[str, ...] = ()


def job_time(
    recipe: Recipe, site: str, cluster: SlurmSite, options: SlurmOptions, *, tokens: Path | None, gpu: bool
) -> JobTime:
    """Plan a run's jobs.

    Args:
        recipe: checked.
        site: name or path, as `read_site` takes it.
        cluster: what that read.
        options: of the job, from `options_at`.
        tokens: the tokens stage's folder; None: lengths of documents are drawn from PARCOMED's table.
        gpu: whether the ranks are GPUs.

    Raises:
        UserError: the time that is asked for is more than the site allows, or too short to make progress.
    """
    longest = longest_seconds(cluster, options.qos)
    asked = None if options.time is None else seconds_of(options.time)
    if asked is not None and asked > longest:
        qos = f" with QoS {options.qos}" if options.qos else ""
        raise UserError(
            f"job.time is {options.time}, and {cluster.title} allows {as_time(longest)}{qos}",
            where="job.time",
            fix="ask for less: the job is requeued until the run is done",
        )
    if not gpu:
        limit = asked or longest
        return JobTime(limit, lead=min(UNPREDICTED, limit // 4))
    speed = speed_path(site)
    run = predict_run(recipe, filling(recipe, tokens), cluster.machines(), read_fit(speed).constants)
    reach = read_reach(speed)
    low, high = reach.interval_of(stack_of_recipe(recipe))
    least, most = run.hours * 3600 / high, run.hours * 3600 / low
    lead = _lead(_saving_seconds(recipe, run), asked or longest)
    limit = asked or min(longest, _rounded(most + START + lead))
    useful = limit - lead - START
    if useful < run.step_seconds:
        raise UserError(
            f"a job of {as_time(limit)} leaves no time to train: {START // MINUTE} minutes are for its start, and "
            f"{math.ceil(lead / MINUTE)} to save before the limit",
            where="job.time",
            fix="ask for more, or leave it out: pdapt then computes it from the plan",
        )
    jobs, rows = math.ceil(most / useful), tuple(beyond(recipe, reach))
    return JobTime(limit, lead, run, (least, most), jobs=jobs, beyond=rows)


def _saving_seconds(recipe: Recipe, run: Run) -> float:
    """Seconds from the signal to the end: the step that runs, a validation, the save, whole, and its hashes."""
    host, chosen = of_host(recipe), recipe.validation.batches
    validation = (VALIDATED if isinstance(chosen, str) else chosen) * run.step_seconds / 3
    save = save_stall_seconds(host, asynchronous=False)
    return run.step_seconds + validation + save + world_size(recipe) * host.share / HASHED


def _lead(saving: float, limit: int) -> int:
    """Seconds before the limit: half as much again as the save takes, and Slurm's own delay."""
    lead = math.ceil(1.5 * saving) + SLACK
    if lead > limit // 2:
        raise UserError(
            f"a job of {as_time(limit)} would be asked to save {math.ceil(lead / MINUTE)} minutes before its limit",
            where="job.time",
            allowed=f"from {as_time(_rounded(2 * lead))}",
        )
    return lead


def _rounded(seconds: float) -> int:
    """The next ten minutes."""
    return math.ceil(seconds / (10 * MINUTE)) * 10 * MINUTE


def describe_time(time: JobTime, recipe: Recipe, site: SlurmSite) -> Iterator[str]:
    """Sentences on what a run takes, for before it is submitted."""
    saved = f"asked to save {as_time(time.lead)} before it ends"
    if time.run is None or time.jobs is None:
        yield f"a job of {as_time(time.limit)}, {saved}; nothing is predicted of CPU cores"
        return
    gpus, (least, most) = world_size(recipe), time.interval
    more = "" if time.jobs == 1 else ": one that is put back into the queue until the run is done"
    yield (
        f"predicted {time.run.hours:,.1f} h ({least / 3600:,.1f} to {most / 3600:,.1f}) on {counted(gpus, 'GPU')}: "
        f"{counted(time.jobs, 'job')} of {as_time(time.limit)}{more}, {saved}"
    )
    hours = time.run.gpu_hours + time.jobs * START / 3600 * gpus
    price = f", {hours * site.gpu_hour:,.0f} at {site.gpu_hour:g} a GPU-hour" if site.gpu_hour is not None else ""
    yield f"about {hours:,.0f} GPU-hours with the jobs' starts, {time.run.kwh:,.0f} kWh{price}"
    yield from time.beyond
