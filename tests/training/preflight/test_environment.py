"""The record of a start's packages: compared with the start before, and with other nodes; and damaged."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from pdapt.training.preflight.environment import (
    ENVIRONMENT,
    SHOWN,
    differences,
    read_environment,
    shortened,
    this_environment,
    write_environment,
)
from pdapt.training.preflight.start_check import PREFLIGHT, read_problems


def install(folder: Path, files: str, installer: str = "") -> None:
    """Write a package's metadata as pip does; `files` and `installer` go into its list of files."""
    package = folder / "thing-2.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 2.0\n")
    (package / "RECORD").write_text(f"thing/__init__.py,sha256={files},10\n{installer}")


def test_every_package_is_described_by_its_version_and_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "a", "AAA", "../../bin/thing,sha256=X,1\nthing-2.0.dist-info/INSTALLER,sha256=Y,4\n")
    install(tmp_path / "b", "AAA", "../../bin/thing,sha256=Z,1\nthing/__pycache__/x.pyc,,\n")
    install(tmp_path / "c", "BBB")
    described = []
    for name in "abc":
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / name))
            described.append(this_environment())
    one, same, other = described
    assert one["torch"].split()[0] == version("torch")
    assert one == same, "where a package lies, and who installed it, makes no difference"
    assert differences(one, other, "then", "now") == ["thing 2.0 has other files now than then"]


def test_differences_say_which_package_from_what_to_what() -> None:
    then, now = {"a": "1 x", "b": "2 x", "d": "4"}, {"a": "1 x", "b": "3 y", "c": "1 z"}
    assert differences(then, now, "then", "now") == ["b 2 then, 3 now", "c absent then, 1 now", "d 4 then, absent now"]
    assert differences(then, dict(then), "then", "now") == []
    many = [f"p{n}" for n in range(SHOWN + 2)]
    assert shortened(many).endswith(f"p{SHOWN - 1}; and 2 more")


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    assert read_environment(tmp_path) is None
    write_environment(tmp_path, {"a": "1 x"})
    assert read_environment(tmp_path) == {"a": "1 x"}


def test_fuzz_environment(fuzz: Callable[..., None], tmp_path: Path) -> None:
    write_environment(tmp_path, {"python": "3.12.1", "torch": "2.14.1 0123456789abcdef"})
    fuzz(tmp_path / ENVIRONMENT, lambda: differences(read_environment(tmp_path) or {}, {"a": "1"}, "then", "now"))


def test_fuzz_preflight(fuzz: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / PREFLIGHT).write_text(json.dumps({"problems": ["disk: full"], "nodes": []}))
    fuzz(tmp_path / PREFLIGHT, lambda: read_problems(tmp_path))
