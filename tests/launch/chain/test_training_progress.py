"""Progress of a training in a chain, as `pdapt status` says it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.checkpoint import IDENTITY
from pdapt.core.files import write_json
from pdapt.launch.chain.run_status import Progress, RunStatus, StepState, StepStatus, table_rows, training_progress
from pdapt.training.run.journal import JOURNAL_FILE


def journal(training: Path, steps: int, **last: Any) -> None:
    """Leave a journal of steps: the first 90 take 100 s each, all others 10 s; the last row has other values."""
    rows: list[dict[str, Any]] = [{"event": "start", "start": 0, "step": 0, "time": 0, "ranks": 2}]
    time = 0
    for number in range(1, steps + 1):
        seconds = 100 if number <= 90 else 10
        time += 2 * seconds
        row = {"event": "step", "start": 0, "step": number, "time": time, "seconds": seconds, "data_wait": 0}
        rows.append(row | {"tokens": 7, "slots": 8, "skipped": False, "loss": 2.5, "sources": {}})
    rows[-1] |= last
    training.mkdir(exist_ok=True)
    (training / JOURNAL_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_time_that_is_left_is_that_of_recent_steps(tmp_path: Path) -> None:
    assert training_progress(tmp_path) is None
    write_json(tmp_path / IDENTITY, {"recipe": {"steps": 133}})
    journal(tmp_path, 0)
    assert training_progress(tmp_path) is None, "before its first step"
    journal(tmp_path, 130)
    assert training_progress(tmp_path) == Progress(130, 133, 2.5, goodput=pytest.approx(0.5), seconds_left=30)
    journal(tmp_path, 133, loss=float("nan"))
    assert training_progress(tmp_path) == Progress(133, 133, None, goodput=pytest.approx(0.5), seconds_left=None)


def test_a_step_s_row_says_how_far_training_is() -> None:
    steps = [
        StepStatus("cpt", StepState.RUNNING, "106", progress=Progress(1200, 4194, 2.0625, 0.987, 3600.4)),
        StepStatus("base", StepState.RUNNING, "105", progress=Progress(4, 4, None, 0.5, None)),
        StepStatus("hf", StepState.HELD, reason="launch failed"),
    ]
    assert table_rows(RunStatus("A run", steps, "", "")) == [
        ["cpt", "running", "106", "step 1,200 of 4,194, loss 2.062, goodput 99%; 1:00:00 left"],
        ["base", "running", "105", "step 4 of 4, goodput 50%"],
        ["hf", "held", "", "launch failed"],
    ]
