"""The rendered batch script: its text, what bash makes of it, and what a real Slurm makes of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.slurm import SlurmOptions
from pdapt.launch.sbatch import BatchJob, render_sbatch
from pdapt.launch.slurm_site import Container, SlurmSite, Variable

SITE = SlurmSite(title="a cluster", longest="20:00:00", logs="logs")
JOB = BatchJob(
    name="qwen3_8b_cpt_48xh100_packed",
    nodes=12,
    ranks_per_node=4,
    gpu=True,
    options=SlurmOptions(time="20:00:00", cpus_per_rank=24),
    lead=600,
    command=["pdapt", "train", "qwen3_8b_cpt_48xh100_packed"],
    site=SITE,
    env={"CUDA_DEVICE_MAX_CONNECTIONS": "1"},
)

EXPECTED = """\
#SBATCH --job-name=qwen3_8b_cpt_48xh100_packed
#SBATCH --nodes=12
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=96
#SBATCH --gpus-per-node=4
#SBATCH --time=20:00:00
#SBATCH --signal=USR1@600
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
set -euo pipefail
export CUDA_DEVICE_MAX_CONNECTIONS=1
MASTER_ADDR=$(hostname)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
srun \\
  --ntasks-per-node=1 \\
  --cpus-per-task=96 \\
  --kill-on-bad-exit=1 \\
  torchrun \\
  --signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 \\
  --shutdown-timeout=600 \\
  --nnodes=12 \\
  --nproc-per-node=4 \\
  --rdzv-id="$SLURM_JOB_ID" \\
  --rdzv-backend=c10d \\
  --rdzv-endpoint="$MASTER_ADDR:$MASTER_PORT" \\
  --no-python \\
  pdapt train qwen3_8b_cpt_48xh100_packed
"""

FAKE_SRUN = """\
#!/bin/bash
printf '%s\\0' "$@" "GIVEN=$GIVEN" >seen
exit 7
"""


def statements(script: str) -> str:
    """The script without comments and blank lines."""
    kept = [line for line in script.splitlines() if line and not line.startswith(("# ", "#!"))]
    return "\n".join(kept) + "\n"


def run_with_fake_srun(script: str, folder: Path) -> tuple[int, list[str]]:
    """Run a script with bash, in a PATH whose `srun` writes its arguments down and ends with 7."""
    (folder / "bin").mkdir()
    (folder / "bin" / "srun").write_text(FAKE_SRUN)
    (folder / "bin" / "srun").chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "41234"}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, (folder / "seen").read_text().split("\0")[:-1]


def test_a_job_becomes_these_statements_and_no_others() -> None:
    script = render_sbatch(JOB)
    assert script.startswith("#!/bin/bash\n")
    assert script.endswith("\n")
    assert statements(script) == EXPECTED


def test_every_block_of_the_script_is_explained() -> None:
    blocks = render_sbatch(JOB).split("\n\n")
    assert len(blocks) == 5
    assert all(block.splitlines()[0].startswith(("# ", "#!")) for block in blocks)


def test_what_is_empty_is_left_out() -> None:
    script = render_sbatch(replace(JOB, ranks_per_node=1, gpu=False, env={}))
    assert "gpus-per-node" not in script
    assert "--nproc-per-node=1 " in script
    assert "export" not in script
    assert "\n\n\n" not in script


def test_the_sites_options_are_handed_to_slurm() -> None:
    options = replace(JOB.options, partition="gpu_p6", account="abc@h100", qos="qos-t3", constraint="(h100|a100)&ib")
    script = render_sbatch(replace(JOB, options=options))
    for line in ("--partition=gpu_p6", "--account=abc@h100", "--qos=qos-t3", "--constraint=(h100|a100)&ib"):
        assert f"\n#SBATCH {line}\n" in script


def test_what_a_site_says_is_in_the_script() -> None:
    site = SlurmSite(
        title="a cluster",
        longest="20:00:00",
        hint="nomultithread",
        gpu_option="gres",
        modules=["arch/h100", "cuda/12"],
        venv="$WORK/venv",
        scratch="$SCRATCH",
        tmp="$JOBSCRATCH",
        env={"WANDB_MODE": "offline mode"},
        network={"NCCL_X": Variable("a b", "cards are named so")},
    )
    script = render_sbatch(replace(JOB, site=site))
    lines = script.splitlines()
    assert {"#SBATCH --hint=nomultithread", "#SBATCH --gres=gpu:4", "module load cuda/12"} <= set(lines)
    assert lines.index("module purge") + 1 == lines.index("module load arch/h100")
    assert lines.index("module load cuda/12") < lines.index("set -euo pipefail"), "modules read what is not set"
    assert {'export PATH="$WORK/venv/bin:$PATH"', 'export TMPDIR="$JOBSCRATCH"'} <= set(lines)
    assert "export NCCL_X='a b'  # cards are named so" in lines
    assert "export WANDB_MODE='offline mode'" in lines
    assert "  --hint=nomultithread \\" in lines, "srun does not take it over"
    assert "gpus-per-node" not in script


def test_ranks_run_in_a_container_of_either_kind() -> None:
    apptainer = Container("apptainer", "$WORK/pdapt.sif", ["$WORK", "/data:/in"])
    script = render_sbatch(replace(JOB, site=replace(SITE, container=apptainer)))
    assert '  apptainer exec --nv --bind "$WORK" --bind "/data:/in" "$WORK/pdapt.sif" \\\n' in script
    assert "--nv" not in render_sbatch(replace(JOB, gpu=False, site=replace(SITE, container=apptainer)))
    script = render_sbatch(replace(JOB, site=replace(SITE, container=replace(apptainer, runtime="pyxis"))))
    assert '  --container-image="$WORK/pdapt.sif" \\\n  --container-mounts="$WORK,/data:/in" \\\n' in script
    assert "apptainer" not in script


def test_bash_hands_every_word_on_as_it_was_given(tmp_path: Path) -> None:
    hostile = ["x; touch injected", "$(touch injected)", "`touch injected`", "it's", 'a "b"', "", "*", "~", "\\", "é à"]
    job = replace(JOB, command=["program", "module", *hostile], env={"GIVEN": "$HOME; touch injected"})
    code, words = run_with_fake_srun(render_sbatch(job), tmp_path)
    assert words[-len(hostile) - 3 :] == ["program", "module", *hostile, "GIVEN=$HOME; touch injected"]
    assert not (tmp_path / "injected").exists()
    assert code == 7, "the job does not end with the step's code"


def test_the_ranks_meet_at_the_node_that_runs_the_script(tmp_path: Path) -> None:
    _, words = run_with_fake_srun(render_sbatch(replace(JOB, env={"GIVEN": ""})), tmp_path)
    host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
    assert f"--rdzv-endpoint={host}:21234" in words
    assert "--rdzv-id=41234" in words


def test_bash_accepts_the_script() -> None:
    subprocess.run(["bash", "-n"], input=render_sbatch(JOB), text=True, check=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x; rm -rf"),
        ("name", "x\n#SBATCH --nodes=99"),
        ("name", "a/b"),
        ("name", ""),
        ("options", replace(JOB.options, partition="a b")),
        ("options", replace(JOB.options, account="a'b")),
        ("options", replace(JOB.options, qos="a#b")),
        ("options", replace(JOB.options, constraint='a"b')),
        ("nodes", 0),
        ("ranks_per_node", 0),
        ("lead", 0),
        ("options", replace(JOB.options, cpus_per_rank=0)),
        ("options", replace(JOB.options, time="tomorrow")),
        ("options", replace(JOB.options, time="1:00\n")),
        ("options", replace(JOB.options, time="")),
        ("command", []),
        ("command", ["-m", "a\nb"]),
        ("command", ["a\0b"]),
        ("env", {"A B": "1"}),
        ("env", {"1A": "1"}),
        ("env", {"A": "1\nB=2"}),
    ],
)
def test_what_a_script_cannot_carry_is_refused(field: str, value: object) -> None:
    with pytest.raises(UserError, match=r"allowed:|fix:"):
        replace(JOB, **{field: value})


@pytest.mark.parametrize("limit", ["90", "90:00", "20:00:00", "2-12", "2-12:30", "2-12:30:00"])
def test_every_spelling_of_a_time_limit_is_handed_on(limit: str) -> None:
    assert f"#SBATCH --time={limit}\n" in render_sbatch(replace(JOB, options=replace(JOB.options, time=limit)))


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
sys.exit(3 if sys.argv[1] == "fail" else 0)
"""


