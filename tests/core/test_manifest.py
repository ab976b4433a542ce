"""A stage runs once, goes on where it stopped, and never passes half of its work off as the whole."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest, Outdated, fingerprint, renew, run_stage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input.txt"
    path.write_text("texte")
    return path


def write(work: Path) -> dict[str, Any]:
    (work / "a.txt").write_text("A")
    return {"files": 1}


def test_a_stage_leaves_its_files_and_a_manifest(tmp_path: Path, source: Path) -> None:
    manifest = run_stage("demo", {"text": source}, {"k": 1}, tmp_path / "out", write)
    assert manifest == Manifest.read(tmp_path / "out")
    assert manifest.counts == {"files": 1}
    assert set(manifest.outputs) == {"a.txt"}
    assert manifest.inputs == {"text": fingerprint(source)}


def test_a_finished_stage_is_not_done_again(tmp_path: Path, source: Path) -> None:
    first = run_stage("demo", {"text": source}, {}, tmp_path / "out", write)
    second = run_stage("demo", {"text": source}, {}, tmp_path / "out", lambda _: pytest.fail("ran again"))
    assert second == first


def test_an_input_that_is_hashed_beside_the_work_is_known_by_the_same_fingerprint(tmp_path: Path, source: Path) -> None:
    first = run_stage("demo", {"text": source}, {}, tmp_path / "out", write, beside=True)
    assert first.inputs == {"text": fingerprint(source)}
    again = run_stage("demo", {"text": source}, {}, tmp_path / "out", lambda _: pytest.fail("ran again"), beside=True)
    assert again == first
    source.write_text("autre texte")
    with pytest.raises(UserError, match="made by another run"):
        run_stage("demo", {"text": source}, {}, tmp_path / "out", write, beside=True)


def test_an_input_that_cannot_be_hashed_beside_the_work_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        run_stage("demo", {"text": tmp_path / "gone"}, {}, tmp_path / "out", write, beside=True)
    assert not (tmp_path / "out").exists()


def test_what_a_stage_hashes_as_it_writes_is_not_read_again(tmp_path: Path, source: Path) -> None:
    hashes: dict[str, str] = {}

    def body(work: Path) -> dict[str, Any]:
        hashes["a.txt"] = "the hash that was taken as it was written"
        (work / "b.txt").write_text("B")
        return write(work)

    outputs = run_stage("demo", {"text": source}, {}, tmp_path / "out", body, hashes=hashes).outputs
    assert outputs == {**hashes, "b.txt": hashlib.sha256(b"B").hexdigest()}


@pytest.mark.parametrize("change", ["config", "input"])
def test_other_work_into_the_same_folder_is_refused(tmp_path: Path, source: Path, change: str) -> None:
    run_stage("demo", {"text": source}, {"k": 1}, tmp_path / "out", write)
    if change == "input":
        source.write_text("autre texte")
    with pytest.raises(UserError, match="made by another run"):
        run_stage("demo", {"text": source}, {"k": 2 if change == "config" else 1}, tmp_path / "out", write)
    assert (tmp_path / "out" / "a.txt").read_text() == "A"


def test_a_folder_that_no_stage_wrote_is_left_alone(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="no stage wrote it"):
        run_stage("demo", {"text": source}, {}, tmp_path / "out", write)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_interrupted_stage_goes_on_with_what_it_had(tmp_path: Path, source: Path) -> None:
    def stop(work: Path) -> dict[str, Any]:
        (work / "first.txt").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage("demo", {"text": source}, {}, tmp_path / "out", stop)
    assert not (tmp_path / "out").exists()

    def go_on(work: Path) -> dict[str, Any]:
        assert (work / "first.txt").read_text() == "1"
        return write(work)

    manifest = run_stage("demo", {"text": source}, {}, tmp_path / "out", go_on, resumes=True)
    assert set(manifest.outputs) == {"a.txt", "first.txt"}


@pytest.mark.parametrize(("k", "resumes"), [(2, True), (1, False)])
def test_what_was_left_behind_is_thrown_away(tmp_path: Path, source: Path, k: int, resumes: bool) -> None:
    """By other work, or by a stage that cannot go on."""

    def stop(work: Path) -> dict[str, Any]:
        (work / "first.txt").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage("demo", {"text": source}, {"k": 1}, tmp_path / "out", stop)
    manifest = run_stage("demo", {"text": source}, {"k": k}, tmp_path / "out", write, resumes=resumes)
    assert set(manifest.outputs) == {"a.txt"}


@pytest.mark.parametrize("content", [None, ""])
def test_a_missing_or_empty_input_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "gone.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"gone\.txt"):
        run_stage("demo", {"text": path}, {}, tmp_path / "out", write)
    assert not (tmp_path / "out").exists()


def test_what_is_left_of_a_folder_that_was_being_thrown_away_is_not_taken_up(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run A is interrupted; B, with other options, is so while it removes what A had made; then A runs again."""
    from pdapt.core import manifest

    def interrupted(work: Path) -> dict[str, Any]:
        for name in "ab":
            (work / f"{name}.txt").write_text(name)
        raise KeyboardInterrupt

    def half(work: Path) -> None:
        (work / "b.txt").unlink()
        raise KeyboardInterrupt

    def run(config: dict[str, Any], body: Any) -> Manifest:
        return run_stage("demo", {"text": source}, config, tmp_path / "out", body, resumes=True)

    with pytest.raises(KeyboardInterrupt):
        run({"k": 1}, interrupted)
    monkeypatch.setattr(manifest, "remove", half)
    with pytest.raises(KeyboardInterrupt):
        run({"k": 2}, interrupted)
    monkeypatch.undo()

    def whole(work: Path) -> dict[str, Any]:
        return {"found": len(list(work.glob("*.txt")))}

    assert run({"k": 1}, whole).counts == {"found": 0}


