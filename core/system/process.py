"""Child processes that do not outlive their parent."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from ..exit_codes import ExitCode


def die_with_parent(ancestor: int | None = None) -> None:
    """Have the kernel kill this process when its parent dies: a killed run leaves no rank behind.

    Args:
        ancestor: the parent, or what the parent dies with. Where it is gone already, the kernel has nothing left to
            watch, and the process ends here.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if ancestor is not None and not lives(ancestor):
        sys.stderr.write(f"process {os.getpid()}: {ancestor}, which it works for, is gone: ending\n")
        os._exit(ExitCode.FAILED)


def lives(pid: int) -> bool:
    """Whether a process is alive, and not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