def start_munge() -> None:
    """Start munge's daemon unless it answers: a dead one may still be in the table of processes and have a socket."""
    asked = subprocess.run(["munge", "-n"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    if asked.returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        command = ["su", "-s", "/bin/bash", "munge", "-c", "/usr/sbin/munged --force"]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
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
        yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    finally:
        subprocess.run(["bash", tool, "stop", folder], check=True)


def submit(word: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run the rank program as a job of two nodes, one rank each; return the job's exit code and its log."""
    (folder / "rank.py").write_text(RANK)
    command = [sys.executable, str(folder / "rank.py"), word]
    variables = {"CONNECTIONS": "1", "OMP_NUM_THREADS": "1"}
    options = SlurmOptions(time="5", cpus_per_rank=1)
    site = replace(SITE, logs=str(folder))
    job = BatchJob("ranks", 2, 1, gpu=False, options=options, lead=30, command=command, site=site, env=variables)
    (folder / "job.sh").write_text(render_sbatch(job))
    done = subprocess.run(["sbatch", "--wait", "job.sh"], cwd=folder, env=environment, capture_output=True, text=True)
    logs = list(folder.glob("ranks-*.out"))
    assert len(logs) == 1, done.stderr
    return done.returncode, logs[0].read_text()


@pytest.mark.slow
def test_slurm_runs_two_nodes(slurm: dict[str, str], tmp_path: Path) -> None:
    code, log = submit("x; touch injected", tmp_path, slurm)
    assert code == 0, log
    lines = sorted(line for line in log.splitlines() if line.startswith("rank"))
    assert [line.split(",")[0] for line in lines] == ["rank 0 of 2: sum 3", "rank 1 of 2: sum 3"]
    assert all("given 'x; touch injected'" in line and line.endswith("CONNECTIONS=1") for line in lines)
    assert {line.split("on n")[1][0] for line in lines} == {"1", "2"}
    assert not (tmp_path / "injected").exists()


@pytest.mark.slow
def test_a_job_whose_ranks_fail_fails(slurm: dict[str, str], tmp_path: Path) -> None:
    code, log = submit("fail", tmp_path, slurm)
    assert "rank 0 of 2: sum 3" in log
    assert code != 0
