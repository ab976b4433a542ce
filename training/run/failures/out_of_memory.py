"""Detects kills by the kernel's out-of-memory killer, and advises which options to lower."""

from dataclasses import dataclass
from pathlib import Path

LOWER_HOST = "lower megatron.num-workers or parallel.ranks_per_node, or give the job more memory"
LOWER_GPU = (
    "lower batch.micro_size, recompute activations (megatron.recompute-granularity=full, "
    "megatron.recompute-method=uniform, megatron.recompute-num-layers=1), or raise parallel.tp or parallel.pp"
)
SCARCE = 0.05
"""If less than this share of memory was available when a process was killed, lack of memory counts as the reason."""


@dataclass(frozen=True)
class Memory:
    """A process's memory limits, as the kernel counts them.

    Attributes:
        cgroup_kills: out-of-memory kills in the process's control group since it was made; None if not counted.
        machine_kills: such kills on the machine since it was started; None if not counted.
        available: available bytes of the machine.
        total: all bytes of the machine.
    """

    cgroup_kills: int | None
    machine_kills: int | None
    available: int
    total: int


def read_memory(root: Path = Path("/")) -> Memory:
    """Read the kernel's present counts.

    Args:
        root: folder that holds `proc` and `sys`.
    """
    sizes = _counts(root / "proc/meminfo")
    return Memory(
        cgroup_kills=_cgroup_kills(root),
        machine_kills=_counts(root / "proc/vmstat").get("oom_kill"),
        available=1024 * sizes.get("MemAvailable:", 0),
        total=1024 * sizes.get("MemTotal:", 0),
    )


def _cgroup_kills(root: Path) -> int | None:
    """Read the count of this process's control group, from `memory.events` or, in version 1, `memory.oom_control`."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = root / "sys/fs/cgroup" / controllers
            name = "memory.oom_control" if controllers else "memory.events"
            for folder in (top / path.lstrip("/"), top):  # in a container, the path is one outside of it
                if (kills := _counts(folder / name).get("oom_kill")) is not None:
                    return kills
    return None


def _counts(path: Path) -> dict[str, int]:
    """Read lines `NAME NUMBER …` of one of the kernel's files; empty if it is not there."""
    words = [line.split() for line in _lines(path)]
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # not mounted, or not for everybody
        return []


def explain_kill(before: Memory, after: Memory) -> str:
    """Explain who sent a SIGKILL, as far as the kernel says, and what to do about it.

    Args:
        before: the counts that the killed process recorded last.
        after: the counts now, on the same machine.
    """
    for kind, old, new in (
        ("this job's control group", before.cgroup_kills, after.cgroup_kills),
        ("this machine", before.machine_kills, after.machine_kills),
    ):
        if old is not None and new is not None and new > old:
            sure = "out of memory" if kind.startswith("this job") else "most likely out of memory"
            return f"{sure}: the kernel's count of out-of-memory kills in {kind} rose from {old} to {new}; {LOWER_HOST}"
    left = f"{before.available / 1e9:,.1f} of {before.total / 1e9:,.1f} GB were available"
    if before.available < SCARCE * before.total:
        return f"probably out of memory (the kernel does not count such kills here): {left}; {LOWER_HOST}"
    counted = "counted no out-of-memory kill" if after.cgroup_kills is not None else "counts no kills here"
    return f"somebody, or the batch system, sent the signal: the kernel {counted}, and {left}"


def advise(error: BaseException) -> str:
    """Name the options to lower if an error says that a GPU or the machine ran out of memory; else empty."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:
        return f"out of a GPU's memory: {LOWER_GPU}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "Cannot allocate memory" in text:
        return f"out of the machine's memory: {LOWER_HOST}"
    return ""
