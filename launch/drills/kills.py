"""A campaign of kills: a flow is killed at a moment drawn from the time it takes, and started again until it ends."""

import os
import random
import signal
import statistics
import subprocess
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from ...core import log
from ...core.errors import Failed, UserError
from ...core.files import read_object, remove, write_json
from ...core.log import counted
from ...core.system.lock import locked
from ...training.preflight.kept_code import commit
from .kill_tally import KILLS_FILE, Kill, KillOutcome, append_kill, read_kills
from .results import Results, differing, read_results

UNDISTURBED = "undisturbed"
LONGEST = 1800.0
"""Seconds that a flow of a minute may take beside others before it counts as hung."""
LEFT_BEHIND = 20.0
"""Seconds in which every process of a killed flow has to be gone."""


class Flow(Protocol):
    """A flow that can be started in a folder, and continued there."""

    def make(self) -> None:
        """Write the flow's input files."""
        ...

    def started(self, run: Path) -> "AbstractContextManager[subprocess.Popen[str]]":
        """Start or continue it; at the end of the block its process is gone."""
        ...

    def step(self, run: Path) -> str:
        """The step that a run stands at."""
        ...


@dataclass(frozen=True)
class Campaign:
    """Kills of a flow.

    Attributes:
        flow: that is killed.
        folder: of the undisturbed run, the killed ones and the tally.
        seed: of the moments.
    """

    flow: Flow
    folder: Path
    seed: int

    def kill_until(self, count: int) -> list[Kill]:
        """Kill until there are this many kills, earlier ones included; returns all kills.

        Raises:
            UserError: the folder holds the kills of another seed, or damaged ones.
            Failed: the undisturbed flow does not end well.
        """
        with locked(self.folder, "killing flows in"):
            kills = read_kills(self.folder)
            if kills and kills[0].seed != self.seed:
                raise UserError(
                    f"{KILLS_FILE} holds kills of seed {kills[0].seed}",
                    where=str(self.folder),
                    fix="give another --out",
                )
            self.flow.make()
            expected, taken = self._undisturbed()
            times = [taken, *(kill.seconds + kill.rest for kill in kills)]
            while _killed(kills) < count:
                kill = self._kill(len(kills), expected, statistics.median(times[-9:]))
                append_kill(self.folder, kill)
                kills.append(kill)
                times.append(kill.seconds + kill.rest)
                log.info(f"drill: kill {kill.number} in {kill.step} after {kill.seconds:.1f} s: {kill.outcome}")
        return kills

    def _undisturbed(self) -> tuple[Results, float]:
        """The results of the flow as nobody disturbs it, and the seconds that it took."""
        run = self.folder / UNDISTURBED
        timed = run.with_suffix(".json")
        if not timed.is_file():
            remove(run)
            log.info("drill: the flow, undisturbed")
            begin = time.monotonic()
            if problem := self._finish(run):
                raise Failed(f"the undisturbed flow did not end well: {problem}")
            write_json(timed, {"seconds": round(time.monotonic() - begin, 3)})
        return read_results(run), read_object(timed).number("seconds")

    def _kill(self, number: int, expected: Results, span: float) -> Kill:
        """Kill the flow once and let it end.

        Args:
            number: of the kill.
            expected: the undisturbed results.
            span: seconds that the flow takes at present.
        """
        run = self.folder / f"kill-{number}"
        remove(run)
        fraction = moment(self.seed, number)
        begin = time.monotonic()
        when = time.strftime("%Y-%m-%dT%H:%M:%S")
        with self.flow.started(run) as process:
            code = _ended(process, fraction * span)
            problem = _kill_group(process) if code is None else "" if code == 0 else f"code {code} without a kill"
        seconds, step = time.monotonic() - begin, self.flow.step(run)
        begin = time.monotonic()
        problem = problem or (self._finish(run) if code is None else "")
        outcome = KillOutcome.FAILED
        if not problem:
            names = differing(expected, read_results(run))
            problem = f"{counted(len(names), 'result')}: {', '.join(names[:5])}" if names else ""
            outcome = KillOutcome.DIFFERENT if names else KillOutcome.NOT_KILLED if code == 0 else KillOutcome.SAME
        if not problem:
            remove(run)
            remove(run.with_name(f"{run.name}.log"))
        return Kill(
            number=number,
            seed=self.seed,
            fraction=round(fraction, 6),
            seconds=round(seconds, 3),
            step=step,
            outcome=outcome,
            problem=problem,
            rest=round(time.monotonic() - begin, 3) if code is None else 0.0,
            when=when,
            code=commit() or "",
        )

    def _finish(self, run: Path) -> str:
        """Let the flow end; why it did not end well, or nothing."""
        with self.flow.started(run) as process:
            code = _ended(process, LONGEST)
            if code is None:
                _kill_group(process)
                return f"not done after {LONGEST:g} s"
        if code == 0:
            return ""
        messages = run.with_name(f"{run.name}.log")
        lines = messages.read_text(encoding="utf-8").strip().splitlines() if messages.is_file() else []
        return f"code {code}: {' / '.join(lines[-3:])}"


def moment(seed: int, number: int) -> float:
    """The moment of a kill as a part of the flow's time: uniform from 0 to 1, by seed and number alone."""
    return random.Random(f"{seed}/{number}").random()  # noqa: S311 - to be repeated, not to be secret


def _killed(kills: list[Kill]) -> int:
    return sum(kill.outcome != KillOutcome.NOT_KILLED for kill in kills)


def _ended(process: "subprocess.Popen[str]", seconds: float) -> int | None:
    """The exit code of a process if it ends within a number of seconds, else None."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


def _kill_group(process: "subprocess.Popen[str]") -> str:
    """Kill a process with its group; returns a sentence on processes that are left, or nothing."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=LEFT_BEHIND)
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    return f"{counted(len(alive), 'process', 'processes')} left behind by the kill" if alive else ""
