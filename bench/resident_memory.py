"""The memory of a process that is being timed."""

import subprocess
import time
from pathlib import Path
from typing import Literal

EVERY = 0.02
"""Seconds between two looks."""


def wait_and_watch(process: "subprocess.Popen[bytes]", field: Literal["VmHWM", "RssAnon"]) -> int:
    """Wait for a process, and return its largest observed memory in bytes.

    The kernel's own count for the waiting process (`ru_maxrss`) is not suitable: it begins with the memory of the
    process that forked the other.

    Args:
        process: the started process.
        field: field of /proc/PID/status: `VmHWM`, the peak so far, mapped files included; `RssAnon`, the present memory
            that no file backs.
    """
    most = 0
    while process.poll() is None:
        most = max(most, _bytes(process.pid, field))
        time.sleep(EVERY)
    return most


def _bytes(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
