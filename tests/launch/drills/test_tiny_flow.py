"""The flow that drills disturb, and its training: how far they are."""

from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_stand_ins import Slurm

from pdapt.launch.drills import training_job
from pdapt.launch.drills.tiny_flow import END, START, TinyFlow
from pdapt.launch.drills.training_job import TrainingJob
from pdapt.launch.request import write_request
from pdapt.launch.steps import flow_steps


def test_a_run_stands_at_its_first_step_that_is_not_done(tmp_path: Path) -> None:
    slurm, flow = Slurm(tmp_path), TinyFlow(tmp_path)
    request = slurm.flow().request
    assert flow.step(slurm.run) == START
    write_request(request, slurm.run)
    first, second, *others = [step.name for step in flow_steps(request)]
    assert flow.step(slurm.run) == first
    slurm.finish(first)
    assert flow.step(slurm.run) == second
    slurm.finish(second, *others)
    assert flow.step(slurm.run) == END


@pytest.mark.parametrize(("steps", "saved", "enough"), [(7, 4, True), (7, 2, False), (6, 4, False), (9, 6, True)])
def test_training_has_gone_on_where_all_steps_are_done_and_one_of_them_is_saved(
    steps: int, saved: int, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 4, of which step 2 is saved, three more are waited for."""
    at = {"steps": 4, "saved": 2}
    came: list[bool] = []

    def wait_until(come: Callable[[], bool], *_: object, **__: object) -> None:
        at.update(steps=steps, saved=saved)
        came.append(come())

    monkeypatch.setattr(TrainingJob, "steps", lambda _: at["steps"])
    monkeypatch.setattr(TrainingJob, "saved", lambda _: at["saved"])
    monkeypatch.setattr(training_job, "wait_until", wait_until)
    TrainingJob("106", tmp_path, tmp_path, "").wait_for_steps(more=3)
    assert came == [enough]
