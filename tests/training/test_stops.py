"""Signals and time limits: the run saves, ends with a code that a launcher reads, and goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pdapt.core.errors import StoppedEarly
from pdapt.core.files import read_json
from pdapt.recipes.load import load
from pdapt.recipes.schema import Engine
from pdapt.training import rank
from pdapt.training.rank_task import RankTask
from pdapt.training.run.folder import ACHIEVED, checkpoints, iteration
from pdapt.training.run.journal import JOURNAL_FILE, Event, kept, read
from pdapt.training.run.listeners.stops import SIGNALS, Stops
from pdapt.training.run.run_state import STATE
from pdapt.training.train import train

TWO = ["parallel.ranks_per_node=2", "steps=40", "checkpoint.every=100", "validation.every=100"]


def losses(out: Path) -> dict[int, float]:
    return {step: row["loss"] for step, row in kept(read(out / JOURNAL_FILE), Event.STEP).items()}


@pytest.fixture
def handlers() -> object:
    """Put the process's own handlers back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield None
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_signals_are_noted_and_named() -> None:
    stops = Stops(deadline=None)
    assert stops.reason_of(stops.flags()) == ""
    os.kill(os.getpid(), signal.SIGUSR1)
    assert stops.flags() == [0, 1, 0, 0]
    assert Stops.reason_of([0, 2, 0, 0]) == "SIGUSR1"
    os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C sends
    assert stops.flags() == [0, 1, 1, 0]
    assert Stops.reason_of([0, 0, 1, 0]) == "SIGINT"
    os.kill(os.getpid(), signal.SIGTERM)
    assert Stops.reason_of(stops.flags()) == "SIGTERM"


@pytest.mark.usefixtures("handlers")
def test_a_deadline_is_over_when_it_is() -> None:
    assert Stops(deadline=time.time() + 60).flags() == [0, 0, 0, 0]
    assert Stops.reason_of(Stops(deadline=time.time() - 1).flags()) == "--wall-time"


def start(recipe_file: Path, tokens: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), *TWO, *more]
    return subprocess.Popen(
        [*command, "--tokens", str(tokens), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="session")
def undisturbed(recipe_file: Path, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Losses of forty steps on two ranks."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train(load(str(recipe_file), TWO), tokens, out) is not None
    return losses(out)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("end", [None, SystemExit(75)])
def test_a_signal_that_is_repeated_as_a_rank_ends_waits_for_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: SystemExit | None
) -> None:
    """Slurm's are repeated until a rank is gone, and Python has no handlers any more in its last moments."""

    def train_rank(*_: object) -> None:
        assert signal.SIG_IGN not in map(signal.getsignal, SIGNALS)
        if end is not None:
            raise end

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(rank, "import_module", lambda *_: SimpleNamespace(train_rank=train_rank))
    for name in ("check_start", "torchrun_store"):
        monkeypatch.setattr(rank, name, lambda *_, **__: None)
    recipe = SimpleNamespace(engine=Engine.MEGATRON)
    task = cast(RankTask, SimpleNamespace(out=tmp_path, deadline=None, recipe=recipe))
    with suppress(SystemExit):
        rank.run_rank(task)
    assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_IGN}


@pytest.mark.slow
def test_a_run_saves_and_ends_with_75_whenever_it_is_stopped_and_the_same_command_goes_on(
    recipe_file: Path, tokens: Path, tmp_path: Path, undisturbed: dict[int, float]
) -> None:
    """By a signal while its ranks start, by its wall time, by SIGTERM and by Ctrl-C, one after the other."""
    out = tmp_path / "run"
    process = start(recipe_file, tokens, out)
    wait_for(lambda: (out / "job.json").is_file())
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert [iteration(path) for path in checkpoints(out)] == [1], "a signal that comes early kills nothing"

    recipe = load(str(recipe_file), TWO)
    with pytest.raises(StoppedEarly, match=r"stopped after step \d+ of 40 \(--wall-time\)") as stopped:
        train(recipe, tokens, out, wall_time=1e-3)
    assert stopped.value.code == 75

    for number in (signal.SIGTERM, signal.SIGINT):
        assert_saved_by(number, start(recipe_file, tokens, out), out)

    assert start(recipe_file, tokens, out).wait(timeout=300) == 0
    assert losses(out) == undisturbed
    assert read_json(out / STATE)["state"] == "finished"


def assert_saved_by(number: signal.Signals, process: "subprocess.Popen[str]", out: Path) -> None:
    """Send a run that was started a signal after its third step from now, and check how it ends."""
    before = max(losses(out))
    wait_for(lambda: max(losses(out)) >= before + 3)
    if number == signal.SIGINT:  # as a terminal does it: to the whole group that it started
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    saved = iteration(checkpoints(out)[-1])
    assert before + 3 <= saved < 40
    assert f"stopped after step {saved} of 40 ({number.name})" in said
    assert f"{number.name} received" in said
    assert "SIGUSR1" not in said
    state = read_json(out / STATE)
    assert state == {"state": "stopped", "step": saved, "reason": number.name}
    assert saved in [row["step"] for row in read_json(out / ACHIEVED)]


@pytest.mark.slow
def test_under_torchrun_a_signal_to_its_agent_saves_too(recipe_file: Path, tokens: Path, tmp_path: Path) -> None:
    """As Slurm does it: srun sends the signal to torchrun, which hands it to the ranks and waits for them."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", "--shutdown-timeout", "120"]
    command += ["-m", "pdapt.cli.main", "train", str(recipe_file), *TWO, "--tokens", str(tokens), "--out", str(out)]
    environment = os.environ | {"CUDA_DEVICE_MAX_CONNECTIONS": "1", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
    wait_for(lambda: len(losses(out)) >= 2)
    process.send_signal(signal.SIGUSR1)
    process.wait(timeout=120)
    state = read_json(out / STATE)
    assert (state["state"], state["reason"]) == ("stopped", "SIGUSR1"), (tmp_path / "said").read_text()[-2000:]
    assert [iteration(path) for path in checkpoints(out)] == [state["step"]]
    assert "ChildFailedError" not in (tmp_path / "said").read_text(), "a rank that stops is no rank that fails"
