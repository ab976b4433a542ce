"""A real Slurm of two one-CPU nodes, for the tests of batch scripts."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def start_munge() -> None:
    """Start munge's daemon unless it answers: a dead one may still be in the table of processes and have a socket."""
    asked = subprocess.run(["munge", "-n"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    if asked.returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        command = ["su", "-s", "/bin/bash", "munge", "-c", "/usr/sbin/munged --force"]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)


def check_own(environment: dict[str, str], folder: Path) -> None:
    """Check that the controller that answers is this Slurm's: another one may hold its port."""
    command = ["scontrol", "show", "config"]
    config = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    state = next(line.partition("=")[2].strip() for line in config.splitlines() if line.startswith("StateSaveLocation"))
    assert Path(state) == folder / "state", f"another Slurm holds this one's port: {state}; stop it"


@pytest.fixture(scope="session")
def slurm(
    shared: Callable[[str], Path], programs: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Environment of commands for a real Slurm of two one-CPU nodes on this machine."""
    programs("slurmctld", "slurmd", "sbatch", "srun", "munged")
    if os.geteuid() != 0:
        pytest.skip("only root may start Slurm's daemons")
    tool, folder = shared("tools/slurm-two-nodes.sh"), tmp_path_factory.mktemp("slurm")
    # torchrun of the interpreter that runs the tests; the job inherits the submitter's PATH.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    try:
        start_munge()
        # The daemons keep what they are given as standard output: not the pipe of whoever reads the tests' output.
        subprocess.run(["bash", tool, "start", folder], check=True, timeout=120, stdout=subprocess.DEVNULL)
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
        check_own(environment, folder)
        yield environment
    finally:
        subprocess.run(["bash", tool, "stop", folder], check=True)
