"""Results of steps for the listeners' tests."""

import math
from dataclasses import replace
from typing import Any

from pdapt.training.run.events import StepResult
from pdapt.training.run.sums import DataSums

RESULT = StepResult(
    step=1,
    loss=2.0,
    grad_norm=1.0,
    learning_rate=1e-3,
    skipped=False,
    seconds=2.0,
    data=DataSums([600.0, 400.0], [300.0, 100.0], squares=5000.0),
    joules=math.nan,
    stop_flags=[0.0, 0.0, 0.0, 0.0],
    data_waits=[0.1, 0.5],
    compute_seconds=[1.0, 1.2],
)


def result(**values: Any) -> StepResult:
    """A step's result, with some of its values changed."""
    return replace(RESULT, **values)
