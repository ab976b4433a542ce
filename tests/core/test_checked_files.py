"""Files whose hashes are compared, in a sentence."""

from hashlib import sha256
from pathlib import Path

import pytest

from pdapt.core.integrity import Checked


def checked(folder: Path, *sizes: int) -> Checked:
    wanted = {}
    for number, size in enumerate(sizes):
        path = folder / str(number)
        path.write_bytes(bytes(size))
        wanted[path] = sha256(bytes(size)).hexdigest()
    files = Checked(wanted)
    files.finish()
    files.end()
    return files


def test_one_file_has_and_more_have(tmp_path: Path) -> None:
    assert str(checked(tmp_path, 1_540_000)) == "1 file, 1.5 MB, has"
    assert str(checked(tmp_path, 1_000_000, 540_000)) == "2 files, 1.5 MB, have"


@pytest.mark.parametrize(("total", "said"), [(999_940_000, "999.9 MB"), (10**9, "1.00 GB"), (1_214_000_000, "1.21 GB")])
def test_sizes_from_a_gigabyte_on_are_said_in_gigabytes(tmp_path: Path, total: int, said: str) -> None:
    files = checked(tmp_path, 0)
    files.total = total
    assert str(files) == f"1 file, {said}, has"
