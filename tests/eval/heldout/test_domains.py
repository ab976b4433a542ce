"""Which held-out files belong to which domain: a text under two names and several domains under one are told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.eval.heldout.build_tasks import build_tasks
from pdapt.eval.heldout.domains import read_domains
from pdapt.eval.heldout.task_index import TASKS_FILE

Writer = Callable[..., Path]


@pytest.fixture
def mixed(tmp_path: Path, write_heldout: Writer) -> Path:
    """A folder as `pdapt run` leaves it: two sources of medicine, and one of general text."""
    folder = tmp_path / "heldout"
    for domain, source in (("medical", "medical-notes"), ("medical", "medical-letters"), ("general", "general-wiki")):
        write_heldout(folder, domain, source=source)
    return folder


def _refused(*given: str) -> str:
    with pytest.raises(UserError) as refused:
        read_domains(list(given))
    return str(refused.value)


def _named(given: list[str]) -> dict[str, list[str]]:
    return {domain: [path.stem for path in paths] for domain, paths in read_domains(given).items()}


def test_one_folder_under_two_names_is_split_where_its_files_are_named(mixed: Path) -> None:
    both = [f"medical={mixed}", f"general={mixed}"]
    assert _named(both) == {"medical": ["medical-letters", "medical-notes"], "general": ["general-wiki"]}
    (mixed.parent / "link").symlink_to(mixed)
    assert _named([both[0], f"general={mixed.parent / 'link'}"])["general"] == ["general-wiki"]


def test_one_folder_under_two_names_is_refused_where_nothing_tells(mixed: Path, write_heldout: Writer) -> None:
    assert "the same text is given as a and b" in _refused(f"a={mixed}", f"b={mixed}")
    write_heldout(mixed, "general", source="rest")
    assert "rest" in _refused(f"medical={mixed}", f"general={mixed}")
    file = mixed / "rest.jsonl"
    assert "the same text" in _refused(f"medical={file}", f"general={file}")
    assert "the same text" in _refused(f"x={mixed}", f"y={file}")
    assert "given twice" in _refused(f"x={mixed}", f"x={file}")


def test_several_domains_under_one_name_are_refused_by_their_names(mixed: Path) -> None:
    told = _refused(f"medical={mixed}")
    assert "medical-letters, medical-notes of its own, and general-wiki" in told
    assert f"--heldout 'medical=FOLDER/medical-*.jsonl'" in told  # noqa: F541
    assert _named([f"medical={mixed}/medical-*.jsonl"]) == {"medical": ["medical-letters", "medical-notes"]}
    assert "general-wiki" in _refused(f"law={mixed}/general-*.jsonl", f"general={mixed}/medical-*.jsonl")
    assert len(_named([f"everything={mixed}"])["everything"]) == 3, "under a name that none of them begins with"


def test_a_place_without_documents_or_without_a_domain_is_refused(tmp_path: Path, mixed: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", mixed / "*.csv", tmp_path / "gone" / "*.jsonl"):
        assert "there are no held-out documents here" in _refused(f"a={place}")
    for place in (tmp_path / "nothing", mixed / "medical.jsonl"):
        assert f"no such file or folder: {place.name}" in _refused(f"a={place}")
    assert "does not name a domain" in _refused(str(mixed))
    assert "does not name a domain" in _refused(f"={mixed}")


def test_copies_and_files_of_several_sources_are_met_by_their_content(
    mixed: Path, tmp_path: Path, write_heldout: Writer
) -> None:
    shutil.copytree(mixed, tmp_path / "copy")
    with pytest.raises(UserError, match="b shares 24 of its 24 documents with a: one text has two names"):
        build_tasks({"b": [tmp_path / "copy"], "a": [mixed]}, tmp_path / "tasks")
    one = tmp_path / "one.jsonl"
    one.write_text("".join(path.read_text() for path in sorted(mixed.iterdir())))
    with pytest.raises(UserError, match="medical contains sources of several domains"):
        build_tasks({"medical": [one]}, tmp_path / "tasks")
    assert not (tmp_path / "tasks").exists()


def test_a_few_documents_in_both_are_said(
    mixed: Path, tmp_path: Path, write_heldout: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_heldout(tmp_path / "other", "general", source="law")
    row = json.loads((mixed / "medical-notes.jsonl").read_text().splitlines()[0]) | {"source": "law"}
    with (other / "law.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    build_tasks({"all": [mixed], "law": [other]}, tmp_path / "tasks")
    assert "law shares 1 of its 9 documents with all" in capsys.readouterr().err
    assert [row["domain"] for row in read_json(tmp_path / "tasks" / TASKS_FILE)] == ["all", "all", "law", "law"]
    counts = Manifest.read(tmp_path / "tasks").counts
    assert counts["all"]["sources"] == {"general-wiki": 8, "medical-letters": 8, "medical-notes": 8}


def test_of_many_files_the_first_six_are_named_and_the_rest_counted(tmp_path: Path, write_heldout: Writer) -> None:
    """Eight sources of medicine and one of general text under one name."""
    for number in range(8):
        write_heldout(tmp_path / "many", "medical", source=f"medical-{number}")
    write_heldout(tmp_path / "many", "general", source="general-wiki")
    told = _refused(f"medical={tmp_path / 'many'}")
    assert f"{', '.join(f'medical-{number}' for number in range(6))} and 2 more of its own" in told
