"""The share of a run's time that failures leave, by how often it saves.

Young 1974 and Daly 2006 ("A higher order estimate of the optimum checkpoint interval for restart dumps"), with failures
that come independently of each other (exponential times between them).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Failures:
    """How often GPUs fail, and what a failure costs.

    Attributes:
        gpu_years: mean years between the failures of a GPU, with what belongs to it. Meta counted 419 unexpected
            interruptions of 16,384 H100s in 54 days (The Llama 3 Herd of Models, 3.3.4): 5.8 years.
        save_seconds: that training stands still for a save however many ranks share it, to agree on it and to begin: an
            assumption.
        restart_minutes: until training goes on from the last checkpoint.
    """

    gpu_years: float = 5.8
    save_seconds: float = 2.0
    restart_minutes: float = 10.0

    def mean_seconds(self, gpus: float) -> float:
        """Mean seconds between the failures of a run on so many GPUs."""
        return self.gpu_years * 365.25 * 86_400 / gpus


def young(stall: float, mean: float) -> float:
    """Best seconds between saves, to first order.

    Args:
        stall: seconds that training stands still for a save.
        mean: seconds between failures.
    """
    return math.sqrt(2 * stall * mean)


def daly(stall: float, mean: float) -> float:
    """Best seconds between saves, to higher order (Daly 2006, eq. 37)."""
    if stall >= 2 * mean:
        return mean
    ratio = stall / (2 * mean)
    return young(stall, mean) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall


def goodput(every: float, stall: float, mean: float, restart: float) -> float:
    """Share of the time that goes into steps which count (Daly 2006, eq. 20), from 0 to 1.

    Args:
        every: seconds of steps between saves.
        stall: seconds that training stands still for a save.
        mean: seconds between failures.
        restart: seconds from a failure until training goes on.
    """
    exponent = (every + stall) / mean
    if exponent + restart / mean > 600:
        return 0.0
    return every / (mean * math.exp(restart / mean) * math.expm1(exponent))
