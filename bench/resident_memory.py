"""The memory of a process that is being timed."""

import subprocess
import time
from pathlib import Path
from typing import Literal

EVERY = 0.02
"""Seconds between two looks."""


def wait_and_watch(process: "subprocess.Popen[bytes]", field: Literal["VmHWM", "RssAnon"]) -> int:
    """Wait for a process, and return the most bytes that it was seen to hold.

    The kernel's own count for who waits (`ru_maxrss`) will not do: it begins with the memory of the process that
    forked this one.

    Args:
        process: that has been started.
        field: of /proc/PID/status: `VmHWM`, the highest until now, mapped files included; `RssAnon`, what no file
            stands behind, now.
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
