"""The end of a failed trainer's log that is shown where no rank has left a file."""

from pathlib import Path

import pytest

from pdapt.core.errors import Failed
from pdapt.training.run.spawn import fail


def test_an_error_before_there_are_ranks_is_shown(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("Traceback\nValueError: odd\nW elastic/multiprocessing/api.py closing\n")
    with pytest.raises(Failed, match="code 3; the end of its log:\nTraceback\nValueError: odd\n  where: ") as failed:
        fail(3, tmp_path / "train.log", 0)
    assert "api.py" not in str(failed.value)
