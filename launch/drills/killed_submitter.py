"""The drill of a submitting process that is killed: launched again and again, its chain is submitted once and whole."""

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ...core import log
from ...core.errors import Failed
from ...core.files import remove, write_text
from ...core.log import counted
from ...core.manifest import MANIFEST_FILE
from ..chain.flow_file import read_flow
from ..chain.run_status import StepState, cancel_run, run_status
from ..request import REQUEST_FILE
from ..slurm_site import site_path
from ..steps import Step, flow_steps
from .cluster import wait_until
from .results import Results, read_results
from .tiny_flow import TinyFlow, flow_text

FLOW_FILE = "chain.yaml"
NODES = ("parallel.nodes=2", "parallel.ranks_per_node=1")
PAUSE = 2.0
"""Seconds between two looks at a chain."""
IN_PLACE_OF_SBATCH = """\
#!/bin/bash
# In the place of sbatch: notes the number of each job that Slurm takes, and kills at one of them who submits it.
set -euo pipefail
export PATH={path}
next=$(($(wc -l <{taken}) + 1))
kill_if_due() {{ if [ "$1 $next" = {moment} ]; then kill -KILL "$PPID" && exit 1; fi; }}
kill_if_due before
number=$(sbatch "$@")
echo "$number" >>{taken}
kill_if_due after
echo "$number"
"""


@dataclass(frozen=True)
class TinyChain:
    """The tiny flow as a chain on two nodes, which `pdapt launch` submits.

    Attributes:
        flow: its text, base and file.
        folder: of this chain, which every node sees; absolute.
        site: name or path of a site.
    """

    flow: TinyFlow
    folder: Path
    site: str

    @property
    def run(self) -> Path:
        """The folder of its run."""
        return self.folder / "run"

    @property
    def steps(self) -> list[Step]:
        """The steps that its jobs do."""
        return flow_steps(read_flow(self.flow.folder / FLOW_FILE).request)

    def make(self) -> None:
        """Write what its launches read and note."""
        self.flow.make()
        write_text(self.flow.folder / FLOW_FILE, flow_text(*NODES))
        write_text(self.folder / "taken.txt", "")

    def launch(self, moment: str = "never") -> None:
        """Submit what is not submitted yet.

        Args:
            moment: at which the process that submits is killed: `before N` or `after N`, where N counts the jobs that
                Slurm has taken of all launches. After a job is before its number is noted.

        Raises:
            Failed: the process ends otherwise than it should.
        """
        folder = self.write_stand_in(moment).parent
        command = [sys.executable, "-m", "pdapt.cli.main", "launch", FLOW_FILE, "--on", "slurm", "--out", str(self.run)]
        done = subprocess.run(
            [*command, "--site", str(site_path(self.site).resolve())],
            cwd=self.flow.folder,
            env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != (0 if moment == "never" else -signal.SIGKILL):
            said = " / ".join(done.stderr.strip().splitlines()[-3:])
            raise Failed(f"a launch that was to be killed {moment} ended with {done.returncode}: {said}")

    def write_stand_in(self, moment: str) -> Path:
        """Write the program in the place of sbatch; its path."""
        words = {"path": os.environ["PATH"], "taken": str(self.folder / "taken.txt"), "moment": moment}
        path = self.folder / "bin" / "sbatch"
        write_text(path, IN_PLACE_OF_SBATCH.format(**{name: shlex.quote(word) for name, word in words.items()}))
        path.chmod(0o755)
        return path

    def taken(self) -> list[str]:
        """The numbers of the jobs that Slurm has taken."""
        return (self.folder / "taken.txt").read_text(encoding="utf-8").split()

    def finish(self) -> Results:
        """Wait until every step is done; the run's results.

        Raises:
            Failed: the chain stops, or does not end in time.
        """

        def done() -> bool:
            status = run_status(self.run)
            if status.stopped:
                raise Failed(f"the chain has stopped: {status.stopped}")
            return all(step.state == StepState.DONE for step in status.steps)

        wait_until(done, f"the end of the chain in {self.run}", pause=PAUSE)
        return read_results(self.run)


def undisturbed_chain(flow: TinyFlow, folder: Path, site: str) -> Results:
    """The results of the chain as one process submits it.

    Raises:
        Failed: it does not end well.
    """
    chain = TinyChain(flow, folder, site)
    if (chain.run / "report" / MANIFEST_FILE).is_file():
        return read_results(chain.run)
    log.info("drill: the chain, undisturbed")
    return _launched(chain, [])


def killed_submitter(flow: TinyFlow, folder: Path, site: str) -> tuple[Results, str]:
    """The results of a chain whose submitting process is killed before a job, after another, and after the last.

    Raises:
        Failed: a job is submitted twice, or a step never; or the chain stops.
    """
    chain = TinyChain(flow, folder, site)
    results = _launched(chain, ["before 3", "after 5", "after last"])
    jobs = counted(len(chain.taken()), "job")
    return results, f"killed before job 3, after job 5 and after the last was taken; {jobs}, one for each step"


def _launched(chain: TinyChain, moments: list[str]) -> Results:
    """Launch a chain, killed at these moments, and once more, and let it end."""
    remove(chain.folder)
    chain.make()
    steps = [step.name for step in chain.steps]
    try:
        for moment in moments:
            chain.launch(moment.replace("last", str(len(steps))))
        chain.launch()
        if len(chain.taken()) != len(steps):
            raise Failed(f"the jobs {', '.join(chain.taken())} were submitted for the steps {', '.join(steps)}")
        return chain.finish()
    finally:
        if (chain.run / REQUEST_FILE).is_file():
            cancel_run(chain.run)
