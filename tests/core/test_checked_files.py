"""Files whose hashes are compared, in a sentence."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.integrity import Checked, stage_files
from pdapt.core.manifest import run_stage


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


def test_the_files_of_a_stage_are_those_within_the_place_that_is_named(tmp_path: Path) -> None:
    """The place is the stage's folder, or a folder, a file or a pattern in it; files that were added count, too."""

    def body(work: Path) -> dict[str, Any]:
        for name in ("a.txt", "part/b.txt", "part/c.json", "party/d.txt"):
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_text(name)
        return {}

    out = tmp_path / "out"
    run_stage("demo", {}, {}, out, body)
    (out / "part" / "added.json").write_text("{}")
    (out / "added.txt").write_text("added")
    (out / "part" / "c.json").unlink()
    inside = ["part/added.json", "part/b.txt", "part/c.json"]
    for place, names in (
        (out, ["a.txt", "added.txt", *inside, "party/d.txt"]),
        (out / "part", inside),
        (out / "part" / "*.json", ["part/added.json", "part/c.json"]),
        (out / "part" / "b.txt", ["part/b.txt"]),
    ):
        assert stage_files([place]) == {out: names}, place
    for place in (tmp_path, out / "part" / "none", out / "par"):
        assert stage_files([place]) == {}, place
