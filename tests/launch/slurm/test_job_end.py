"""How a job ends on a real Slurm, by how its ranks do: done, put back, held, given up."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from task_runs import wait

from pdapt.core.slurm import SlurmOptions
from pdapt.launch.sbatch import BatchJob, render_sbatch
from pdapt.launch.slurm_site import SlurmSite

pytestmark = pytest.mark.slow
SITE = SlurmSite(title="two nodes", longest="20:00:00", gpus_per_node=0)
RANKS = """\
import json, os, pathlib, signal, sys, time
word, out, rank = sys.argv[1], pathlib.Path(sys.argv[2]), int(os.environ["RANK"])
again = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
asked = []
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Slurm kills only after KillWait where it is ignored
signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
(out / f"started-{rank}").touch()
if word == "asked" and not again:
    while not asked:
        time.sleep(0.05)
    time.sleep(4 * rank)  # the other node still saves
    (out / f"saved-{rank}").touch()
    sys.exit(0 if rank else 75)
if word == "mistake" and rank or word == "lost" and rank == 0:
    sys.exit(2)
if word == "guard":
    reason = 'loss nan, "quoted"; $(touch injected)'
    (out / "state.json").write_text(json.dumps({"reason": reason, "step": 3}, indent=2))
    sys.exit(76)
if word == "rewind" and not (out / "rewound").exists():
    time.sleep(1)
    (out / "rewound").touch()
    sys.exit(75)
if word == "crash" and rank:
    os.kill(os.getpid(), signal.SIGKILL)
if word in ("mistake", "lost", "crash"):
    time.sleep(60)
"""


class Cluster:
    """Commands for the Slurm of the tests."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment, self.folder = environment, folder

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, script: str) -> str:
        (self.folder / "job.sh").write_text(script)
        return self.run("sbatch", "--parsable", "job.sh")

    def job(self, number: str) -> dict[str, str]:
        shown = self.run("scontrol", "show", "job", "--oneliner", number)
        words = [word.partition("=") for word in shown.split(" ")]
        return {name: value for name, equals, value in words if equals}

    def wait(self, number: str, *states: str, restarts: int = 0) -> dict[str, str]:
        deadline = time.monotonic() + 120
        while (job := self.job(number))["JobState"] not in states or int(job["Restarts"]) < restarts:
            assert time.monotonic() < deadline, (job, self.log())
            time.sleep(0.2)
        return job

    def start_again(self, number: str, restarts: int, *changes: str) -> dict[str, str]:
        """Wait for a job that was put back, and start it without the two minutes that Slurm lets it wait."""
        job = self.wait(number, "PENDING", restarts=restarts)
        time.sleep(1)  # it may still be completing, which sets its time once more
        self.run("scontrol", "update", f"JobId={number}", "StartTime=now", *changes)
        return job

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("*.out"))

    def history(self) -> list[tuple[str, str]]:
        """Code and words of each start."""
        rows = [line.split("\t") for line in (self.folder / "run/slurm/history.tsv").read_text().splitlines()]
        return [(row[2], row[4]) for row in rows]


