"""A child process ends with its parent, whenever that dies."""

import os
import subprocess
import sys
import time

CHILD = "import sys, time; from pdapt.core.system.process import die_with_parent; "


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_child_dies_with_its_parent() -> None:
    child = CHILD + "die_with_parent(); print('ready', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
    parent += "print(p.pid, flush=True); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    pid = int(next(line for line in (first, second) if line.strip().isdigit()))
    process.kill()
    process.wait()
    assert gone(pid)


def test_a_child_whose_ancestor_is_gone_already_ends_by_itself() -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # dead, and its exit code not read yet
    command = [sys.executable, "-c", CHILD + "die_with_parent(int(sys.argv[1])); print('alive')", str(dead.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is gone: ending" in done.stderr
    command[-1] = str(os.getpid())
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "alive\n"
