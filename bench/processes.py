"""Processes that are measured: their output in a log, and their death with the benchmark."""

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
        log: file of what it prints.
        watch: waits for the process; its result is returned.
        cwd: folder that it works in.
        name: of the command in the error; by default the command itself.
        env: its environment; by default this process's.

    Raises:
        RuntimeError: it failed; the end of its log is in the error.
    """
    with log.open("w+b") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, env=env, preexec_fn=die_with_parent)
        result = watch(process)
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")[-LAST_CHARACTERS:]
            raise RuntimeError(f"{name or ' '.join(command)} failed:\n{text}")
    return result
