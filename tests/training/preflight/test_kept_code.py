"""The code of a run: a commit, or an archive of what no commit has."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from pdapt.training.preflight.kept_code import commit, keep_code


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "room").mkdir(parents=True)
    for name in ("room/__init__.py", "room/work.py", "pyproject.toml", "setup.py", "notes.md"):
        (folder / name).write_text(f"{name}\n")
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def objects(checkout: Path) -> set[Path]:
    return set((checkout / ".git").rglob("*"))


def test_of_a_clean_checkout_the_commit_is_enough(checkout: Path, tmp_path: Path) -> None:
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD").strip()
    (checkout / "notes.md").write_text("no part of the program")
    (checkout / "corpus.jsonl").write_text("data beside the code")
    assert "+" not in (commit(checkout) or "")
    assert keep_code(tmp_path, checkout) is None
    assert not (tmp_path / "code").exists()


def test_changed_and_new_files_of_the_program_are_kept_and_nothing_is_left_in_git(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "room/work.py").write_text("changed\n")
    (checkout / "room/new.py").write_text("new\n")
    (checkout / "room/__pycache__").mkdir()
    (checkout / "room/__pycache__/new.pyc").write_text("cache")
    (checkout / "corpus.jsonl").write_text("data beside the code")
    before, staged = objects(checkout), git(checkout, "status", "--porcelain")
    kept = keep_code(tmp_path, checkout)
    assert kept is not None
    assert (objects(checkout), git(checkout, "status", "--porcelain")) == (before, staged)
    with tarfile.open(tmp_path / kept) as archive:
        archive.extractall(tmp_path / "again", filter="data")
    again = tmp_path / "again/pdapt"
    files = {str(path.relative_to(again)) for path in again.rglob("*") if path.is_file()}
    assert files == {"room/__init__.py", "room/work.py", "room/new.py", "pyproject.toml", "setup.py"}
    assert (again / "room/work.py").read_text() == "changed\n"


def test_each_state_of_the_code_is_kept_once(checkout: Path, tmp_path: Path) -> None:
    (checkout / "room/work.py").write_text("changed\n")
    first = keep_code(tmp_path, checkout)
    assert first is not None
    written = (tmp_path / first).stat().st_mtime_ns
    assert keep_code(tmp_path, checkout) == first
    assert (tmp_path / first).stat().st_mtime_ns == written
    (checkout / "room/work.py").write_text("changed again\n")
    assert keep_code(tmp_path, checkout) != first
    assert len(list((tmp_path / "code").iterdir())) == 2


def test_installed_code_in_somebody_elses_checkout_has_no_commit(checkout: Path, tmp_path: Path) -> None:
    installed = checkout / "venv/pdapt"
    (installed / "room").mkdir(parents=True)
    assert commit(installed) is None
    assert commit(tmp_path / "nowhere") is None
    assert keep_code(tmp_path, installed) is None
