"""One process at a time in a folder, and no trace of it afterwards."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import run_stage
from pdapt.core.system.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from pdapt.core.manifest import run_stage

def body(work):
    (work / "a.txt").write_text("A")
    print("working", flush=True)
    time.sleep(600)

run_stage("demo", {}, {}, Path(sys.argv[1]), body)
"""


def hold(out: Path) -> "subprocess.Popen[str]":
    """A process that is in the middle of a stage."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


def write(work: Path) -> dict[str, Any]:
    (work / "a.txt").write_text("B")
    return {}


def test_a_second_command_is_told_who_works_there_and_a_dead_one_blocks_nobody(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with hold(out) as process:
        for stage, config in (("demo", {}), ("other", {"k": 1})):
            with pytest.raises(
                UserError, match=rf"another process is writing \({stage}\) to .*: process {process.pid} on "
            ):
                run_stage(stage, {}, config, out, write)
        assert (out.parent / ".out.partial" / "a.txt").read_text() == "A", "its work was touched"
        process.send_signal(signal.SIGKILL)
        process.wait()
    run_stage("demo", {}, {}, out, write)
    assert (out / "a.txt").read_text() == "B"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_nothing_is_left_of_work_that_was_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        run_stage("demo", {"text": tmp_path / "gone"}, {}, tmp_path / "a" / "b" / "out", write)
    assert not list(tmp_path.iterdir())


def test_a_lock_is_free_when_its_block_ends_however_it_ends(tmp_path: Path) -> None:
    for error in (None, UserError("refused"), KeyboardInterrupt()):
        try:
            with locked(tmp_path / "out", "working in"):
                assert (tmp_path / ".out.lock").is_file()
                if error:
                    raise error
        except (UserError, KeyboardInterrupt):
            pass
        assert not list(tmp_path.iterdir())


def test_a_file_that_a_stranger_put_in_the_locks_place_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").write_bytes(b"\xff" * 10_000)
    run_stage("demo", {}, {}, tmp_path / "out", write)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_finished_result_is_found_where_nothing_may_be_written(tmp_path: Path) -> None:
    """As on a disk that is mounted for reading: no lock is needed to find that there is nothing to do."""
    first = run_stage("demo", {}, {}, tmp_path / "out", write)
    with locked(tmp_path / "out", "working in"):  # no second one could be taken
        assert run_stage("demo", {}, {}, tmp_path / "out", write) == first


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_an_empty_folder_is_followed(tmp_path: Path, there: bool) -> None:
    """The result is made where it leads, and the link stays one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if there:
        (disk / "results").mkdir()
    (tmp_path / "out").symlink_to(disk / "results")
    first = run_stage("demo", {}, {}, tmp_path / "out", write)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "out").readlink() == disk / "results"
    assert (disk / "results" / "a.txt").read_text() == "B"
    assert [path.name for path in disk.iterdir()] == ["results"]
    assert run_stage("demo", {}, {}, tmp_path / "out", write) == first


def test_a_mount_point_is_refused_before_the_work(small_disk: Any, tmp_path: Path) -> None:
    small = small_disk("1m")
    with pytest.raises(UserError, match="is a mount point"):
        run_stage("demo", {}, {}, small, lambda _: pytest.fail("worked"))
    assert [path.name for path in tmp_path.iterdir()] == [small.name]
