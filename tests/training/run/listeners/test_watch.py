"""Which rank a run stands still for, and that it is ended for it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pdapt.training.run.failures.rank_file import FOLDER, Phase, RankFile, read_records
from pdapt.training.run.journal import JOURNAL_FILE, Event, kept, read
from pdapt.training.run.listeners import watch
from pdapt.training.run.listeners.watch import Progress, places, to_blame


def ranks(*doing: str, counts: tuple[int, ...] = (5, 5, 5)) -> list[Progress]:
    return [
        Progress(rank, "n1", step=3, count=count, phase=what)
        for rank, (what, count) in enumerate(zip(doing, counts, strict=True))
    ]


def beat(before: list[Progress], *silent: int) -> list[Progress]:
    return [one if one.rank in silent else replace(one, beat=one.beat + 1) for one in before]


@pytest.mark.parametrize(
    ("told", "silent", "blamed"),
    [
        (ranks(Phase.EXCHANGE, Phase.EXCHANGE, Phase.EXCHANGE), (1,), [1]),
        (ranks(Phase.EXCHANGE, Phase.DATA, Phase.EXCHANGE), (), [1]),
        (ranks(Phase.DATA, Phase.EXCHANGE, Phase.COMPUTE), (2,), [2]),
        (ranks(Phase.EXCHANGE, Phase.EXCHANGE, Phase.EXCHANGE, counts=(9, 9, 7)), (), [2]),
        (ranks(Phase.EXCHANGE, Phase.EXCHANGE, Phase.EXCHANGE), (), [0, 1, 2]),
    ],
    ids=["stopped", "waits for data", "stopped comes first", "behind", "nobody knows"],
)
def test_the_rank_to_blame_is_who_stopped_or_waits_or_is_behind(
    told: list[Progress], silent: tuple[int, ...], blamed: list[int]
) -> None:
    assert [one.rank for one in to_blame(told, beat(told, *silent))] == blamed


def test_ranks_that_stand_together_are_told_together() -> None:
    told = places(ranks(Phase.EXCHANGE, f"validating: {Phase.DATA}", Phase.EXCHANGE))
    assert told.count("gradient exchange, step 3, since ") == 1
    assert told.startswith("rank 0 on n1, rank 2 on n1, gradient exchange")
    assert "rank 1 on n1, validating: waiting for data, step 3" in told
    assert "92 others, between steps" in places([Progress(rank, "n1", phase=Phase.BETWEEN) for rank in range(100)])


class Store:
    """torchrun's store of a run of one rank."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, name: str, value: str) -> None:
        self.values[name] = value

    def get(self, name: str) -> str:
        return self.values[name]

    def check(self, names: list[str]) -> bool:
        return all(name in self.values for name in names)

    def add(self, name: str, number: int) -> int:
        assert name == "reported"
        return number


class EndedError(Exception):
    """The process would have ended."""


def test_a_start_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise EndedError(code)

    told: list[str] = []
    monkeypatch.setattr(watch, "torchrun_store", lambda *_, **__: Store())
    monkeypatch.setattr(watch.os, "_exit", end)
    monkeypatch.setattr(watch, "START_MINUTES", 0.02)
    started = watch.Watch(RankFile(tmp_path, 0), 1, 0.01, lambda _, reason: told.append(reason))
    begin = time.monotonic()
    with pytest.raises(EndedError):
        started._run()
    assert time.monotonic() - begin > 60 * 0.03, "what a step has, and what a start has more"
    (reason,) = told
    assert reason.startswith("no rank has made progress for 0.03 minutes of the start (guard.hang allows more); ")
    assert "to blame: rank 0 on" in reason
    assert ", starting, step 0, since" in reason


@pytest.mark.slow
def test_a_rank_that_stands_still_is_named_and_the_run_ended(recipe_file: Path, tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), "parallel.ranks_per_node=2"]
    command += ["steps=2000", "checkpoint.every=5", "validation.every=3000", "guard.hang=0.1"]
    process = subprocess.Popen(
        [*command, "--tokens", str(tokens), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(kept(read(out / JOURNAL_FILE), Event.STEP)) < 7:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    victim = psutil.Process(read_records(out / FOLDER)[1].pid)
    victim.send_signal(signal.SIGSTOP)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 76, said
    assert f"no rank has made progress for 0.1 minutes; to blame: rank 1 on {os.uname().nodename}" in said
    assert json.loads((out / "state.json").read_text())["state"] == "hang"
    assert not victim.is_running()
