"""Child processes that do not outlive their parent."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from ..exit_codes import ExitCode


def die_with_parent(ancestor: int | None = None) -> None:
    """Let the kernel kill this process when its parent dies, so that a killed run leaves no rank behind.

    Args:
        ancestor: the parent, or the process with which the parent dies. If it is gone already, the kernel cannot watch
            it any more, and this process ends at once.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if ancestor is not None and not lives(ancestor):
        sys.stderr.write(f"process {os.getpid()}: process {ancestor}, for which it works, is gone: ending\n")
        os._exit(ExitCode.FAILED)


def lives(pid: int) -> bool:
    """Whether a process is alive and not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
