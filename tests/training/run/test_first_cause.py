"""The rank that failed first is named, with its reason and its place; not the others' lost connection."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import Failed, Halted
from pdapt.recipes.load import load
from pdapt.training.run.failures import cause
from pdapt.training.run.failures import out_of_memory as memory
from pdapt.training.run.failures.cause import first_cause
from pdapt.training.run.failures.out_of_memory import Memory, advise, explain_kill, read_memory
from pdapt.training.run.failures.rank_file import FOLDER, Phase, RankFile, Record, read_records
from pdapt.training.train import train

GLOO = "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:4"
PLENTY = Memory(cgroup_kills=0, machine_kills=0, available=20 * 10**9, total=24 * 10**9)
GONE = 2**22 + 1
"""A number that no process has."""


def leave(folder: Path, rank: int, error: str = "", *, at: float = 100.0, **values: Any) -> None:
    """The file of a rank of this machine, whose process lives unless `pid` is another."""
    known: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "start": ".0", "step": 4, "since": 99.0}
    known |= {"phase": Phase.EXCHANGE, "memory": PLENTY, "trace": f"trace of {rank}", **values}
    folder.mkdir(exist_ok=True)
    record = Record(rank=rank, time=at, error=error, **known)
    (folder / f"rank-{rank}.json").write_text(json.dumps(asdict(record)))


@pytest.mark.parametrize(
    ("errors", "codes", "told"),
    [
        ({0: GLOO, 1: "ValueError: bad shard"}, {0: 1}, "rank 1 failed (step 4, gradient exchange): ValueError: bad"),
        ({0: "ValueError: bad shard", 1: GLOO}, {1: 1}, "rank 0 failed"),
        ({0: GLOO, 1: ""}, {1: -11}, "rank 1 was ended by SIGSEGV (step 4, gradient exchange when last seen)"),
        ({0: "OSError: odd", 1: ""}, {0: 1, 1: -9}, "rank 1 was ended by SIGKILL"),
        ({0: GLOO, 1: ""}, {1: 3}, "rank 1 ended with exit code 3 and left no error; the end of the log:\nlast words"),
        ({0: "", 1: "ValueError: bad shard"}, {0: -6}, "rank 1 failed"),
        ({0: GLOO, 1: GLOO}, {0: 1}, "no rank has an error of its own; rank 1 failed"),
    ],
    ids=["other says lost", "first", "fault", "killed", "exit", "NCCL's abort", "nobody's own"],
)
def test_the_first_error_is_not_that_of_a_rank_that_lost_another(
    errors: dict[int, str], codes: dict[int, int], told: str, tmp_path: Path
) -> None:
    for rank, error in errors.items():
        leave(tmp_path / "ranks", rank, error, at=100.0 - rank)
    assert first_cause(tmp_path / "ranks", codes, log_end="last words", memory=PLENTY).startswith(told)


def test_of_several_nodes_the_earliest_error_is_shown_with_its_node(tmp_path: Path) -> None:
    leave(tmp_path / "ranks", 0, "ValueError: second", at=50.0, host="n1")
    leave(tmp_path / "ranks", 9, "OSError: first", at=49.0, host="n2")
    leave(tmp_path / "ranks", 3, GLOO, at=48.0, host="n1")
    assert first_cause(tmp_path / "ranks", {}).startswith(
        "rank 9 on n2 failed (step 4, gradient exchange): OSError: fi"
    )


def test_files_of_an_earlier_start_and_damaged_ones_do_not_count(tmp_path: Path) -> None:
    leave(tmp_path / "ranks", 0, "ValueError: of yesterday", start="before.0")
    leave(tmp_path / "ranks", 1, "ValueError: of today", start="now.0")
    (tmp_path / "ranks" / "rank-2.json").write_text('{"rank": 2')
    assert "of today" in first_cause(tmp_path / "ranks", {}, start="now.0")
    assert [one.rank for one in read_records(tmp_path / "ranks")] == [0, 1]


def test_a_rank_that_nobody_saw_end_is_told_by_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a rank sees it that torchrun started: once, by whoever finds it first."""
    monkeypatch.setattr(cause, "this_start", lambda: ".0")
    leave(tmp_path / "ranks", 0, GLOO)
    leave(tmp_path / "ranks", 1, pid=GONE, phase=Phase.COMPUTE)
    cause.publish(tmp_path / "ranks", 0)
    cause.publish(tmp_path / "ranks", 0)
    said = capsys.readouterr().err
    assert said.count("rank 1 is gone without an error: killed (step 4, forward/backward when last seen)") == 1


