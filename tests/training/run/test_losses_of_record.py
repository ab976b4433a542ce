"""A real run whose hashing process is killed, and whose journal is damaged between two starts."""

from pathlib import Path

import pytest

from pdapt.core.checkpoint import HASHES_FILE
from pdapt.recipes.load import load
from pdapt.training.run.folder import checkpoints
from pdapt.training.run.hashes import damage
from pdapt.training.run.journal import JOURNAL_FILE, Event, kept, read, read_history, spent
from pdapt.training.train import train

KILL = """
import os, sys
if "pdapt.training.run.hashes" in sys.orig_argv:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_hashes_are_there_in_the_end_and_a_damaged_journal_is_gone_on_with(
    recipe_file: Path,
    tokens: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, out = load(str(recipe_file), ["validation.every=100"]), tmp_path / "run"
    (tmp_path / "kill").mkdir()
    (tmp_path / "kill" / "sitecustomize.py").write_text(KILL)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "kill"))
        assert train(recipe, tokens, out, stop_at=4) is None
    said = capsys.readouterr().err
    assert "save: the process that hashes the checkpoint of step 2 was ended by SIGKILL" in said
    assert "iter_0000002 has no hashes, because the hashing process was killed" in said
    assert "iter_0000004 has no hashes, because the hashing process was killed" in said
    assert [(path / HASHES_FILE).is_file() for path in checkpoints(out)] == [True, True]
    assert not any(map(damage, checkpoints(out)))

    lines = (out / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    (broken,) = (number for number, line in enumerate(lines) if b'"step": 3, "loss"' in line)
    lines[broken] = lines[broken].replace(b'"seconds"', b'"sec\xff')
    damaged = b"".join(lines)
    (out / JOURNAL_FILE).write_bytes(damaged)
    assert train(recipe, tokens, out) is not None
    said = capsys.readouterr().err
    assert f"cannot be read: 1 of {len(lines)} lines of {out / JOURNAL_FILE}; the first: " in said
    assert f"{JOURNAL_FILE}:{broken + 1}: " in said
    assert "has lost steps: 3; their time counts as unknown" in said
    assert (out / JOURNAL_FILE).read_bytes().startswith(damaged), "nothing is lost that may still be mended by hand"
    steps = kept(read(out / JOURNAL_FILE), Event.STEP)
    assert list(steps) == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert steps[10]["goodput_unknown"] > 0
    found = spent(read_history(out / JOURNAL_FILE))
    assert found is not None
    assert (found.lost, found.unknown > 0) == (1, True)
