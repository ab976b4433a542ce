"""The rendered batch script: its text, and what bash makes of it; `slurm/` runs it on a real Slurm."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from task_runs import wait

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
    out="run",
    env={"CUDA_DEVICE_MAX_CONNECTIONS": "1"},
)

EXPECTED = """\
#SBATCH --job-name=qwen3_8b_cpt_48xh100_packed
#SBATCH --nodes=12
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=24
#SBATCH --gpus-per-node=4
#SBATCH --time=20:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
set -euo pipefail
export CUDA_DEVICE_MAX_CONNECTIONS=1
RUN=run
JOBS="$RUN/slurm"
START="$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"
export MASTER_ADDR=$(hostname) MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export WORLD_SIZE=48 LOCAL_WORLD_SIZE=4 ENDS="$JOBS/ends"
"""
"""Statements before the first function."""
STEP = """\
  srun \\
    --ntasks-per-node=4 \\
    --cpus-per-task=24 \\
    --kill-on-bad-exit=1 \\
    bash -c 'rank "$@"' rank \\
    pdapt train qwen3_8b_cpt_48xh100_packed &
"""

FAKES = {
    # Runs the one rank itself, and writes down what it was given.
    "srun": """\
printf '%s\\0' "$@" "GIVEN=${GIVEN-}" "MASTER=$MASTER_ADDR:$MASTER_PORT" >seen
while [ "$1" != bash ]; do shift; done
SLURM_PROCID=0 SLURM_LOCALID=0 exec "$@"
""",
    "squeue": 'echo "${QUEUED-RUNNING 0}"',
    "scontrol": 'echo "$@" >>scontrol.txt',
}


def statements(script: str) -> str:
    """The script without comments and blank lines."""
    kept = [line for line in script.splitlines() if line and not line.startswith(("# ", "#!"))]
    return "\n".join(kept) + "\n"


def run_without_slurm(
    job: BatchJob, folder: Path, said: str | tuple[str, ...] = "", **variables: str
) -> tuple[int, list[str]]:
    """Run a job's script with bash and stand-ins for Slurm's commands; its code, and the words that srun was given.

    Each line of its standard error has to end with `said`, or one of them, and there is none where that is empty.
    """
    (folder / "bin").mkdir()
    for name, text in FAKES.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (folder / "bin" / name).chmod(0o755)
    script = render_sbatch(replace(job, nodes=1, ranks_per_node=1))
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "41234", "SLURM_JOB_NODELIST": "n"}
    environment |= variables
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert [line for line in lines if not said or not line.endswith(said)] == []
    seen = folder / "seen"
    return done.returncode, seen.read_text().split("\0")[:-1] if seen.is_file() else []


def test_a_job_becomes_these_statements_and_no_others() -> None:
    script = render_sbatch(JOB)
    assert script.startswith("#!/bin/bash\n")
    assert script.endswith("\n")
    head, functions = statements(script).split("rank() {\n")
    assert head == EXPECTED
    assert STEP in functions


def test_every_block_of_the_script_is_explained() -> None:
    blocks = render_sbatch(JOB).split("\n\n")
    assert len(blocks) == 14
    assert all(block.splitlines()[0].startswith(("# ", "#!")) for block in blocks)


def test_what_is_empty_is_left_out() -> None:
    script = render_sbatch(replace(JOB, ranks_per_node=1, gpu=False, env={}))
    assert "gpus-per-node" not in script
    assert "    --ntasks-per-node=1 \\\n" in script
    assert "Environment of every rank" not in script
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
    assert "    --hint=nomultithread \\" in lines, "srun does not take it over"
    assert "gpus-per-node" not in script


def test_ranks_run_in_a_container_of_any_kind() -> None:
    apptainer = Container("apptainer", "$WORK/pdapt.sif", ["$WORK", "/data:/in"])
    script = render_sbatch(replace(JOB, site=replace(SITE, container=apptainer)))
    assert '    apptainer exec --nv --bind "$WORK" --bind "/data:/in" "$WORK/pdapt.sif" \\\n' in script
    assert "--nv" not in render_sbatch(replace(JOB, gpu=False, site=replace(SITE, container=apptainer)))
    singularity = render_sbatch(replace(JOB, site=replace(SITE, container=replace(apptainer, runtime="singularity"))))
    assert singularity == script.replace("apptainer exec", "singularity exec")
    script = render_sbatch(replace(JOB, site=replace(SITE, container=replace(apptainer, runtime="pyxis"))))
    assert '    --container-image="$WORK/pdapt.sif" \\\n    --container-mounts="$WORK,/data:/in" \\\n' in script
    assert "apptainer" not in script


def test_bash_hands_every_word_on_as_it_was_given(tmp_path: Path) -> None:
    hostile = ["x; touch injected", "$(touch injected)", "`touch injected`", "it's", 'a "b"', "", "*", "~", "\\", "é à"]
    job = replace(
        JOB, command=["true", "module", *hostile], env={"GIVEN": "$HOME; touch injected"}, out="r; touch injected"
    )
    code, words = run_without_slurm(job, tmp_path)
    assert words[-len(hostile) - 4 : -1] == ["true", "module", *hostile, "GIVEN=$HOME; touch injected"]
    assert not (tmp_path / "injected").exists()
    assert (tmp_path / "r; touch injected/slurm/history.tsv").is_file()
    assert code == 0


def test_the_ranks_meet_at_the_node_that_runs_the_script(tmp_path: Path) -> None:
    _, words = run_without_slurm(replace(JOB, command=["true"]), tmp_path)
    host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
    assert words[-1] == f"MASTER={host}:21234"


@pytest.mark.parametrize(
    ("code", "ended", "asked"),
    [
        (0, 0, []),
        (1, 1, ["requeue 41234"]),
        (2, 2, []),
        (76, 76, ["update JobId=41234 Comment=pdapt: ", "requeuehold 41234"]),
        (137, 1, ["requeue 41234"]),
    ],
)
def test_what_becomes_of_a_job_follows_from_its_ranks_code(
    code: int, ended: int, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """slurm/test_job_end.py asks a real Slurm."""
    monkeypatch.setattr("pdapt.launch.sbatch.PATIENCE", 0)
    job = replace(JOB, command=["bash", "-c", f"exit {code}"])
    assert run_without_slurm(job, tmp_path)[0] == ended
    path = tmp_path / "scontrol.txt"
    assert (path.read_text().splitlines() if path.exists() else []) == asked


@pytest.mark.parametrize(
    ("queued", "restarts", "words"),
    [
        ("COMPLETING 1", "0", "put back into the queue by hand, or by Slurm"),
        ("COMPLETING 3", "2", "put back into the queue by hand, or by Slurm"),
        ("COMPLETING 2", "2", "not put back into the queue: it was cancelled, or the cluster does not allow it"),
        ("", "0", "not put back into the queue: it was cancelled, or the cluster does not allow it"),
    ],
)
def test_a_job_that_was_put_back_by_hand_is_told_from_one_that_was_cancelled(
    queued: str, restarts: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what squeue says of each on a real Slurm, while the script still runs."""
    monkeypatch.setattr("pdapt.launch.sbatch.PATIENCE", 0)
    job = replace(JOB, command=["bash", "-c", "exit 1"])
    assert run_without_slurm(job, tmp_path, QUEUED=queued, SLURM_RESTART_COUNT=restarts)[0] == 1
    assert not (tmp_path / "scontrol.txt").exists()
    assert (tmp_path / "run/slurm/history.tsv").read_text().splitlines()[-1].split("\t")[4] == words


