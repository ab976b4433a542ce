"""Child processes that do not outlive what started them."""

import ctypes
import signal


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies: a killed run leaves no rank behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
