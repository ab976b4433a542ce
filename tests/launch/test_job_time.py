"""The time that jobs ask for: from the plan, within the site's limit, with enough left to save."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.slurm import SlurmOptions
from pdapt.launch.job_time import START, JobTime, describe_time, job_time
from pdapt.launch.recipe_job import wants_gpus
from pdapt.launch.slurm_site import SlurmSite, options_at, read_site
from pdapt.recipes.filling import Filling
from pdapt.recipes.load import load, names


@pytest.fixture(autouse=True)
def full_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the lengths of a whole corpus' documents takes seconds."""
    monkeypatch.setattr("pdapt.launch.job_time.filling", lambda *_: Filling(1.0, 1996.0, "full rows"))


GENERIC = read_site("generic")


def timed(name: str, *overrides: str, site: str = "generic", cluster: SlurmSite | None = None) -> JobTime:
    recipe, chosen = load(name, list(overrides)), cluster or read_site(site)
    options = options_at(chosen, recipe.job, nodes=recipe.parallel.nodes, gpus_per_node=recipe.parallel.ranks_per_node)
    return job_time(recipe, site, chosen, options, tokens=None, gpu=True)


@pytest.mark.slow
def test_every_published_recipe_fits_into_its_jobs() -> None:
    """Some are predicted to take 70 h: the site's limit decides how often a job goes back into the queue."""
    gpu = [name for name in names() if wants_gpus(name)]
    assert len(gpu) > 30
    several = 0
    for name in gpu:
        time = timed(name)
        assert time.limit <= 20 * 3600
        assert time.jobs is not None
        assert time.jobs * (time.limit - time.lead - START) >= time.interval[1]
        assert (time.jobs - 1) * (time.limit - time.lead - START) < time.interval[1]
        assert time.jobs == 1 or time.limit == 20 * 3600
        several += time.jobs > 1
    assert 5 < several < len(gpu)


def test_a_job_asks_for_no_more_than_the_plan_says() -> None:
    time = timed("qwen3_8b_cpt_48xh100_packed")
    assert time.interval[1] + START + time.lead <= time.limit < time.interval[1] + START + time.lead + 600


def test_a_job_says_where_its_time_goes_beyond_what_was_measured() -> None:
    time = timed("qwen3_8b_cpt_48xh100_packed", "job.account=abc@h100", site="jean_zay_h100")
    recipe = load("qwen3_8b_cpt_48xh100_packed")
    *_, last = describe_time(time, recipe, read_site("jean_zay_h100"))
    assert last.startswith("beyond what was measured at this site, Luciole-1B")
    assert timed("qwen3_8b_cpt_48xh100_packed").beyond == ()


def test_larger_states_are_asked_to_save_earlier() -> None:
    small, large = timed("qwen3_0p6b_cpt_4xh100_packed"), timed("qwen3_8b_cpt_4xh100_packed")
    assert 120 < small.lead < large.lead < 1200


def test_a_time_that_is_asked_for_decides_how_many_jobs_it_takes() -> None:
    whole, halved = timed("qwen3_8b_cpt_48xh100_packed"), timed("qwen3_8b_cpt_48xh100_packed", "job.time=2:00:00")
    assert halved.limit == 7200
    assert halved.jobs == math.ceil(whole.interval[1] / (7200 - halved.lead - START))


@pytest.mark.parametrize(
    ("overrides", "site", "message"),
    [
        (["job.time=20:00:01"], "generic", r"allows 20:00:00\n"),
        (
            ["job.time=3:00:00", "job.qos=qos_gpu_h100-dev", "job.account=a@h100"],
            "jean_zay_h100",
            "allows 2:00:00 with",
        ),
        (["job.time=5"], "generic", r"before its limit(.|\n)*from 0:20:00"),
        (["job.time=13"], "generic", "no time to train"),
    ],
)
def test_a_time_that_leads_nowhere_is_refused(overrides: list[str], site: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        timed("qwen3_8b_cpt_16xh100_packed", *overrides, site=site)


@pytest.mark.parametrize(("limit", "lead"), [("20:00:00", 600), ("10", 150), ("1", 15)])
def test_on_cores_nothing_is_predicted_and_a_short_job_is_not_asked_at_its_start(limit: str, lead: int) -> None:
    options = SlurmOptions(time=limit)
    recipe = load("qwen3_tiny_cpt_2xcpu")
    time = job_time(recipe, "local_cpu", read_site("local_cpu"), options, tokens=None, gpu=False)
    assert (time.lead, time.run) == (lead, None)
    assert "nothing is predicted" in next(describe_time(time, recipe, GENERIC))


def test_hours_and_cost_are_said() -> None:
    priced, recipe = replace(GENERIC, gpu_hour=3.0), load("qwen3_8b_cpt_4xh100_paper")
    time = timed("qwen3_8b_cpt_4xh100_paper", cluster=priced)
    first, second, beyond = describe_time(time, recipe, priced)
    assert "on 4 GPUs: 4 jobs of 20:00:00: one that is put back into the queue until the run is done" in first
    assert time.run is not None
    hours = time.run.gpu_hours + 4 * 4 * START / 3600
    assert second.startswith(f"about {hours:,.0f} GPU-hours")
    assert second.endswith(f"{3 * hours:,.0f} at 3 a GPU-hour")
    assert beyond.startswith("beyond the published rows")
    assert beyond.endswith(": 4 GPUs")


def test_a_recipe_for_cores_asks_for_no_gpu() -> None:
    assert not wants_gpus("qwen3_tiny_cpt_2xcpu")
    assert wants_gpus("qwen3_8b_cpt_48xh100_packed")
    assert wants_gpus(Path("mine.yaml").stem)
