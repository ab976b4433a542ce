"""A job's state as drills read it from scontrol, and what they make of one that ends otherwise."""

import pytest

from pdapt.core.errors import Failed
from pdapt.launch.drills import cluster
from pdapt.launch.drills.cluster import JobState, alone_on, job_state, start_now, wait_for_end, wait_for_state

SHOWN = (
    "JobId=3 JobName=drill UserId=root(0) JobState={state} Reason={reason} Dependency=(null) Requeue=1 "
    "Restarts={restarts} BatchFlag=1 Reboot=0 ExitCode=1:0 RunTime=1-02:03:04 NodeList=n[1-2] BatchHost=n1"
)


class Shown:
    """A Slurm whose job is in one state after the other, the last one for ever; and what it was asked."""

    def __init__(self, *states: str) -> None:
        self.states, self.asked = list(states), list[str]()

    def __call__(self, command: list[str]) -> str:
        self.asked.append(" ".join(command))
        if command[:3] != ["scontrol", "show", "job"]:
            return "3\n4" if command[0] == "squeue" else ""
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        name, _, restarts = state.partition(" ")
        return SHOWN.format(state=name, reason="None", restarts=restarts or "0")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.time, "sleep", lambda _: None)


def shown(monkeypatch: pytest.MonkeyPatch, *states: str) -> Shown:
    slurm = Shown(*states)
    monkeypatch.setattr(cluster, "slurm", slurm)
    return slurm


def test_a_state_is_read_with_days_and_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch, "RUNNING 2")
    assert job_state("3") == JobState("RUNNING", "None", restarts=2, seconds=93_784, code="1:0", nodes="n[1-2]")


def test_a_job_that_ends_otherwise_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch, "PENDING", "RUNNING", "TIMEOUT")
    with pytest.raises(Failed, match=r"job 3 is TIMEOUT .*, not PENDING or COMPLETED"):
        wait_for_state("3", "PENDING", "COMPLETED", restarts=1)


def test_what_does_not_come_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch, "RUNNING")
    with pytest.raises(Failed, match=r"waited 0\.01 s in vain: a moment"):
        cluster.wait_until(lambda: False, "a moment", seconds=0.01)


def test_a_job_is_started_at_once_only_when_it_was_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = shown(monkeypatch, "PENDING 0", "COMPLETING 1", "PENDING 1")
    start_now("3", 1)
    assert slurm.asked[-1] == "scontrol update JobId=3 StartTime=now"
    assert len(slurm.asked) == 4, "looked at once, then until it was pending again"


def test_a_job_that_is_put_back_on_its_way_goes_on_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = shown(monkeypatch, "PENDING 1", "RUNNING 1", "PENDING 2", "PENDING 2", "RUNNING 2", "COMPLETED 2")
    wait_for_end("3")
    assert sum("StartTime=now" in asked for asked in slurm.asked) == 1
    shown(monkeypatch, "RUNNING", "CANCELLED")
    with pytest.raises(Failed, match="job 3 is CANCELLED"):
        wait_for_end("3")


def test_a_node_with_another_job_is_not_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch, "RUNNING")
    assert not alone_on("n1", "3")
    monkeypatch.setattr(cluster, "slurm", lambda _: "3")
    assert alone_on("n1", "3")


@pytest.mark.parametrize(("state", "down"), [("down*", True), ("allocated", False), ("idle", False)])
def test_a_node_is_resumed_only_where_it_is_down(monkeypatch: pytest.MonkeyPatch, state: str, down: bool) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cluster, "slurm", lambda command: asked.append(command) or state)
    assert cluster.is_down("n2") is down
    assert asked == [["sinfo", "--noheader", "--nodes=n2", "--format=%T"]], "--node would take the next for its value"
