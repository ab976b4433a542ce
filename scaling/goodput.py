"""The share of a run's time that is productive despite failures, depending on how often it saves.

After Young 1974 and Daly 2006 ("A higher order estimate of the optimum checkpoint interval for restart dumps"), with
independent failures (exponential times between them).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Failures:
    """How often GPUs fail, and what a failure costs.

    Attributes:
        gpu_years: mean years between the failures of a GPU and what belongs to it. Meta counted 419 unexpected
            interruptions of 16,384 H100s in 54 days (The Llama 3 Herd of Models, 3.3.4): 5.8 years.
        save_seconds: fixed time for which a save stalls training, however many ranks share the save: an assumption.
        restart_minutes: minutes until training continues from the last checkpoint.
    """

    gpu_years: float = 5.8
    save_seconds: float = 2.0
    restart_minutes: float = 10.0

    def mean_seconds(self, gpus: float) -> float:
        """Mean seconds between the failures of a run on `gpus` GPUs."""
        return self.gpu_years * 365.25 * 86_400 / gpus


def young(stall: float, mean: float) -> float:
    """Compute the best seconds between saves, to first order.

    Args:
        stall: seconds for which a save stalls training.
        mean: mean seconds between failures.
    """
    return math.sqrt(2 * stall * mean)


def daly(stall: float, mean: float) -> float:
    """Compute the best seconds between saves, to higher order (Daly 2006, eq. 37)."""
    if stall >= 2 * mean:
        return mean
    ratio = stall / (2 * mean)
    return young(stall, mean) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall


def goodput(every: float, stall: float, mean: float, restart: float) -> float:
    """Compute the share of the time that goes into steps which count (Daly 2006, eq. 20), from 0 to 1.

    Args:
        every: seconds of steps between saves.
        stall: seconds for which a save stalls training.
        mean: mean seconds between failures.
        restart: seconds from a failure until training continues.
    """
    exponent = (every + stall) / mean
    if exponent + restart / mean > 600:
        return 0.0
    return every / (mean * math.exp(restart / mean) * math.expm1(exponent))
