"""Files of a checkpoint, hashed and handed to the disk while they are written."""

from hashlib import sha256
from pathlib import Path

import pytest
import torch

from pdapt.conversion import distcp_write
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.core.checkpoint import RELEASE


def test_what_is_written_a_block_at_a_time_is_whole_and_its_hash_is_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks and flushes end anywhere in a tensor; torch's writer gives the same bytes without them."""
    values = torch.arange(3000, dtype=torch.float32).view(3, 1000)
    flushes: list[tuple[int, int]] = []
    monkeypatch.setattr(distcp_write, "begin_flush", lambda _, begin: flushes.append((begin, begin)))
    part = distcp_write.Part("a", whole=(3, 1000), begin=(0, 0), size=(3, 1000), make=lambda: values)
    whole = distcp_write.write(tmp_path / "whole", [part], torch.float32, [])
    monkeypatch.setattr(distcp_write, "BLOCK", 700)
    monkeypatch.setattr(distcp_write, "FLUSH_BYTES", 1000)
    before = len(flushes)
    assert distcp_write.write(tmp_path / "blocks", [part], torch.float32, []) == whole
    assert len(flushes) > 2 * before, "flushes have begun before the end of a file"
    files = list((tmp_path / "blocks").rglob("*.distcp"))
    assert files
    for path in files:
        assert sha256(path.read_bytes()).hexdigest() == whole[str(path.relative_to(tmp_path / "blocks"))]
    assert torch.equal(Checkpoint(tmp_path / "blocks" / RELEASE).read(["a"])["a"], values)
