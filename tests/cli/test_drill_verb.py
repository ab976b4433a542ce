"""`pdapt drill`: its exit code and its last words say what went wrong."""

from pathlib import Path

import commands
import pytest

from pdapt.core.errors import Failed, UserError
from pdapt.launch.drills import slurm_drills
from pdapt.launch.drills.kill_tally import Kill, KillOutcome, append_kill
from pdapt.launch.drills.kills import Campaign
from pdapt.launch.drills.slurm_drills import DrillOutcome, DrillResult


def result(name: str, outcome: DrillOutcome) -> DrillResult:
    return DrillResult(name, "anything happens", outcome, f"{name} has ended", 1.0, "2026-11-30")


def kill(number: int, outcome: KillOutcome, seed: int = 7) -> Kill:
    return Kill(
        number, seed, 0.5, 12.5, "cpt", outcome=outcome, problem=f"problem {number}", rest=40.0, when="", code=""
    )


def test_drills_that_end_as_they_should_are_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = [DrillOutcome.SAME, DrillOutcome.STOPPED, DrillOutcome.REFUSED]
    monkeypatch.setattr(slurm_drills, "run_drills", lambda *_: [result(each.name, each) for each in sound])
    drills = commands.pdapt_json("drill", "--all", "--out", tmp_path)["drills"]
    assert [drill["outcome"] for drill in drills] == [*map(str, sound)]


@pytest.mark.parametrize("outcome", [DrillOutcome.DIFFERENT, DrillOutcome.FAILED])
def test_a_drill_that_ends_otherwise_is_named(
    outcome: DrillOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [result("first", DrillOutcome.SAME), result("second", outcome), result("third", outcome)]
    monkeypatch.setattr(slurm_drills, "run_drills", lambda *_: results)
    with pytest.raises(Failed, match=f"^second, third: second has ended\n  where: {tmp_path}$"):
        commands.pdapt("drill", "--all", "--out", tmp_path)


def test_kills_that_change_a_result_are_counted_among_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = [kill(0, KillOutcome.SAME), kill(1, KillOutcome.NOT_KILLED)]
    wrong = [kill(2, KillOutcome.DIFFERENT), kill(3, KillOutcome.FAILED)]
    asked: list[int] = []
    kills = [*sound]
    monkeypatch.setattr(Campaign, "kill_until", lambda _, count: asked.append(count) or kills)
    assert len(commands.pdapt_json("drill", "--kills", 2, "--out", tmp_path)["kills"]) == 2
    kills += wrong
    with pytest.raises(Failed, match=f"^2 of 4 kills: problem 2\n  where: {tmp_path / 'kills'}$"):
        commands.pdapt("drill", "--kills", 4, "--out", tmp_path)
    assert asked == [2, 4]


def test_kills_go_on_with_their_seed_and_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(Campaign, "kill_until", lambda campaign, _: seeds.append(campaign.seed) or [])
    (tmp_path / "kills").mkdir()
    for number in range(2):
        append_kill(tmp_path / "kills", kill(number, KillOutcome.SAME, seed=1234))
    with pytest.raises(UserError, match="already holds 2 kills"):
        commands.pdapt("drill", "--kills", 3, "--out", tmp_path)
    commands.pdapt("drill", "--kills", 3, "--continue", "--out", tmp_path)
    commands.pdapt("drill", "--kills", 3, "--seed", 5, "--out", tmp_path / "other")
    assert seeds == [1234, 5]
