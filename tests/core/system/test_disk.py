"""A disk's end, whoever meets it."""

import errno
import mmap
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import run_stage
from pdapt.core.system.disk import begin_flush, check_space, disk_error, disk_errors, full_disk, read_ahead


def fill(work: Path) -> dict[str, Any]:
    with (work / "zeros").open("wb") as file:
        for _ in range(64):
            file.write(bytes(2**20))
    return {}


def in_thread(work: Path) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(fill, work).result()


def in_process(work: Path) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(fill, work).result()


def in_rust(work: Path) -> dict[str, Any]:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2**22)}, work / "model.safetensors")
    return {}


def in_arrow(work: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [os.urandom(1000) for _ in range(9000)]}), work / "a.parquet")
    return {}


def in_child(work: Path) -> dict[str, Any]:
    """Only the messages of another program are left."""
    code = "import sys; open(sys.argv[1], 'wb').write(bytes(2**23))"
    done = subprocess.run([sys.executable, "-c", code, work / "x"], capture_output=True, text=True, check=False)
    raise RuntimeError(f"the worker ended with code {done.returncode}: {done.stderr}")


@pytest.mark.parametrize("body", [fill, in_thread, in_process, in_rust, in_arrow, in_child])
def test_a_full_disk_is_named_whoever_writes(
    body: Callable[[Path], dict[str, Any]], small_disk: Callable[[str], Path]
) -> None:
    small = small_disk("1m")
    with pytest.raises(UserError, match=rf"the disk is full: .* of 0\.00 GB are free on {small}"):
        run_stage("demo", {}, {}, small / "out", body)
    assert not (small / "out").exists()
    assert not (small / ".out.lock").exists()


def test_a_file_that_is_too_large_is_the_users_error(tmp_path: Path) -> None:
    """`ulimit -f`, or a file system that takes no file of more than 4 GB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
        with pytest.raises(UserError, match="larger than the file system"):
            run_stage("demo", {}, {}, tmp_path / "out", fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_quota_is_told_from_a_full_disk_and_from_all_else(tmp_path: Path) -> None:
    assert "quota" in full_disk(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert full_disk(OSError(errno.EACCES, "Permission denied")) == ""
    assert full_disk(ValueError("28 values")) == ""
    assert "GB are free on /" in str(disk_error("the disk is full", tmp_path / "not" / "there"))
    assert "free on" not in str(disk_error("the disk is full", None)), "of which disk is not known"
    with pytest.raises(ValueError, match="ours"), disk_errors(tmp_path):
        raise ValueError("ours")


def test_the_space_of_a_disk_is_stated_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2_500_000_000_000, 0, 4_560_000))
    assert "the disk is full: 0.00 of 2,500.00 GB are free on /" in str(disk_error("the disk is full", tmp_path))
    check_space(tmp_path / "out", 4_560_000)
    check_space(tmp_path / "out", 5_000_000, left=440_000)
    for needed, left, words in (
        (4_560_001, 0, "4.6 MB are to be written, 4.6 MB are free on /"),
        (7_000_001, 2_440_000, "7.0 MB are to be written, 7.0 MB are free on /"),
    ):
        with pytest.raises(UserError, match=f"the disk has too little space: {words}"):
            check_space(tmp_path / "out", needed, left=left)


def test_a_flush_that_is_begun_early_changes_no_byte_and_cannot_fail(tmp_path: Path) -> None:
    content = os.urandom(2**20)
    with (tmp_path / "a").open("wb", buffering=0) as file:
        file.write(content[:5000])
        begin_flush(file.fileno(), 0, 5000)
        file.write(content[5000:])
        begin_flush(file.fileno())
    assert (tmp_path / "a").read_bytes() == content
    reading, writing = os.pipe()
    begin_flush(writing)  # what no disk stands behind
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (1, mmap.PAGESIZE), (mmap.PAGESIZE + 7, 3 * mmap.PAGESIZE + 5)])
def test_any_part_of_a_mapped_file_can_be_read_ahead(tmp_path: Path, begin: int, end: int) -> None:
    data = os.urandom(3 * mmap.PAGESIZE + 5)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        read_ahead(mapped, begin, end)
        assert mapped[:] == data
