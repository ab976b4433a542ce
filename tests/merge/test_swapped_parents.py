"""A parent's file that is exchanged after it was compared makes no model."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.merge import run, sweep

Maker = Callable[..., Path]
Change = Callable[[Path], object]


def other_file(folder: Path) -> None:
    """Put another file of the same length and date in the weights' place."""
    path, other = folder / "model.safetensors", folder / "other"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def in_place(folder: Path) -> None:
    """Flip a bit where it lies, and put the date back."""
    path = folder / "model.safetensors"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def away_and_back(folder: Path) -> None:
    """Have another file in the weights' place for a while."""
    (folder / "model.safetensors").rename(folder / "kept")
    (folder / "kept").rename(folder / "model.safetensors")


def settings(folder: Path) -> None:
    text = (folder / "config.json").read_text().replace("qwen3", "qwen3 ").replace("qwen3 ", "qwen3")
    (folder / "config.json").write_text(text)


@pytest.mark.parametrize("change", [other_file, in_place, away_and_back, settings])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("verb", ["merge", "average", "sweep"])
def test_a_parent_that_is_exchanged_after_its_check_makes_no_model(
    tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, which: int, change: Change
) -> None:
    parents, out = [tiny_qwen3(seed, num_hidden_layers=1) for seed in (0, 1)], tmp_path / "out"

    def merge() -> object:
        if verb == "sweep":
            return sweep.sweep(parents[0], parents[1], out, [0.5])
        return run.average(parents, out) if verb == "average" else run.merge(parents[0], parents[1], out)

    module, name = (sweep, "_write") if verb == "sweep" else (run, "_run_mergekit")
    reads = getattr(module, name)

    def exchanged(*arguments: object) -> None:
        change(parents[which])
        reads(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, exchanged)
        with pytest.raises(UserError, match="changed while it was read") as error:
            merge()
    assert error.value.where.startswith(str(parents[which]))
    assert not out.exists() or not any(out.iterdir())
    merge()  # as it is now, and stays
    assert list(out.rglob("model.safetensors"))
