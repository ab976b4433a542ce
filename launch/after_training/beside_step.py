"""Work that runs beside a step of the chain, in a job of its own, until that step is done."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...core import log
from ...core.errors import StoppedEarly, UserError
from ...core.system.slurm_queue import SlurmSilent, queued
from ..chain.chain_jobs import job_name
from ..steps import flow_steps, is_done, step_called
from ..whole_run import WholeRun

PAUSE = 5.0
"""Seconds between two looks at the run's folder."""
ASKED = 60.0
"""Seconds between two questions to Slurm."""
LOOKS = 3
"""Consecutive answers that count: a job that is being requeued is in none of its states for a moment."""


def work_beside(whole: WholeRun, name: str, work: Callable[[bool], None]) -> None:
    """Repeat work until a step is done, and once more after that.

    The job of such work has a time limit, too, and must not hold nodes that the step waits for. It therefore ends, to
    be requeued, if it is asked to (SIGUSR1) or if the step itself waits in the queue.

    Args:
        whole: the run; where its steps are not jobs, the work is done once.
        name: of the step.
        work: takes whether this is its last call.

    Raises:
        StoppedEarly: it was asked to stop, or the step waits.
        UserError: the step's job has ended, and the step is not done.
    """
    step = step_called(name, flow_steps(whole.request))
    if not whole.chained:
        work(True)
        return
    looks = _Looks(job_name(name, whole.out.resolve()), name)
    with _noticed(signal.SIGUSR1) as asked:
        while not is_done(step, whole.request, whole.out):
            work(False)
            looks.check()
            if asked(PAUSE):
                raise StoppedEarly(f"asked to stop while waiting for {name}: everything done so far is kept")
        work(True)


@contextmanager
def _noticed(number: signal.Signals) -> Iterator[Callable[[float], bool]]:
    """Catch a signal that reaches all processes of a job; the yielded function waits for it, up to some seconds.

    The signal is blocked, and processes that are started meanwhile inherit that, because it would end them. A thread
    that was started before still takes the signal, and calls the handler.
    """
    received: list[int] = []
    handler = signal.signal(number, lambda number, _: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield lambda seconds: bool(received) or signal.sigtimedwait([number], seconds) is not None or bool(received)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(number, handler)


@dataclass
class _Looks:
    """Slurm's answers on a step's job, now and then."""

    job: str
    step: str
    next: float = 0.0
    waiting: int = 0
    gone: int = 0

    def check(self) -> None:
        """Ask, if it is time to.

        Raises:
            StoppedEarly, UserError: see `work_beside`.
        """
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + ASKED
        try:
            job = queued([self.job]).get(self.job)
        except SlurmSilent as error:
            log.warn(f"{self.step}: {error}")
            return
        self.gone = self.gone + 1 if job is None else 0
        self.waiting = self.waiting + 1 if job is not None and job.state == "PENDING" else 0
        if self.gone >= LOOKS:
            raise UserError(
                f"the job of {self.step} has ended before the step was done",
                where=self.step,
                fix="`pdapt status` says why; correct the cause and launch the flow again",
            )
        if self.waiting >= LOOKS:
            raise StoppedEarly(f"{self.step} waits in the queue: this job ends, frees its nodes and is queued again")
