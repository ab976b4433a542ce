"""The exit codes of every command, by which a script or a chain of Slurm jobs can decide."""

import os
import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USER_ERROR = 2
    STOPPED_EARLY = os.EX_TEMPFAIL
    HALTED = 76
    OUTPUT_CLOSED = 128 + signal.SIGPIPE


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed, and the message says why and where; or a comparison found a difference",
    ExitCode.USER_ERROR: "a mistake of yours: the message says what to fix, and nothing is half written",
    ExitCode.STOPPED_EARLY: "stopped early, because it was asked to, and saved: run the same command again",
    ExitCode.HALTED: "halted, because something went wrong (a guard, a rank that hangs, lm-eval): look first",
    ExitCode.OUTPUT_CLOSED: "nobody reads the output any more, as in `pdapt eval baselines | head`",
}


def exit_codes_help() -> str:
    """All codes with their meanings, one per line, for `--help`."""
    return "\n".join(["Exit codes:", *(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())])
