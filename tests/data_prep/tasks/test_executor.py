"""Passes as datatrove's tasks: what a kill costs, and that nothing of it is seen in the corpus."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from task_runs import Build, completed, finish, start, start_build, wait

from pdapt.core.errors import UserError
from pdapt.core.exit_codes import ExitCode
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.tokens.build import Options, build_tokens

FILES, DOCUMENTS = 6, 100
IN_TASKS = ("--duplicates", "near", "--tasks", str(FILES), "--workers", "2")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Files that each take a good part of a second to clean, with near-duplicates across them."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(FILES):
        words = (f"Patient{n} vu hyper-\ntension <b>à</b> 12 mmHg.\n" * 40 for n in range(number, number + DOCUMENTS))
        text = "".join(json.dumps({"text": f"{text} Suite {'bis ' * number}"}) + "\n" for text in words)
        (folder / f"{number}.jsonl").write_text(text)
    return folder


def wait_for_tasks(folder: Path, least: int) -> None:
    wait(lambda: len(completed(folder)) >= least)


def alive_after(process: Build, workers: list[psutil.Process]) -> tuple[str, list[psutil.Process]]:
    """Messages of a process that ends, and its workers that live on."""
    _, said = process.communicate(timeout=60)
    return said, psutil.wait_procs(workers, timeout=10)[1]


@pytest.mark.slow
def test_a_kill_costs_the_tasks_at_work_and_no_other(notes: Path, tmp_path: Path) -> None:
    """First a worker's, then the command's: no finished task is done again, and the bytes are those of one piece."""
    parts = tmp_path / "killed" / "parts"
    before: dict[Path, int] = {}
    for victim in ("a worker", "the command"):
        least = len(before) + 2
        process = start_build(notes, parts, *IN_TASKS)
        wait_for_tasks(parts.parent, least)
        assert before.items() <= completed(parts.parent).items()
        workers = psutil.Process(process.pid).children(recursive=True)
        if victim == "a worker":
            next(worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())).kill()
            said, alive = alive_after(process, workers)
            assert process.returncode == ExitCode.FAILED
            assert "a worker was killed" in said
            assert "Run the same command again" in said
        else:
            os.kill(process.pid, signal.SIGKILL)
            said, alive = alive_after(process, workers)
        assert not alive, alive
        assert not parts.exists()
        before = completed(parts.parent)
        assert least <= len(before) < 3 * FILES
    again = start_build(notes, parts, *IN_TASKS)
    wait(lambda: len(completed(parts.parent)) > len(before) or again.poll() is not None)
    assert before.items() <= completed(parts.parent).items()
    said = finish(again)
    assert f"tasks of {FILES}, 2 workers" in said
    assert "corpus: choose: 1 task of 1" in said
    whole = build_corpus(discover([f"notes={notes}"]), tmp_path / "whole", duplicates="near")
    assert Manifest.read(parts).outputs == whole.outputs
    assert Manifest.read(parts).counts == whole.counts
    assert 0 < whole.counts["notes"]["kept"] < FILES * DOCUMENTS
    assert not list(parts.glob(".*"))


@pytest.mark.slow
def test_a_kill_costs_the_shards_at_work_and_a_mended_corpus_is_scanned_again(
    notes: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """A worker that tokenizes is killed, and then a file is written anew: scans are older than that, shards are not."""
    paths = [f"s{number}={notes / f'{number}.jsonl'}" for number in range(FILES)]
    out = tmp_path / "killed" / "tokens"
    command = ["tokens", "build", *paths, "--tokenizer", str(tokenizer_folder), "--out", str(out), "--verify", "all"]

    def tokenized() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in out.parent.glob(".tokens.partial/.shards/*[0-9]/verified")}

    def build(least: int) -> tuple[Build, list[psutil.Process]]:
        process = start(*command, *IN_TASKS[2:])
        wait(lambda: len(tokenized()) >= least or process.poll() is not None)
        return process, psutil.Process(process.pid).children(recursive=True)

    process, workers = build(1)
    next(worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())).kill()
    said, alive = alive_after(process, workers)
    assert process.returncode == ExitCode.FAILED, said
    assert "tokens: a worker was killed" in said
    assert not alive
    before = tokenized()
    assert 1 <= len(before) < FILES
    os.utime(notes / "0.jsonl")
    process, _ = build(len(before) + 1)
    assert before.items() <= tokenized().items()
    said = finish(process)
    assert f"tokens: scan: {FILES} tasks of {FILES}" in said
    whole = build_tokens(paths, tokenizer_folder, tmp_path / "whole", Options(verify="all"))
    assert (Manifest.read(out).outputs, Manifest.read(out).counts) == (whole.outputs, whole.counts)
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_named_as_in_one_piece(notes: Path, tmp_path: Path) -> None:
    """Two files are damaged where no beginning shows it; the error names both, and mended ones are read."""
    options = ("--tasks", "4", "--workers", "2")
    for number in (2, 5):
        path = notes / f"{number}.jsonl"
        path.write_bytes(path.read_bytes() + b"\xff\n")
    with pytest.raises(UserError) as of_one_piece:
        build_corpus(discover([f"notes={notes}"]), tmp_path / "one")
    process = start_build(notes, tmp_path / "parts", *options)
    _, said = process.communicate(timeout=120)
    assert process.returncode == ExitCode.USER_ERROR, said
    assert said.strip().endswith(str(of_one_piece.value).strip())
    assert "2 files cannot be read" in said
    for number in (2, 5):
        path = notes / f"{number}.jsonl"
        path.write_bytes(path.read_bytes().removesuffix(b"\xff\n"))
    finish(start_build(notes, tmp_path / "parts", *options))
    assert Manifest.read(tmp_path / "parts").counts["notes"]["kept"] == DOCUMENTS * FILES
