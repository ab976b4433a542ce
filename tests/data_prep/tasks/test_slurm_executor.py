"""Slurm's executor: what it asks of Slurm, and what it makes of the answers."""

import os
import re
from itertools import pairwise
from pathlib import Path

import pytest

from pdapt.core.errors import Failed, UserError
from pdapt.core.system import slurm_queue
from pdapt.core.system.slurm_queue import JobWait, QueuedJob
from pdapt.data_prep.tasks import slurm_executor
from pdapt.data_prep.tasks.slurm_executor import SlurmExecutor
from pdapt.data_prep.tasks.task_options import slurm_options
from pdapt.data_prep.tasks.task_step import TaskStep


def executor(tasks: int, workers: int | None, logs: Path, *options: str) -> SlurmExecutor:
    step = TaskStep("corpus", "look", print, items=dict.fromkeys(range(tasks)), tasks=tasks)
    return SlurmExecutor(step, workers, logs, slurm_options(options))


def test_the_batch_script_holds_what_is_given_and_no_more(tmp_path: Path) -> None:
    few = executor(8, 3, tmp_path / "logs", "account=abc", "time=90")
    script = few.get_launch_file_contents(few.get_sbatch_args(8), "true")
    for line in ("--account=abc", "--time=90", "--array=0-7%3", f"--job-name={few.job_name}", "--requeue"):
        assert f"#SBATCH {line}\n" in script
    assert re.fullmatch(r"pdapt-look-[0-9a-f]{12}", few.job_name)
    assert not {"partition", "qos", "constraint"} & few.get_sbatch_args(8).keys()
    many = executor(2500, None, tmp_path / "logs", "qos=long")
    assert many.tasks_per_job == 3
    assert many.get_sbatch_args(8)["qos"] == "long"


def test_a_folder_that_a_batch_script_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would need quotes"):
        executor(1, None, tmp_path / "my logs")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's programs, which note how they are called; jobs are in the file `jobs` until they are cancelled."""
    scripts = {
        "squeue": "test -e $0.fails && exit 1; test -e $0.then && . $0.then; "
        'cat "$(dirname $0)/jobs" 2>/dev/null; true',
        "scancel": 'rm -f "$(dirname $0)/jobs"',
        "sbatch": 'done="$(dirname $0)/../logs/completions"; mkdir -p "$done"; touch "$done/00000"; echo 8',
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >> "$(dirname $0)/called"\n{script}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    monkeypatch.setattr(slurm_executor, "PATIENCE", 0.5)
    monkeypatch.setattr(slurm_executor, "SHORTEST_POLL", 0.01)
    monkeypatch.setattr(slurm_executor, "LONGEST_POLL", 0.02)
    return folder


def test_jobs_of_a_killed_command_are_found_by_their_name_and_ended_first(programs: Path, tmp_path: Path) -> None:
    """Also where the command was killed before it noted the number of a job."""
    job = executor(1, None, tmp_path / "logs")
    (programs / "jobs").write_text(f"{job.job_name}|7|RUNNING|None|(null)\n")
    job.submit_and_wait()
    called = (programs / "called").read_text().splitlines()
    assert called.index(f"scancel --name={job.job_name} --user={os.getuid()}") < called.index(
        next(call for call in called if call.startswith("sbatch"))
    )
    assert job.job_name != executor(1, None, tmp_path / "other-logs").job_name


def test_nothing_is_submitted_where_slurm_does_not_say_that_earlier_jobs_have_ended(
    programs: Path, tmp_path: Path
) -> None:
    (programs / "squeue.fails").touch()
    with pytest.raises(Failed, match="run the same command again once it answers"):
        executor(1, None, tmp_path / "logs").submit_and_wait()
    assert "sbatch" not in (programs / "called").read_text()


def test_a_job_that_does_not_get_on_is_named_with_the_command_that_ends_it(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is held, and let go at squeue's fifth answer; what runs is no warning."""
    job = executor(1, None, tmp_path / "logs")
    line = f"{job.job_name}|8_[0]|PENDING|JobHeldUser|(null)"
    (programs / "sbatch").write_text(f'#!/bin/sh\necho "{line}" >"$(dirname $0)/jobs"; echo 8\n')
    done = tmp_path / "logs" / "completions"
    (programs / "squeue.then").write_text(
        f'echo >>$0.looks; test $(wc -l <$0.looks) -ge 5 && mkdir -p "{done}" && touch "{done}/00000"\n'
    )
    monkeypatch.setattr(slurm_queue, "LONG_WAIT", 1e-6)
    job.submit_and_wait()
    said = [line for line in capsys.readouterr().err.splitlines() if "waiting since" in line]
    assert 2 <= len(said) <= 4
    form = r".* warning: corpus: look, 1 task to do: waiting since \d{4}-\d\d-\d\d \d\d:\d\d for job 8, "
    form += r"which is PENDING \(JobHeldUser\); `squeue -j 8` shows it, `scancel 8` ends it"
    assert all(re.fullmatch(form, line) for line in said), said


def test_a_wait_is_said_after_ten_minutes_and_twice_as_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, told = 0.0, []
    monkeypatch.setattr(slurm_queue.time, "monotonic", lambda: now)
    wait = JobWait("tokens: scan", begin=now)
    for minutes in range(0, 90, 5):
        now = 60.0 * minutes
        wait.look(QueuedJob("8", "RUNNING", "None", ""))
        told += [minutes] * ("job 8, which is RUNNING;" in capsys.readouterr().err)
    assert told == [10, 20, 40, 80]


def test_a_machine_without_slurm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    with pytest.raises(UserError, match="squeue is not on this machine"):
        executor(1, None, tmp_path / "logs").submit_and_wait()


class Clock:
    """A clock that only sleep moves on."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        assert len(self.slept) < 1000


def test_slurm_is_asked_ever_more_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of seconds is not slowed down, and one of hours asks every five seconds."""
    clock, job = Clock(), executor(1, None, tmp_path / "logs")
    monkeypatch.setattr(slurm_executor, "time", clock)
    monkeypatch.setattr(job, "get_incomplete_ranks", lambda: [0] * (clock.now < 1600))
    monkeypatch.setattr(job, "_is_queued", lambda _: True)
    job._wait()
    assert clock.slept[0] < 0.5
    assert all(now <= after <= 1.5 * now for now, after in pairwise(clock.slept))
    assert max(clock.slept) == clock.slept[-1] == 5
    assert 15 < sum(seconds for seconds in clock.slept if seconds < 5) < 60


@pytest.mark.parametrize(("appears", "fails"), [(10.0, False), (30.0, True)])
def test_tasks_that_ended_jobs_left_fail_the_step_once_the_disk_had_time_to_show_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appears: float, fails: bool
) -> None:
    """The time counts anew after each look at which Slurm lists a job, or does not answer."""
    clock, job = Clock(), executor(2, None, tmp_path / "logs")
    job.job_id = "8"
    monkeypatch.setattr(slurm_executor, "time", clock)
    monkeypatch.setattr(job, "get_incomplete_ranks", lambda: [0, 1] if clock.now < 1040 + appears else [])
    monkeypatch.setattr(job, "_is_queued", lambda _: None if 1020 < clock.now <= 1040 else clock.now < 1010)
    if fails:
        with pytest.raises(Failed, match=r"job 8 ended with 2 tasks left: .*run the same command again"):
            job._wait()
    else:
        job._wait()
    assert 1050 <= clock.now < 1065