def test_an_outdated_result_is_told_by_what_differs(tmp_path: Path, source: Path) -> None:
    run_stage("demo", {"text": source}, {"t": 0.5, "k": 1}, tmp_path / "out", write)
    source.write_text("autre texte")
    with pytest.raises(Outdated) as raised:
        run_stage("demo", {"text": source}, {"t": 0.3, "k": 1}, tmp_path / "out", write)
    assert raised.value.differences == ["other text", "t: 0.5 there, 0.3 now"]
    with pytest.raises(UserError, match="made by the stage demo") as other:
        run_stage("merge", {}, {}, tmp_path / "out", write)
    assert not isinstance(other.value, Outdated)


def test_a_stage_is_renewed_only_where_its_choices_changed(tmp_path: Path, source: Path) -> None:
    out, given = tmp_path / "out", list[Path | None]()

    def run(k: int) -> Manifest:
        def body(outdated: Path | None) -> Manifest:
            given.append(outdated)
            return run_stage("demo", {"text": source}, {"k": k}, out, write)

        return renew(out, body)

    first = run(1)
    assert run(1) == first
    assert given == [None, None], "nothing was outdated"
    second = run(2)
    assert (first.config, second.config) == ({"k": 1}, {"k": 2})
    aside = given[-1]
    assert aside is not None
    assert Manifest.read(out) == second
    assert [path.name for path in tmp_path.iterdir() if path.name != source.name] == ["out"]


def test_a_renewal_that_fails_leaves_what_was_there(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    first = run_stage("demo", {"text": source}, {"k": 1}, out, write)

    def fails(work: Path) -> dict[str, Any]:
        raise OSError(f"no space in {work}")

    with pytest.raises(OSError, match="no space"):
        renew(out, lambda _: run_stage("demo", {"text": source}, {"k": 2}, out, fails))
    assert Manifest.read(out) == first
    assert (out / "a.txt").read_text() == "A"


def test_a_renewal_that_was_killed_goes_on_with_what_is_outdated(tmp_path: Path, source: Path) -> None:
    """As a kill leaves it: the outdated result aside, nothing at the stage's place."""
    out = tmp_path / "out"
    run_stage("demo", {"text": source}, {"k": 1}, out, write)
    out.rename(tmp_path / ".out.outdated")
    given = list[Path | None]()

    def run(outdated: Path | None) -> Manifest:
        given.append(outdated)
        return run_stage("demo", {"text": source}, {"k": 2}, out, write)

    assert renew(out, run).config == {"k": 2}
    assert given == [tmp_path / ".out.outdated"]
    assert not (tmp_path / ".out.outdated").exists()


def test_hashing_that_takes_long_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before it begins, and while it goes on: a terminal that says nothing looks as one that hangs."""
    (tmp_path / "folder").mkdir()
    for name in ("a", "b"):
        with (tmp_path / "folder" / name).open("wb") as file:
            file.truncate(3 * 2**20)
    before = fingerprint(tmp_path / "folder"), fingerprint(tmp_path / "folder" / "a")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pdapt.core.files.LONG", 2**20)
    monkeypatch.setattr("pdapt.core.log.Progress.EVERY", 0.0)
    assert (fingerprint(tmp_path / "folder"), fingerprint(tmp_path / "folder" / "a")) == before
    assert before[1] == hashlib.sha256(bytes(3 * 2**20)).hexdigest()
    said = capsys.readouterr().err
    assert f"hashing {tmp_path / 'folder' / 'a'} and 1 more: 0.0 GB" in said
    assert f"hashing {tmp_path / 'folder' / 'a'}: 0.0 GB" in said
    assert said.count("hashing: 0.0 of 0.0 GB") == 9


def test_what_is_made_is_no_part_of_what_is_read(tmp_path: Path) -> None:
    """Else the same folder would be another input the next time; one whose hashes are written down stays the same."""
    read = tmp_path / "read"
    read.mkdir()
    (read / "a.txt").write_text("A")
    (tmp_path / "link").symlink_to(read)

    def body(work: Path) -> dict[str, Any]:
        (work / "b.txt").write_text("B")
        return {}

    for out in (read / "out", read / "deeper" / "out", tmp_path / "link" / "out"):
        for given in (read, tmp_path / "link"):
            with pytest.raises(UserError, match=f"{out} lies within {given}, which is an input"):
                run_stage("demo", {"read": given}, {}, out, body)
    assert [path.name for path in read.iterdir()] == ["a.txt"]
    run_stage("demo", {"read": read}, {}, tmp_path / "read-too", body)
    run_stage("demo", {"read": tmp_path / "read-too"}, {}, tmp_path / "read-too" / "out", body)
    run_stage("demo", {"read": tmp_path / "read-too"}, {}, tmp_path / "read-too" / "out", body)


def test_a_finished_folder_without_one_of_its_files_is_not_taken_for_whole(tmp_path: Path) -> None:
    def body(work: Path) -> dict[str, Any]:
        for name in "abcde":
            (work / name).write_text(name)
        return {}

    out = tmp_path / "out"
    run_stage("demo", {}, {}, out, body)
    (out / "c").unlink()
    with pytest.raises(UserError, match="was complete, but c is missing"):
        run_stage("demo", {}, {}, out, body)
    for name in "bde":
        (out / name).unlink()
    with pytest.raises(UserError, match="b, c, d and 1 more are missing"):
        run_stage("demo", {}, {}, out, body)