def test_a_site_where_nothing_is_put_back_ends_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdapt.launch.sbatch.PATIENCE", 0)
    job = replace(JOB, site=replace(SITE, requeue=False), command=["bash", "-c", "exit 1"])
    assert "#SBATCH --no-requeue\n" in render_sbatch(job)
    assert run_without_slurm(job, tmp_path)[0] == 1
    assert not (tmp_path / "scontrol.txt").exists()
    assert "submit it again" in (tmp_path / "run/slurm/history.tsv").read_text()


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


def test_a_full_disk_does_not_hide_how_the_ranks_ended(small_disk: Callable[..., Path]) -> None:
    """Neither their codes nor the job's own need room."""
    folder = small_disk("1m")
    fill = "mkdir -p run; head -c 2000000 /dev/zero >run/filler 2>/dev/null; exit 2"
    assert run_without_slurm(replace(JOB, command=["bash", "-c", fill]), folder, said="No space left on device")[0] == 2


@pytest.mark.parametrize("before", ["", "none\n"])
def test_a_start_on_a_full_disk_is_a_mistake_to_correct_and_no_crash(
    small_disk: Callable[..., Path], tmp_path: Path, before: str
) -> None:
    """It has no room to be counted as a start: neither in a new file nor at the end of one."""
    run = small_disk("1m") / "run"
    (run / "slurm").mkdir(parents=True)
    if before:
        (run / "slurm/starts.txt").write_text(before.ljust(os.sysconf("SC_PAGESIZE"), "\n"))
    with suppress(OSError):
        (run / "filler").write_bytes(bytes(2**21))
    said = ("No space left on device", "the line above says why", "then submit the job again")
    assert run_without_slurm(replace(JOB, out=str(run)), tmp_path, said=said) == (2, []), "no rank is started"


def test_a_rank_that_has_failed_ends_at_once_when_slurm_ends_its_step(tmp_path: Path) -> None:
    """A step whose end takes longer than Slurm waits for an answer is ended again a minute later, in the next start."""
    script = render_sbatch(JOB)
    function = script[script.index("rank() {") : script.index("export -f rank")]
    environment = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURMD_NODENAME": "n1", "ENDS": str(tmp_path)}
    command = ["bash", "-c", f"{function}rank bash -c 'exit 3'"]
    with subprocess.Popen(command, env=os.environ | environment, start_new_session=True) as process:
        wait(lambda: any(path.name.endswith(" 3 0 n1") for path in tmp_path.iterdir()))
        time.sleep(0.2)  # it waits now
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=5) == -signal.SIGTERM
