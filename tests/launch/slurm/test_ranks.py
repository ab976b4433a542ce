"""The ranks of a batch script on a real Slurm: they meet, and are given what was asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from pdapt.core.slurm import SlurmOptions
from pdapt.launch.sbatch import BatchJob, render_sbatch
from pdapt.launch.slurm_site import SlurmSite

pytestmark = pytest.mark.slow

RANK = """\
import os, sys
import torch.distributed as dist
import torch

dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1])
dist.all_reduce(total)
print(f"rank {dist.get_rank()} of {dist.get_world_size()}: sum {int(total)}, given {sys.argv[1]!r}, "
      f"on {os.environ['SLURMD_NODENAME']}, CONNECTIONS={os.environ['CONNECTIONS']}", flush=True)
dist.destroy_process_group()
sys.exit(2 if sys.argv[1] == "fail" else 0)
"""


def submit(word: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run the rank program as a job of two nodes, one rank each; return the job's exit code and its log."""
    (folder / "rank.py").write_text(RANK)
    command = [sys.executable, str(folder / "rank.py"), word]
    variables = {"CONNECTIONS": "1", "OMP_NUM_THREADS": "1"}
    options = SlurmOptions(time="5", cpus_per_rank=1)
    site = SlurmSite(title="two nodes", longest="20:00:00", logs=str(folder))
    job = BatchJob(
        name="ranks",
        nodes=2,
        ranks_per_node=1,
        gpu=False,
        options=options,
        lead=30,
        command=command,
        site=site,
        out=str(folder / "run"),
        env=variables,
    )
    (folder / "job.sh").write_text(render_sbatch(job))
    done = subprocess.run(["sbatch", "--wait", "job.sh"], cwd=folder, env=environment, capture_output=True, text=True)
    logs = list(folder.glob("ranks-*.out"))
    assert len(logs) == 1, (done.returncode, done.stdout, done.stderr)
    return done.returncode, logs[0].read_text()


def test_slurm_runs_two_nodes(slurm: dict[str, str], tmp_path: Path) -> None:
    code, log = submit("x; touch injected", tmp_path, slurm)
    assert code == 0, log
    lines = sorted(line for line in log.splitlines() if line.startswith("rank"))
    assert [line.split(",")[0] for line in lines] == ["rank 0 of 2: sum 3", "rank 1 of 2: sum 3"]
    assert all("given 'x; touch injected'" in line and line.endswith("CONNECTIONS=1") for line in lines)
    assert {line.split("on n")[1][0] for line in lines} == {"1", "2"}
    assert not (tmp_path / "injected").exists()


def test_a_job_whose_ranks_fail_fails(slurm: dict[str, str], tmp_path: Path) -> None:
    code, log = submit("fail", tmp_path, slurm)
    assert "rank 0 of 2: sum 3" in log
    assert code == 2
