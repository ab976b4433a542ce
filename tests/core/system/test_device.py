"""The devices of this machine, told by files alone."""

import sysconfig
from pathlib import Path

import pytest

from pdapt.core.system import device


def test_transformer_engine_counts_with_its_part_for_pytorch_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where its own loader looks for it: beside the package, in it, and in its folder of libraries."""
    assert not device.has_transformer_engine()
    package = tmp_path / "transformer_engine"
    (package / "wheel_lib").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "libtransformer_engine.so").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not device.has_transformer_engine()
    for folder in (tmp_path, package, package / "wheel_lib"):
        library = folder / "transformer_engine_torch.cpython-312-x86_64-linux-gnu.so"
        library.touch()
        assert device.has_transformer_engine()
        library.unlink()
    assert not device.has_transformer_engine()


def test_compiling_needs_a_compiler_and_pythons_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    (tmp_path / "Python.h").touch()
    assert not device.can_compile()
    (programs / "gcc").touch(0o755)
    assert device.can_compile()
    (tmp_path / "Python.h").unlink()
    assert not device.can_compile()
