"""Whether this machine's cores, limits and disk let a run start, and how fast the disk is."""

import errno
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ...core.gpus import GIB
from ...core.log import counted
from ...core.memory import MOMENTS, WEIGHT
from ...core.qwen3 import SIZES
from ...core.system.device import has_gpu
from ...core.system.disk import full_disk
from .check import Check, Verdict

LEAST_SHARED = GIB
"""Bytes of /dev/shm: NCCL's ranks of a node, and the processes that read data, exchange buffers there. Docker's default
of 64 MB ends a run of several GPUs with `No space left on device`."""
LEAST_FILES = 1024
"""Open files of a process, Linux' usual limit: a rank holds its libraries, sockets to other ranks and data sets."""
SLOW_DISK = 200e6
"""Bytes a second; about what one hard disk writes. The checkpoint of an 8 B model then takes more than ten minutes."""
PROBE = 256 * 2**20
"""Bytes that are written and read to measure a disk."""
CHUNK = 32 * 2**20
"""Bytes that are made safe together."""
LEAST_FREE = 1e9
"""Bytes free on the disk: the quickstart writes 0.3 GB."""
PROBE_SECONDS = 10.0
"""A slow disk is not written to for longer."""


def check_cores() -> Iterator[Check]:
    """Check the cores that this process may use against the threads that it is told to start."""
    cores = len(os.sched_getaffinity(0))
    told_threads = os.environ.get("OMP_NUM_THREADS", "")
    value = f"{cores} of {os.cpu_count()} usable, OMP_NUM_THREADS {told_threads or 'not set'}"
    if told_threads.isdigit() and int(told_threads) > cores:
        meaning = f"{told_threads} threads wait for each other on {counted(cores, 'core')}"
        yield Check(
            "cores", Verdict.SLOW, value, meaning=meaning, fix=f"export OMP_NUM_THREADS={cores}, or ask for more cores"
        )
    elif cores == 1:
        meaning = "reading data, hashing and saving share a core with the computation"
        yield Check("cores", Verdict.SLOW, value, meaning=meaning, fix="ask for more cores (srun --cpus-per-task)")
    else:
        yield Check("cores", Verdict.OK, value)


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Check]:  # noqa: S108 - it is asked for its size
    """Check the size of shared memory."""
    size = shutil.disk_usage(folder).total if folder.is_dir() else 0
    value = f"{size / 1e9:,.2f} GB in {folder}"
    if size < LEAST_SHARED:
        verdict = Verdict.WRONG if has_gpu() else Verdict.SLOW
        meaning = (
            "NCCL's ranks of one node, and processes that read data, exchange buffers there and fail when it is full"
        )
        yield Check("shared memory", verdict, value, meaning=meaning, fix="docker run --shm-size=16g, or --ipc=host")
    else:
        yield Check("shared memory", Verdict.OK, value)


def check_open_files() -> Iterator[Check]:
    """Check how many files a process may open."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    value = f"{limit:,} a process"
    if 0 <= limit < LEAST_FILES:
        most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        meaning = "ranks that open libraries, sockets and data sets run out of them"
        yield Check(
            "open files", Verdict.WRONG, value, meaning=meaning, fix=f"ulimit -n {LEAST_FILES} (at most {most} here)"
        )
    else:
        yield Check("open files", Verdict.OK, value if limit >= 0 else "unlimited")


def check_disk(folder: Path) -> Iterator[Check]:
    """Check a folder's free space, and how fast it is written and read.

    Args:
        folder: an existing folder; a file of at most 256 MiB is made there and removed.
    """
    if not folder.is_dir():
        yield Check(
            "disk",
            Verdict.WRONG,
            f"{folder} is not a folder",
            meaning="nothing can be written there",
            fix="check --folder",
        )
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        value = f"{free / 1e9:,.2f} GB free in {folder}"
        yield Check(
            "disk",
            Verdict.WRONG,
            value,
            meaning="a checkpoint does not fit",
            fix="free space, or give another --folder",
        )
        return
    try:
        written, read = _speeds(folder)
    except OSError as error:
        full = full_disk(error)
        fix = "free space, or raise the quota" if full else "change its permissions, or give another --folder"
        value = f"{folder} cannot be written: {full or os.strerror(error.errno or errno.EIO)}"
        yield Check("disk", Verdict.WRONG, value, meaning="a run needs a folder to write to", fix=fix)
        return
    value = f"{free / 1e9:,.0f} GB free, writes {written / 1e6:,.0f} MB/s, reads {read / 1e6:,.0f} MB/s in {folder}"
    if min(written, read) < SLOW_DISK:
        size = SIZES["8b"].parameters * (WEIGHT + MOMENTS)
        meaning = (
            f"a checkpoint of an 8 B model ({size / 1e9:,.0f} GB) takes {size / min(written, read) / 60:,.0f} minutes"
        )
        yield Check(
            "disk",
            Verdict.SLOW,
            value,
            meaning=meaning,
            fix="use the cluster's parallel file system, or save less often",
        )
    else:
        yield Check("disk", Verdict.OK, value)


def _speeds(folder: Path) -> tuple[float, float]:
    """Bytes a second that a folder's disk writes, until they are safe, and reads, not from memory."""
    chunk = os.urandom(CHUNK)  # a file system may compress
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".pdapt-doctor-") as file:
        begin, count = time.perf_counter(), 0
        while count < PROBE and time.perf_counter() - begin < PROBE_SECONDS:
            count += file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        written = count / (time.perf_counter() - begin)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        begin, count = time.perf_counter(), 0
        while (length := len(file.read(CHUNK))) and time.perf_counter() - begin < PROBE_SECONDS:
            count += length
        return written, count / (time.perf_counter() - begin)
