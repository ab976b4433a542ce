"""The size of folders, files and functions, and an installation that holds what is listed."""

import ast
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from syntax import nodes

ROOT = Path(__file__).resolve().parent.parent
LARGEST_FOLDER, LONGEST_FILE, LONG_FUNCTION = 18, 400, 40
NAMED_BY_THEIR_VERBS = ("cli", "bench")
SAME_JOB = {"card.py", "memory.py", "run.py", "__init__.py"}
"""Names that files of several rooms share: model cards, predicted memory, the verb `run` of merge and of eval."""


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in listed if name and (ROOT / name).is_file()]


def code_of_rooms() -> list[Path]:
    return [path for path in tracked("*.py") if (ROOT / path.parts[0] / "__init__.py").is_file()]


def test_no_folder_holds_more_files_of_code_than_fit_the_eye() -> None:
    folders = Counter(str(path.parent) for path in tracked("*.py"))
    assert len(folders) > 20, "the folders were not found"
    assert not {folder: count for folder, count in folders.items() if count > LARGEST_FOLDER}


def test_no_file_is_too_long() -> None:
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in tracked("*.py")}
    assert not {path: length for path, length in lengths.items() if length > LONGEST_FILE}


def test_nine_functions_of_ten_are_short() -> None:
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for path in code_of_rooms()
        for node in nodes((ROOT / path).read_text(encoding="utf-8"))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(lengths) > 1000, "the functions were not found"
    assert sum(length <= LONG_FUNCTION for length in lengths) >= 0.9 * len(lengths)


def test_no_two_rooms_have_a_file_of_the_same_name_for_different_jobs() -> None:
    names = Counter(path.name for path in code_of_rooms() if path.parts[0] not in NAMED_BY_THEIR_VERBS)
    assert {name for name, count in names.items() if count > 1} <= SAME_JOB


@pytest.mark.slow
def test_what_is_installed_is_every_file_of_the_rooms(tmp_path: Path) -> None:
    """Built from a copy of what git knows, so that nothing left by an earlier build is counted."""
    checkout, wheels = tmp_path / "checkout", tmp_path / "wheels"
    for path in tracked():
        if path.parts[0] not in {"tests", "docs"}:
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(wheels), str(checkout)], check=True)
    (wheel,) = wheels.glob("*.whl")
    installed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("pdapt/")}
    rooms = [path for path in tracked() if (ROOT / path.parts[0] / "__init__.py").is_file()]
    assert installed == {f"pdapt/{path}" for path in rooms}
