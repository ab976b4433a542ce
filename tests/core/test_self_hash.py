"""A file of hashes that was changed is noticed by every reader of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.checkpoint import HASHES_FILE, read_hashes_record
from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.core.integrity import check, stage_files
from pdapt.core.manifest import MANIFEST_FILE, Manifest, fingerprint, recorded, run_stage
from pdapt.core.self_hash import SHA256, ChangedError, digest, write_hashed


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A finished stage's folder."""

    def body(work: Path) -> dict[str, Any]:
        (work / "a.txt").write_text("A")
        return {"documents": 1234, "share": 0.1 + 0.2, "nothing": float("nan"), "by number": {2: "é"}}

    run_stage("demo", {}, {"seed": 1}, tmp_path / "out", body)
    return tmp_path / "out"


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _exchange_file(value: dict[str, Any]) -> None:
    value["outputs"]["a.txt"] = "0" * 64


READERS: dict[str, Callable[[Path], object]] = {
    "the manifest": Manifest.read,
    "a stage's input": fingerprint,
    "its hashes": recorded,
    "a stage that finds it done": lambda out: run_stage("demo", {}, {"seed": 1}, out, lambda _: {}),
    "the check of what is read": lambda out: check("demo", {out: ["a.txt"]}),
    "the files of a stage": lambda out: stage_files([out]),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["counts"].update(documents=1235),
        lambda value: value["config"].update(seed=2),
        lambda value: value["versions"].clear(),
        lambda value: value.update(seconds=0.0),
        lambda value: value.update({SHA256: "f" * 64}),
        lambda value: value.update({SHA256: 7}),
        _exchange_file,
    ],
)
def test_a_changed_manifest_is_refused(
    out: Path, reader: Callable[[Path], object], change: Callable[[dict[str, Any]], object]
) -> None:
    reader(out)
    _change(out / MANIFEST_FILE, change)
    with pytest.raises(ChangedError, match=r"manifest\.json was changed after it was written"):
        reader(out)


def test_another_spelling_of_the_same_manifest_and_an_earlier_versions_are_read(out: Path) -> None:
    made = str(Manifest.read(out))
    _change(out / MANIFEST_FILE, lambda _: None)  # no indentation, other escapes
    assert str(Manifest.read(out)) == made
    _change(out / MANIFEST_FILE, lambda value: value.pop(SHA256))
    assert str(Manifest.read(out)) == made


def test_a_changed_record_of_a_checkpoints_hashes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    record = {"step": 3, "provenance": {"seed": 1}, "files": {"weights": sha256(tmp_path / "weights")}}
    write_hashed(tmp_path / HASHES_FILE, record)
    read = read_hashes_record(tmp_path)
    assert read is not None
    assert read.files == record["files"]
    (tmp_path / "weights").write_bytes(b"2")
    _change(tmp_path / HASHES_FILE, lambda value: value["files"].update(weights=sha256(tmp_path / "weights")))
    with pytest.raises(UserError, match=r"pdapt\.json was changed after it was written"):
        read_hashes_record(tmp_path)


def test_the_digest_is_of_sorted_json() -> None:
    """By `printf '{"a": "é", "b": 1}' | sha256sum`."""
    assert digest({"b": 1, "a": "é"}) == "799d49d45db67c58d990c30f098c2001fcd16c2a1c9072d6653fd86b0d7e8a2d"
