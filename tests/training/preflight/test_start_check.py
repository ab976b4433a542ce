"""A start that is checked by real ranks of two nodes, as srun starts them; and the judgement on what they tell."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pdapt.core.errors import UserError
from pdapt.training.preflight import all_reduce, start_check
from pdapt.training.preflight.environment import ENVIRONMENT
from pdapt.training.preflight.judge_nodes import Judgement
from pdapt.training.preflight.start_check import (
    CLOCKS,
    PREFLIGHT,
    Reduced,
    judge_clocks,
    judge_reduced,
    read_problems,
    refuse,
)
from pdapt.training.run.folder import checkpoints
from pdapt.training.run.journal import JOURNAL_FILE

SMALL = ["model.precision=fp32", "steps=1", "validation.every=100", "parallel.nodes=2", "parallel.ranks_per_node=1"]


def start(recipe_file: Path, tokens: Path, out: Path, paths: list[str]) -> list["subprocess.CompletedProcess[str]"]:
    """Start a run on two nodes of one rank, each with its PYTHONPATH; wait for both."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), *SMALL]
    command += ["--tokens", str(tokens), "--out", str(out)]
    shared = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": f"start.{port}"}
    processes = []
    for rank, path in enumerate(paths):
        own = {"RANK": str(rank), "SLURMD_NODENAME": f"n{rank + 1}", "PYTHONPATH": path}
        environment = os.environ | shared | own
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    done = []
    for process in processes:
        try:
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()
        done.append(subprocess.CompletedProcess(command, process.returncode, output, errors))
    return done


@pytest.mark.slow
def test_a_node_with_other_packages_ends_all_ranks_before_the_first_step(
    recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    package = tmp_path / "other" / "node_tool-1.5.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: node-tool\nVersion: 1.5\n")
    out, other = tmp_path / "run", str(package.parent)

    for rank in start(recipe_file, tokens, out, ["", other]):
        assert rank.returncode == 2, rank.stderr
        assert "packages: node-tool absent on n1, 1.5 on n2; expected: the same" in rank.stderr
    assert len(read_problems(out)) == 1
    nodes = json.loads((out / PREFLIGHT).read_text())["nodes"]
    assert sorted(node["node"] for node in nodes) == ["n1", "n2"]
    assert checkpoints(out) == []
    assert not (out / JOURNAL_FILE).exists()
    assert not (out / ENVIRONMENT).exists()


def hash_store() -> Any:
    """A store of this process alone."""
    c10d: Any = torch.distributed  # its stubs do not name the stores
    return c10d.HashStore()


def test_rank_0_keeps_its_store_until_the_others_know_why_a_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {"RANK": "1", "WORLD_SIZE": "2"})
    store = hash_store()
    task: Any = SimpleNamespace(out=tmp_path)
    judge = start_check._Judge(task, store, begin=0.0)
    with ThreadPoolExecutor(1) as pool:
        rank_0 = pool.submit(judge._tell, "facts", Judgement(["disk: full"]))
        store.wait(["verdict facts"])
        assert not wait([rank_0], timeout=0.2).done, "the store would be gone before rank 1 has read it"
        with pytest.raises(UserError, match="disk: full"):
            start_check._verdict(store, "facts", patience=5)
        with pytest.raises(UserError, match="disk: full"):
            rank_0.result(timeout=5)


def test_a_rank_that_never_reads_why_a_start_is_refused_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {"RANK": "0", "WORLD_SIZE": "2"})
    monkeypatch.setattr(start_check, "READING", 0.05)
    task: Any = SimpleNamespace(out=tmp_path)
    judge = start_check._Judge(task, hash_store(), begin=time.monotonic() - 30)
    with pytest.raises(UserError, match="disk: full"):
        judge._tell("facts", Judgement(["disk: full"]))
    assert 30 <= json.loads((tmp_path / PREFLIGHT).read_text())["seconds"] < 60
    judge._tell("all", Judgement([]))  # nobody is waited for where nothing is refused


def reduced(rank: int, clock: float = 100.0, seconds: float = 0.01, error: str = "") -> Reduced:
    return Reduced(rank, f"n{rank + 1}", clock, seconds, error)


def test_the_slowest_rank_of_an_all_reduce_below_the_bound_is_named() -> None:
    size = 4
    bound = all_reduce.GLOO
    most = 2 * (size - 1) / size * bound.size / bound.least
    ranks = [reduced(rank) for rank in range(size - 1)]
    assert judge_reduced([*ranks, reduced(3, seconds=0.99 * most)], bound, size) == []
    (problem,) = judge_reduced([*ranks, reduced(3, seconds=2 * most)], bound, size)
    assert "2.5 MB/s, rank 3 on n4; expected: at least 5 MB/s" in problem


def test_an_all_reduce_that_fails_is_a_problem_and_alone_no_speed_is_asked_for() -> None:
    (problem,) = judge_reduced([reduced(0), reduced(1, error="timed out")], all_reduce.NCCL, 2)
    assert problem == "all-reduce (nccl): timed out, rank 1 on n2"
    assert judge_reduced([reduced(0, seconds=100.0)], all_reduce.GLOO, 1) == []


def test_a_clock_that_is_off_is_named_and_a_late_answer_is_none() -> None:
    ranks = [reduced(0), reduced(1, clock=100.0 + CLOCKS + 21), reduced(2, clock=94.0), reduced(3, clock=119.0)]
    problems = judge_clocks(ranks, released=100.0, received=120.0)
    assert [problem.partition(",")[0] for problem in problems] == ["clock: 6.0 s off on n2", "clock: 6.0 s off on n3"]


def test_problems_are_one_error_that_names_them_all(tmp_path: Path) -> None:
    assert read_problems(tmp_path) == []
    refuse([], tmp_path)
    with pytest.raises(UserError, match=r"cannot work: disk: full\n  and: clock: off\n(.|\n)*nothing has begun"):
        refuse(["disk: full", "clock: off"], tmp_path)