@pytest.fixture
def cluster(slurm: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr("pdapt.launch.sbatch.PATIENCE", 1)
    (tmp_path / "ranks.py").write_text(RANKS)
    (tmp_path / "run").mkdir()
    yield Cluster(slurm, tmp_path)
    subprocess.run(["scancel", "--me"], env=slurm, check=True)


def job(cluster: Cluster, word: str, nodes: int = 2, *, exclude_failed: bool = False) -> str:
    """The script of a job whose ranks end as the word says."""
    out = cluster.folder / "run"
    return render_sbatch(
        BatchJob(
            name="ends",
            nodes=nodes,
            ranks_per_node=1,
            gpu=False,
            options=SlurmOptions(time="10", cpus_per_rank=1),
            lead=60,
            command=[sys.executable, str(cluster.folder / "ranks.py"), word, str(out)],
            site=replace(SITE, logs=str(cluster.folder)),
            out=str(out),
            exclude_failed=exclude_failed,
        )
    )


def wait_for(path: Path) -> None:
    wait(path.exists, 60)


def test_asked_to_stop_every_node_finishes_its_save_and_the_job_goes_on_by_itself(cluster: Cluster) -> None:
    number = cluster.submit(job(cluster, "asked"))
    for rank in (0, 1):
        wait_for(cluster.folder / f"run/started-{rank}")
    cluster.run("scancel", "--batch", "--signal=USR1", number)
    cluster.start_again(number, 1)
    assert (cluster.folder / "run/saved-0").exists()
    assert (cluster.folder / "run/saved-1").exists(), "the other node was ended while it saved"
    assert cluster.wait(number, "COMPLETED", restarts=1)["ExitCode"] == "0:0"
    assert cluster.history() == [("75", "saved, goes on"), ("0", "done")]


@pytest.mark.parametrize("word", ["mistake", "lost"])
def test_a_mistake_of_the_users_on_any_rank_ends_the_job_and_what_depends_on_it(cluster: Cluster, word: str) -> None:
    number = cluster.submit(job(cluster, word))
    later = cluster.run(
        "sbatch", "--parsable", f"--dependency=afterok:{number}", "--kill-on-invalid-dep=yes", "--wrap=true"
    )
    ended = cluster.wait(number, "FAILED")
    assert (ended["ExitCode"], ended["Restarts"]) == ("2:0", "0")
    assert cluster.wait(later, "CANCELLED")["JobState"] == "CANCELLED"
    assert [code for code, _ in cluster.history()] == ["2"]


def test_what_a_guard_ended_is_held_with_the_reason(cluster: Cluster) -> None:
    number = cluster.submit(job(cluster, "guard"))
    held = cluster.wait(number, "PENDING", restarts=1)
    assert held["Reason"] == "job_requeued_in_held_state"
    assert "Comment=pdapt: loss nan," in cluster.run("scontrol", "show", "job", number)
    assert not (cluster.folder / "injected").exists()
    (code, words), *more = cluster.history()
    assert (code, more) == ("76", [])
    assert words.startswith("held: loss nan, ")


def test_where_the_guard_goes_back_the_ranks_start_again_in_the_same_job(cluster: Cluster) -> None:
    number = cluster.submit(job(cluster, "rewind"))
    assert cluster.wait(number, "COMPLETED")["Restarts"] == "0"
    assert cluster.history() == [("75", "saved, goes on"), ("0", "done")]


def test_a_crash_is_started_again_until_three_have_made_no_checkpoint(cluster: Cluster) -> None:
    number = cluster.submit(job(cluster, "crash"))
    for restarts in (1, 2):
        cluster.start_again(number, restarts)
    ended = cluster.wait(number, "FAILED", restarts=2)
    assert (ended["ExitCode"], ended["Restarts"]) == ("1:0", "2")
    codes, words = zip(*cluster.history(), strict=True)
    assert codes == ("1",) * 4
    named = [f"crashed, start {n} without a new checkpoint: rank 1 on n2 ended first, with code 137" for n in (1, 2, 3)]
    assert list(words) == [*named, "given up: 3 starts have made no checkpoint"]


def test_a_new_checkpoint_starts_the_count_anew(cluster: Cluster) -> None:
    tracker = cluster.folder / "run/checkpoints/latest_checkpointed_iteration.txt"
    tracker.parent.mkdir()
    (cluster.folder / "run/slurm").mkdir()
    (cluster.folder / "run/slurm/starts.txt").write_text("20\n1.0 n1\n1.1 n1\n")
    tracker.write_text("40")
    number = cluster.submit(job(cluster, "crash"))
    cluster.wait(number, "PENDING", restarts=1)
    assert cluster.history()[0][1].startswith("crashed, start 1 without")


def test_a_node_that_failed_is_left_out_where_that_is_chosen(cluster: Cluster) -> None:
    script = job(cluster, "crash", exclude_failed=True).replace('= "crash" and rank', '= "crash"')
    number = cluster.submit(script)
    cluster.wait(number, "PENDING", restarts=1)
    deadline = time.monotonic() + 20
    while cluster.job(number)["ExcNodeList"] != "n2":
        assert time.monotonic() < deadline, cluster.log()
        time.sleep(0.2)


def test_a_job_that_is_cancelled_stays_cancelled(cluster: Cluster) -> None:
    number = cluster.submit(job(cluster, "asked"))
    for rank in (0, 1):
        wait_for(cluster.folder / f"run/started-{rank}")
    cluster.run("scancel", number)
    time.sleep(8)
    assert cluster.wait(number, "CANCELLED")["Restarts"] == "0"
