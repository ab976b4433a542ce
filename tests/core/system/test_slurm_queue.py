"""Jobs in the queue, as squeue shows them on a real Slurm."""

import pytest

from pdapt.core.system import slurm_queue
from pdapt.core.system.slurm_queue import queued

COMPLETING = "pdapt-cpt|{}|COMPLETING {}|None|pdapt: a | b"


@pytest.mark.parametrize(
    ("times", "state"),
    [
        ("0:00 2026-11-30T14:42:32 2026-11-30T14:52:32", "PENDING"),
        ("0:00 2026-11-30T14:42:32 N/A", "PENDING"),
        ("0:01 2026-11-30T14:42:41 2026-11-30T14:42:42", None),
        ("0:00 2026-11-30T14:42:41 2026-11-30T14:42:41", None),
    ],
)
def test_a_job_that_was_put_back_is_in_the_queue_before_its_processes_have_ended(
    times: str, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is COMPLETING until then, as one is that has ended: launched again, its step would have two jobs."""
    monkeypatch.setattr(slurm_queue, "slurm", lambda _: COMPLETING.format("12_[3-4]", times))
    jobs = queued(["pdapt-cpt"])
    assert (jobs["pdapt-cpt"].state if jobs else None) == state
    assert queued(["pdapt-cpt"], ending=True)["pdapt-cpt"].state == (state or "COMPLETING")


def test_a_jobs_number_reason_and_comment_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    running = "a|7_2|RUNNING 1:02 2026-11-30T14:42:32 2026-11-30T14:52:32|None|pdapt: x | y"
    monkeypatch.setattr(slurm_queue, "slurm", lambda _: f"{running}\nb|8|PENDING 0:00 N/A N/A|Priority|(null)")
    assert queued(["a", "b"]) == {
        "a": slurm_queue.QueuedJob("7", "RUNNING", "None", "pdapt: x | y"),
        "b": slurm_queue.QueuedJob("8", "PENDING", "Priority", ""),
    }
