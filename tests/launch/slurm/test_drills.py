"""Drills on a real Slurm: one training meets four of them, and ends as it does undisturbed."""

from functools import partial
from pathlib import Path

import pytest

from pdapt.launch.drills.disturbances import (
    ASKED,
    LIMIT,
    damage_a_checkpoint,
    hit_the_time_limit,
    in_turn,
    kill_a_rank,
    requeue,
)
from pdapt.launch.drills.slurm_drills import UNDISTURBED, Disturbed, DrillOutcome
from pdapt.launch.drills.training_job import Grounds
from pdapt.recipes.load import load
from pdapt.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
STEPS = "steps=60"
"""More than a fast machine does between four disturbances."""


@pytest.fixture
def grounds(slurm: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grounds:
    """The undisturbed training is one of two ranks here, without Slurm: its results do not depend on who starts it."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm[name])
    monkeypatch.setattr("pdapt.launch.sbatch.PATIENCE", 1)
    made = Grounds(tmp_path / "grounds", "local_cpu")
    made.folder.mkdir()
    made.make()
    alone = [STEPS, "parallel.nodes=1", "parallel.ranks_per_node=2"]
    out = made.folder / UNDISTURBED / "run"
    assert train(load(str(made.folder / "recipe.yaml"), alone), made.folder / "tokens", out, base=made.base)
    return made


def test_time_limit_requeue_a_killed_rank_and_a_damaged_checkpoint_change_no_loss_and_no_weight(
    grounds: Grounds,
) -> None:
    disturb = in_turn(partial(hit_the_time_limit, times=1), requeue, kill_a_rank, damage_a_checkpoint)
    outcome, notes = Disturbed(disturb, (STEPS, f"job.time={LIMIT}"), lead=ASKED)(grounds, "together")
    assert outcome == DrillOutcome.SAME, notes
    ends = notes.split("; ")
    assert ends[0] == "75: saved, goes on"
    assert sum("rank 1 on n2 ended first, with code 137" in end for end in ends) == 1
    assert ends[-1] == "0: done"
