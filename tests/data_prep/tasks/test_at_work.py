"""The folder of tasks that are done with: all of it is there, or nothing that a later run takes up."""

from pathlib import Path

import pytest

from pdapt.data_prep.tasks import at_work
from pdapt.data_prep.tasks.at_work import TASKS, remove_tasks


def test_an_interrupted_removal_leaves_no_finished_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is noted as done while its files are gone could not be gone on with."""

    def interrupted(folder: Path) -> None:
        for path in sorted(folder.rglob("made")):
            path.unlink()
            raise KeyboardInterrupt

    for kind in ("made", "completions"):
        (tmp_path / TASKS / "4" / kind).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / TASKS / "4" / kind).touch()
    monkeypatch.setattr(at_work, "remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove_tasks(tmp_path)
    assert not (tmp_path / TASKS).exists()
    monkeypatch.undo()
    (tmp_path / TASKS).mkdir()
    remove_tasks(tmp_path)
    assert not list(tmp_path.iterdir())
    remove_tasks(tmp_path)