def test_where_a_rank_only_stands_it_is_said_where(tmp_path: Path) -> None:
    """A collective's own limit may come before the watch's."""
    leave(tmp_path / "ranks", 0, GLOO)
    leave(tmp_path / "ranks", 1, phase=Phase.DATA)
    assert "rank 1 is at step 4, waiting for data, since " in first_cause(tmp_path / "ranks", {})


def kernel(root: Path, version: int, kills: int, machine: int) -> Path:
    """The kernel's files on memory, in a folder of its own."""
    group = root / ("sys/fs/cgroup/job" if version == 2 else "sys/fs/cgroup/memory/job")
    group.mkdir(parents=True, exist_ok=True)
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text("0::/job\n" if version == 2 else "9:pids:/\n4:memory:/job\n0::/\n")
    (group / ("memory.events" if version == 2 else "memory.oom_control")).write_text(f"oom 9\noom_kill {kills}\n")
    (root / "proc/vmstat").write_text(f"nr_free_pages 5\noom_kill {machine}\n")
    (root / "proc/meminfo").write_text("MemTotal:       1000 kB\nMemAvailable:    900 kB\nHugePages_Total: 0\n")
    return root


@pytest.mark.parametrize("version", [1, 2])
def test_the_kernels_own_count_says_how_sure_an_out_of_memory_kill_is(version: int, tmp_path: Path) -> None:
    before = read_memory(kernel(tmp_path, version, 3, 3))
    assert before == Memory(3, 3, 900 * 1024, 1000 * 1024)
    told = explain_kill(before, read_memory(kernel(tmp_path, version, 4, 4)))
    assert told.startswith(
        "out of memory: the kernel's count of out-of-memory kills in this job's control group rose fr"
    )
    assert "megatron.num-workers" in told
    assert explain_kill(before, read_memory(kernel(tmp_path, version, 3, 4))).startswith("most likely out of memory")
    assert "somebody, or the batch system, sent the signal" in explain_kill(before, before)
    scarce = Memory(None, None, available=10, total=1000)
    assert explain_kill(scarce, scarce).startswith("probably out of memory")


def test_this_machine_tells_of_its_memory() -> None:
    found = read_memory()
    assert 0 < found.available < found.total


def test_errors_of_memory_are_told_by_their_names() -> None:
    torch = pytest.importorskip("torch")
    assert "batch.micro_size" in advise(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert "batch.micro_size" in advise(RuntimeError("CUDA out of memory while NCCL started"))
    assert "batch.micro_size" in advise(torch.OutOfMemoryError())
    assert "machine's memory" in advise(MemoryError())
    assert advise(ValueError("out of memory of our own")) == ""


def test_the_error_goes_to_torchruns_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))

    def fail() -> None:
        with RankFile(tmp_path / "ranks", 1) as file:
            file.at(Phase.DATA, 4)
            raise ValueError("odd \udc80")

    with pytest.raises(ValueError, match="odd"):
        fail()
    (record,) = read_records(tmp_path / "ranks")
    assert (record.rank, record.place, record.error) == (1, "step 4, waiting for data", "ValueError: odd ?")
    assert "odd" in json.loads((tmp_path / "error.json").read_text())["message"]["message"]


# Real ranks. A fault is put into the data of rank 1, in its fourth step (two micro-batches a step).

