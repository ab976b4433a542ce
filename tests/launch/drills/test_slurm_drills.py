"""The list of Slurm's drills, and how each of their ends is told; what they do is tried on a real Slurm."""

from pathlib import Path

import commands
import pytest

from pdapt.core.errors import Failed, UserError
from pdapt.core.system.slurm_queue import SlurmSilent
from pdapt.launch.drills import slurm_drills
from pdapt.launch.drills.cluster import NotHere
from pdapt.launch.drills.slurm_drills import DRILLS, Drill, DrillOutcome, ask_for_too_long, drill_table, run_drill
from pdapt.launch.drills.training_job import RECIPE, Grounds


def ends(outcome: DrillOutcome | Exception) -> Drill:
    def run(grounds: Grounds, name: str) -> tuple[DrillOutcome, str]:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, "0: done"

    return Drill("any", "anything happens", run)


@pytest.mark.parametrize(
    ("end", "outcome", "words"),
    [
        (DrillOutcome.SAME, DrillOutcome.SAME, "0: done"),
        (DrillOutcome.DIFFERENT, DrillOutcome.DIFFERENT, "0: done"),
        (Failed("no | way"), DrillOutcome.FAILED, "no | way"),
        (NotHere("no disk"), DrillOutcome.REFUSED, "no disk"),
    ],
)
def test_each_end_is_told(tmp_path: Path, end: DrillOutcome | Exception, outcome: DrillOutcome, words: str) -> None:
    result = run_drill(ends(end), Grounds(tmp_path, "local_cpu"))
    assert (result.outcome, result.words) == (outcome, words)
    row = drill_table([result])[-1]
    cells = ["", "any", "anything happens", outcome, words.replace("|", "/"), f"{result.seconds:.0f}", result.when, ""]
    assert [cell.strip() for cell in row.split("|")] == cells


def test_a_drill_that_takes_an_operator_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_drills, "is_operator", lambda: False)
    monkeypatch.setattr(slurm_drills, "undisturbed", lambda _: pytest.fail("nothing is run for it"))
    refused = [run_drill(drill, Grounds(tmp_path, "local_cpu")) for drill in DRILLS if drill.operator]
    assert [row.name for row in refused] == ["node-down", "node-down-in-save"]
    assert {(row.outcome, row.words) for row in refused} == {
        (DrillOutcome.REFUSED, "needs an operator's rights on this Slurm")
    }


def test_a_job_that_the_site_does_not_allow_is_refused_with_both_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grounds, "make", lambda _: (tmp_path / "recipe.yaml").write_text(RECIPE))
    assert ask_for_too_long(Grounds(tmp_path, "local_cpu"), "too-long") == (
        DrillOutcome.STOPPED,
        "job.time is 20:01:00, and a Slurm on CPU cores allows 20:00:00",
    )


def test_every_drill_is_listed_with_what_happens() -> None:
    lines = commands.pdapt("drill", "--list").splitlines()
    assert [line.partition(":")[0] for line in lines] == [drill.name for drill in DRILLS]
    assert commands.pdapt_json("drill", "--list")["drills"]["rank-killed"] == "one rank is killed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give exactly one of NAMEs, --all, --list and --kills N"),
        (["--all", "--list"], "exactly one of"),
        (["requeue", "--seed", "3"], "--seed and --continue belong to --kills"),
        (["reqeue"], "did you mean 'requeue'"),
    ],
)
def test_what_cannot_be_drilled_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        commands.pdapt("drill", *arguments, "--out", tmp_path / "drills")
    assert not (tmp_path / "drills").exists()


def test_without_slurm_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmSilent, match="sinfo is not on this machine"):
        commands.pdapt("drill", "requeue", "--out", tmp_path / "drills")
    assert not (tmp_path / "drills").exists()
