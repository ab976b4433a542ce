"""A campaign of kills: on a stand-in that takes a second, and three times on the real flow."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pdapt.core.errors import Failed, UserError
from pdapt.launch.drills import kills
from pdapt.launch.drills.kill_tally import KILLS_FILE, KillOutcome, read_kills
from pdapt.launch.drills.kills import Campaign, moment
from pdapt.launch.drills.results import differing, read_results
from pdapt.launch.drills.tiny_flow import TinyFlow

FLOW = """\
import pathlib, subprocess, sys, time
run, word = pathlib.Path(sys.argv[1]), sys.argv[2]
again = run.exists()
run.mkdir(exist_ok=True)
if word == "leaves":
    subprocess.Popen(["sleep", "60"], start_new_session=True)
for step in "abcd":
    if not (run / step).exists():
        time.sleep(0.04)
        (run / step).write_text("1")
    if step == "b" and run.name.startswith("kill") and not again and (word, run.name) != ("quick", "kill-0"):
        time.sleep(60)  # until it is killed
if word == "broken" or again and word == "fails":
    print("no way")
    sys.exit(3)
if again and word == "differs":
    (run / "b").write_text("2")
"""


@dataclass(frozen=True)
class StandIn:
    """Four steps, and a word for how it goes wrong once it was killed."""

    folder: Path
    word: str = "well"

    def make(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "flow.py").write_text(FLOW)

    @contextmanager
    def started(self, run: Path) -> "Iterator[subprocess.Popen[str]]":
        with run.with_name(f"{run.name}.log").open("a") as file:
            command = [sys.executable, "-S", str(self.folder / "flow.py"), str(run), self.word]
            process = subprocess.Popen(command, stdout=file, start_new_session=True, text=True)
            while not (run / "b").exists() and process.poll() is None:
                time.sleep(0.01)
            yield process
            process.wait()

    def step(self, run: Path) -> str:
        return next((step for step in "abcd" if not (run / step).exists()), "end")


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Campaign]:
    monkeypatch.setattr(kills, "read_results", lambda run: {path.name: path.read_text() for path in run.iterdir()})
    monkeypatch.setattr(kills, "moment", lambda _, number: 0.01 if number else 0.9)
    monkeypatch.setattr(kills, "commit", lambda: "abc")
    monkeypatch.setattr(kills, "LEFT_BEHIND", 0.2)
    return lambda word="well": Campaign(StandIn(tmp_path / "flow", word), tmp_path, seed=3)


def test_moments_are_uniform_and_follow_from_seed_and_number_alone() -> None:
    drawn = [moment(1, number) for number in range(2000)]
    assert drawn[17] == moment(1, 17) != moment(2, 17)
    tenths = [sum(tenth / 10 <= value < (tenth + 1) / 10 for value in drawn) for tenth in range(10)]
    assert min(tenths) > 150
    assert max(tenths) < 250


def test_a_campaign_goes_on_where_it_ended(campaign: Callable[..., Campaign], tmp_path: Path) -> None:
    first = campaign().kill_until(1)
    assert [kill.outcome for kill in first] == [KillOutcome.SAME]
    made = (tmp_path / "undisturbed").stat().st_mtime_ns
    every = campaign().kill_until(3)
    assert every[:1] == first
    assert read_kills(tmp_path) == every
    assert [kill.number for kill in every] == list(range(len(every)))
    assert (tmp_path / "undisturbed").stat().st_mtime_ns == made, "it is not run again"
    assert not list(tmp_path.glob("kill-*")), "what is as it should be is not kept"
    assert [(kill.step, kill.outcome) for kill in every] == [("c", KillOutcome.SAME)] * 3


def test_a_flow_that_has_ended_before_its_kill_is_not_counted(
    campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "moment", lambda _, number: 0.01 if number else 100)
    every = campaign("quick").kill_until(1)
    assert [(kill.step, kill.outcome) for kill in every] == [("end", KillOutcome.NOT_KILLED), ("c", KillOutcome.SAME)]


@pytest.mark.parametrize(
    ("word", "outcome", "problem"),
    [
        ("differs", KillOutcome.DIFFERENT, "1 result: b"),
        ("fails", KillOutcome.FAILED, "code 3: no way"),
        ("leaves", KillOutcome.FAILED, "1 process left behind by the kill"),
    ],
)
def test_what_goes_wrong_after_a_kill_is_counted_and_kept(
    campaign: Callable[..., Campaign], tmp_path: Path, word: str, outcome: KillOutcome, problem: str
) -> None:
    (kill,) = campaign(word).kill_until(1)
    assert (kill.outcome, kill.problem) == (outcome, problem)
    assert (tmp_path / "kill-0").is_dir()


def test_kills_of_another_seed_are_refused(campaign: Callable[..., Campaign], tmp_path: Path) -> None:
    campaign().kill_until(1)
    with pytest.raises(UserError, match="holds kills of seed 3"):
        Campaign(StandIn(tmp_path / "flow"), tmp_path, seed=4).kill_until(2)
    assert len((tmp_path / KILLS_FILE).read_text().splitlines()) == 1


def test_a_flow_that_fails_undisturbed_is_no_campaign(campaign: Callable[..., Campaign], tmp_path: Path) -> None:
    with pytest.raises(Failed, match="the undisturbed flow did not end well: code 3: no way"):
        campaign("broken").kill_until(1)


def test_a_result_that_only_one_side_has_differs() -> None:
    assert differing({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == ["a", "b", "c"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_kills_of_the_real_flow_change_no_result(tmp_path: Path) -> None:
    """Their moments are 0.22, 0.39 and 0.74 of the time that a flow takes: in its text, in training, in evaluation."""
    every = Campaign(TinyFlow(tmp_path / "flow"), tmp_path, seed=389).kill_until(3)
    assert [kill.problem for kill in every] == [""] * len(every)
    assert [kill.outcome for kill in every].count(KillOutcome.SAME) == 3, "what ended before its moment is one more"
    kinds = {name.split()[0] for name in read_results(tmp_path / "undisturbed")}
    assert kinds == {"tokens", "loss", "weights", "score", "table"}, "all of it is compared"
