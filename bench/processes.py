"""Processes that are measured: their output goes to a log, and they end with the benchmark."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from ..core.system.process import die_with_parent

LAST_CHARACTERS = 3000


def run_logged[T](
    command: list[str],
    log: Path,
    watch: Callable[["subprocess.Popen[bytes]"], T],
    *,
    cwd: Path,
    name: str = "",
    env: Mapping[str, str] | None = None,
) -> T:
    """Run a command, and watch it until it ends.

    Args:
        command: program and arguments.
        log: file for its output.
        watch: waits for the process; its result is returned.
        cwd: working folder of the command.
        name: name of the command in the error; by default the command itself.
        env: its environment; by default this process's.

    Raises:
        RuntimeError: the command failed; the error holds the end of its log.
    """
    with log.open("w+b") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, env=env, preexec_fn=die_with_parent)
        result = watch(process)
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")[-LAST_CHARACTERS:]
            raise RuntimeError(f"{name or ' '.join(command)} failed:\n{text}")
    return result