FAULT = """
import os, signal, sys, time
def install():
    from pdapt.training.megatron import recorder
    original, calls = recorder.Recorder.next, []
    def next(self, samples):
        calls.append(0)
        if os.environ.get("RANK") == "1" and len(calls) == 7:
            time.sleep(1.5)  # the file of where it stands is written once a second
            {fault}
        return original(self, samples)
    recorder.Recorder.next = next
def forked():  # from a process that has imported what a rank needs
    if "pdapt.training.megatron.recorder" in sys.modules:
        install()
if "RANK" in os.environ:
    install()
else:
    os.register_at_fork(after_in_child=forked)
"""
TWO = ["parallel.ranks_per_node=2", "validation.every=100", "checkpoint.every=100"]


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have rank 1 run a statement in its fourth step."""

    def put(fault: str) -> None:
        (tmp_path / "fault").mkdir()
        (tmp_path / "fault" / "sitecustomize.py").write_text(FAULT.format(fault=fault))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fault"))

    return put


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise ValueError('row 17 is bad')", r"rank 1 failed \(step 4, waiting for data\): ValueError: row 17 is bad"),
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            r"rank 1 was ended by SIGSEGV \(step 4, waiting for data (.|\n)*training/megatron/batch",
        ),
    ],
    ids=["raise", "fault"],
)
def test_a_rank_that_fails_is_named(
    fault: str, told: str, faulty: Any, recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    faulty(fault)
    with pytest.raises(Failed, match=told) as failed:
        train(load(str(recipe_file), TWO), tokens, tmp_path / "run")
    assert "Connection closed" not in str(failed.value)
    assert failed.value.code == 1


@pytest.mark.slow
def test_a_rank_that_is_killed_for_memory_is_named(
    faulty: Any, recipe_file: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's count as it would be: a test cannot use up the machine's memory."""
    faulty("os.kill(os.getpid(), signal.SIGKILL)")
    now = memory.read_memory()
    monkeypatch.setattr(
        cause, "read_memory", lambda: Memory((now.cgroup_kills or 0) + 1, None, now.available, now.total)
    )
    if now.cgroup_kills is None:
        monkeypatch.setattr(
            cause, "read_memory", lambda: Memory(None, (now.machine_kills or 0) + 1, now.available, now.total)
        )
    # Which of the two torchrun notes depends on which rank it looks at first once both have ended.
    killed = r"rank 1 (was ended by SIGKILL|is gone without an error: killed) \(step 4, waiting for data"
    with pytest.raises(Failed, match=rf"{killed}(.|\n)*out of memory"):
        train(load(str(recipe_file), TWO), tokens, tmp_path / "run")


@pytest.mark.slow
def test_a_data_set_that_stands_still_is_named(faulty: Any, recipe_file: Path, tokens: Path, tmp_path: Path) -> None:
    faulty("time.sleep(600)")
    blamed = f"to blame: rank 1 on {socket.gethostname()}, waiting for data, step 4, since "
    with pytest.raises(Halted, match=rf"{blamed}.*all ranks: .*gradient exchange"):
        train(load(str(recipe_file), [*TWO, "guard.hang=0.05"]), tokens, tmp_path / "run")


@pytest.mark.slow
def test_under_torchrun_the_other_rank_says_who_was_killed(
    faulty: Any, recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    faulty("os.kill(os.getpid(), signal.SIGKILL)")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "pdapt.cli.main", "train", str(recipe_file), *TWO]
    command += ["--tokens", str(tokens), "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode != 0
    told = "rank 0 has lost another rank; the first cause: rank 1 is gone without an error: killed (step 4, waiting for"
    assert done.stderr.count(told) == 1, done.stderr[-3000:]
    assert (tmp_path / "run" / FOLDER / "first-cause.txt").read_text().startswith("rank 1 is gone")
    assert signal.SIGKILL.name in done.stderr  # torchrun's own report
