"""Starts torchrun for the ranks of this machine, follows its output, and passes on requests to stop."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from ...core import log
from ...core.errors import Failed, UserError
from ...core.files import read_json, remove, write_json
from ...core.system.process import die_with_parent
from ...recipes.schema import Recipe
from ..rank_task import RankTask
from .failures.cause import first_cause
from .failures.rank_file import FOLDER
from .listeners.stops import SIGNALS, block_signals
from .output import Follower

LOG = "train.log"
CODES = "codes.json"
"""File beside the ranks' files: exit codes of the rank that torchrun saw fail first, and of those that faults ended."""


def spawn(task: RankTask, out: Path) -> int:
    """Run torchrun for this machine's ranks, with their output in `train.log`; return its exit code.

    A SIGTERM, SIGUSR1 or SIGINT is passed on to the ranks, which save and end.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed once more.
    """
    parallel = task.recipe.parallel
    remove(out / FOLDER)
    (out / FOLDER).mkdir()
    task_file, codes = out / "job.json", out / FOLDER / CODES
    command = [sys.executable, "-u", "-m", "pdapt.training.run.agent", str(task_file), str(codes), str(os.getpid())]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads(parallel.ranks_per_node))} | connections(task.recipe)
    with _asked_to_stop() as asked, (out / LOG).open("ab") as file:
        write_json(task_file, task.to_json())
        offset = file.tell()
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            process_group=0,  # a terminal sends Ctrl-C to its whole group, and torchrun would end the ranks at once
            preexec_fn=partial(_before_torchrun, os.getpid()),
        )
        return _watch(process, Follower(out / LOG, offset, log.info), asked)


def threads(ranks: int) -> int:
    """Threads of a rank: its share of the cores, or fewer if OMP_NUM_THREADS says so."""
    part = max(1, len(os.sched_getaffinity(0)) // ranks)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(part, int(given)) if given.isdecimal() and int(given) else part


def connections(recipe: Recipe) -> dict[str, str]:
    """Environment of the ranks: Megatron asks for one connection with TP, and for more with its FSDP."""
    return {} if recipe.parallel.fsdp else {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}


def _before_torchrun(launcher: int) -> None:
    die_with_parent(launcher)
    # Ranks inherit this block, and lift it once they can note a signal: an earlier one does not kill them.
    block_signals()


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Note the signals that ask to stop."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        asked.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(process: "subprocess.Popen[bytes]", follower: Follower, asked: list[int]) -> int:
    """Wait for the trainer, pass on signals and show its progress; return its exit code."""
    passed_on = False
    while process.poll() is None:
        time.sleep(0.5)
        ranks = psutil.Process(process.pid).children() if asked and not passed_on else []
        for rank in ranks:
            rank.send_signal(asked[0])
        if ranks:
            log.info(f"train: {signal.Signals(asked[0]).name} received: saving and ending after this step")
            passed_on = True
        if asked.count(signal.SIGINT) > 1:  # the ranks die with this process
            raise KeyboardInterrupt
        follower.show()
    follower.end()
    return process.returncode


def fail(code: int, path: Path, offset: int) -> NoReturn:
    """Say why the trainer ended, as a UserError if the user can fix it.

    Args:
        code: the trainer's exit code.
        path: its log, in the run's folder.
        offset: where this start's part of the log begins.

    Raises:
        UserError: the disk is full.
        Failed: anything else; the rank that failed first is named.
    """
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace")
    # If the disk is full, the log may end before it can say so.
    if os.strerror(errno.ENOSPC) in text or shutil.disk_usage(path).free < 2**20:
        raise UserError(
            "the disk is full: the trainer could not write",
            where=str(path.parent),
            fix="free space and run the same command again: it continues from the last complete checkpoint",
        )
    folder = path.parent / FOLDER
    codes = read_json(folder / CODES) if (folder / CODES).is_file() else {}
    log_end = _end_of(text.splitlines())
    cause = first_cause(folder, {int(rank): number for rank, number in codes.items()}, log_end=log_end)
    cause = cause or f"it ended with code {code}; the end of its log:\n{log_end}"
    raise Failed(f"the trainer failed: {cause}\n  where: {path}")


def _end_of(lines: list[str]) -> str:
    """The last lines of a log before torchrun's report of it."""
    report = next((n for n, line in enumerate(lines) if "elastic/multiprocessing/api.py" in line), len(lines))
    return "\n".join(lines[:report][-15:])
