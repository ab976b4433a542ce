"""Files that cannot be read or written as one asks for."""

from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_text


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        read_json(tmp_path / "folder")
    with pytest.raises(UserError, match="is a folder"):
        write_text(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_path_below_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    with pytest.raises(UserError, match="is missing"):
        read_json(tmp_path / "file" / "rows.json")
