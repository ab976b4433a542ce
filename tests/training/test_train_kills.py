"""Killed at random moments, one of five of them within a save, a run gives bit for bit what it gives undisturbed.

`--train-kills 50 --timeout 3600` makes a campaign of it.
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from pdapt.conversion.distcp_read import Checkpoint
from pdapt.core.checkpoint import CHECKPOINTS
from pdapt.training.run.folder import checkpoints, iteration, iterations
from pdapt.training.run.journal import JOURNAL_FILE, Event, kept, read

OVERRIDES = ["parallel.ranks_per_node=2", "steps=20", "checkpoint.every=1", "validation.every=10"]
# A save after each step: about half of the time that training takes. Kept are each tenth, and two others.
OVERRIDES += ["checkpoint.keep_every=10", "checkpoint.keep_last=2", "checkpoint.reshardable=false"]


def start(recipe_file: Path, tokens: Path, out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), *OVERRIDES]
    return subprocess.Popen(
        [*command, "--tokens", str(tokens), "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def kill(process: "subprocess.Popen[bytes]") -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a killed run must leave nothing behind"


def saving(out: Path, since: float) -> bool:
    """Whether a checkpoint newer than all whole ones was begun after `since`, which leaves out an earlier start's."""
    newest = max((iteration(path) for path in checkpoints(out)), default=0)
    begun = [path for path in iterations(out / CHECKPOINTS) if iteration(path) > newest]
    try:
        return any(path.stat().st_mtime > since for path in begun)
    except FileNotFoundError:  # A start removes what an earlier one did not end.
        return False


def wait_for_save(process: "subprocess.Popen[bytes]", out: Path, since: float) -> None:
    """Return as soon as a checkpoint is being written, or the run has ended.

    At random moments alone, none of many kills may fall within a save.
    """
    deadline = time.monotonic() + 300
    while process.poll() is None and not saving(out, since):
        assert time.monotonic() < deadline, "no checkpoint was begun within 300 s"
        time.sleep(0.02)


def results(out: Path) -> tuple[dict[int, float], dict[int, float]]:
    rows = read(out / JOURNAL_FILE)
    losses, valid = (
        {step: row["loss"] for step, row in kept(rows, kind).items()} for kind in (Event.STEP, Event.VALIDATION)
    )
    return losses, valid


def same_weights(first: Path, second: Path) -> bool:
    """Compare the weights alone: padding of the optimizer's buffers is never written, and shows in the losses."""
    ours, theirs = Checkpoint(checkpoints(first)[-1]), Checkpoint(checkpoints(second)[-1])
    names = [name for name in ours.entries if not name.startswith("optimizer.")]
    assert len(names) > 8
    assert list(ours.entries) == list(theirs.entries)
    one, other = ours.read(names), theirs.read(names)
    return all(torch.equal(one[name], other[name]) for name in names)


@pytest.mark.slow
def test_killed_at_random_moments_the_losses_are_the_same(
    request: pytest.FixtureRequest, recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    wanted: int = request.config.getoption("--train-kills")  # type: ignore[assignment]
    seed = request.config.getoption("--train-kills-seed")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    print(f"seed {seed}")
    draw = random.Random(seed)
    begin = time.monotonic()
    undisturbed = start(recipe_file, tokens, tmp_path / "undisturbed")
    assert undisturbed.wait(timeout=300) == 0
    span = time.monotonic() - begin

    kills, inside, finished, run = 0, 0, 0, 0
    while kills < wanted or inside < wanted // 5 or not finished:
        out, since = tmp_path / f"run-{run}", time.time()
        process = start(recipe_file, tokens, out)
        aimed = inside < (kills + 1) // 5
        if aimed:
            wait_for_save(process, out, since)
        patience = 0 if aimed else draw.uniform(0, span) if kills < wanted else 300
        try:
            code = process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
            inside += saving(out, since)
            continue
        assert process.stderr is not None
        assert code == 0, f"seed {seed}, after {kills} kills: {process.stderr.read().decode()[-2000:]}"
        assert results(out) == results(tmp_path / "undisturbed"), f"seed {seed}, run {run}"
        assert same_weights(out, tmp_path / "undisturbed"), f"seed {seed}, run {run}"
        assert [iteration(path) for path in checkpoints(out)] == [10, 18, 19, 20], f"seed {seed}, run {run}"
        finished, run = finished + 1, run + 1
    counts = {"kills": kills, "inside a save": inside, "runs finished": finished, "seed": seed}
    print(json.dumps(counts))
    assert kills >= wanted
    assert inside >= wanted // 5
