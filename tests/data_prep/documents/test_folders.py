"""The files of a folder, whatever links and names there are."""

import os
from pathlib import Path

import pytest
from reading_helpers import items_of, survey_of

from pdapt.core.errors import UserError
from pdapt.data_prep.documents.discover import discover, existing
from pdapt.data_prep.documents.reading import find_documents


def test_links_are_followed_and_loops_told(tmp_path: Path) -> None:
    for folder in ("data/a", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{Path(folder).name}.txt").write_text(folder)
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "data" / ".git").mkdir()
    os.mkfifo(tmp_path / "data" / "pipe")
    found = survey_of(tmp_path / "data")
    assert [file.name for file in found.files] == ["a/a.txt", "linked/elsewhere.txt"]
    assert {(each.name, each.reason) for each in found.unread} == {
        (".git", "hidden"),
        ("a/loop", "the same folder as data (a link)"),
        ("again", "the same folder as a (a link)"),
        ("broken", "a link that leads nowhere"),
        ("pipe", "not a regular file"),
    }


def test_any_bytes_may_be_a_name(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \n"))
    folder.mkdir()
    (folder / "a\n.txt").write_text("un")
    (folder / "b.txt").write_bytes(b"\xe9")
    (source,) = discover([str(folder)])
    (found,) = find_documents([source])
    assert source.name.isprintable()
    assert [file.name for file in found.files] == ["a\\n.txt", "b.txt"]
    with pytest.raises(UserError, match="not UTF-8") as caught:
        items_of(folder)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("given", "fix"),
    [("gone", "check the path"), ("a/b/gone", "check the path"), ("owner/name", "only where PATH begins with hub:")],
)
def test_what_is_not_there_is_named_and_the_hub_where_it_may_be_meant(given: str, fix: str) -> None:
    with pytest.raises(UserError) as caught:
        existing(given)
    assert caught.value.what == f"no such file or folder: {given}"
    assert fix in caught.value.fix
