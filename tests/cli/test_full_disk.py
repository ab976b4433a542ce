"""A full disk, verb by verb: the user's error, which names the disk; nothing that passes for whole is left.

`launch` writes nothing but to standard output. Training's ranks on a full disk are in tests/training/test_train.py.
"""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.cli import main as face
from pdapt.conversion.convert import import_hf
from pdapt.core.checkpoint import CHECKPOINTS, HASHES_FILE
from pdapt.core.files import list_files, sha256, write_json
from pdapt.core.manifest import MANIFEST_FILE, versions
from pdapt.data_prep.tokens.build import build_tokens
from pdapt.eval.tasks.data_index import DATA_INDEX_FILE
from pdapt.merge.sweep import sweep
from pdapt.recipes.load import load, to_dict

RECIPE = "qwen3_tiny_pretrain_2xcpu"
TASK = "mmlu_anatomy"
SMALL = "256k"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path, qwen3_at: Callable[..., Path]) -> Path:
    """The inputs of every verb: text, tokens, two models, a checkpoint, a run with one, and tasks' data."""
    folder, draw = tmp_path_factory.mktemp("given"), random.Random(0)
    words = [f"mot{number}" for number in range(4000)]
    rows = [{"id": number, "text": " ".join(draw.choices(words, k=60))} for number in range(2000)]
    (folder / "medical.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others = [row | {"text": " ".join(draw.choices(words, k=60))} for row in rows[:100]]
    (folder / "general.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others))
    write_json(
        folder / "data" / DATA_INDEX_FILE, {TASK: {"test": "a/test.parquet", "shots": "a/dev.parquet", "questions": 9}}
    )
    (folder / "tokenizer").symlink_to(tokenizer_folder)
    build_tokens([f"medical={folder / 'medical.jsonl'}"], tokenizer_folder, folder / "tokens")
    for seed, name in enumerate(("base", "tuned")):
        qwen3_at(folder / name, seed, dtype="bfloat16")
    sweep(folder / "base", folder / "tuned", folder / "sweep", [0.5])
    import_hf(folder / "tuned", folder / "mcore")
    checkpoint = folder / "run" / CHECKPOINTS / "iter_0000004"
    checkpoint.parent.mkdir(parents=True)
    (folder / "mcore" / "release").rename(checkpoint)
    (folder / "run" / CHECKPOINTS / "hf").symlink_to(folder / "mcore" / "hf")
    made = {"recipe": to_dict(load(RECIPE)), "inputs": {}, "commit": None, "versions": versions(), "device": "cpu"}
    files = {path.name: sha256(path) for path in list_files(checkpoint)}
    write_json(checkpoint / HASHES_FILE, {"step": 4, "provenance": made, "files": files})
    return folder


HELDOUT = ["--heldout", "medical={given}/medical.jsonl", "--heldout", "general={given}/general.jsonl"]
VERBS: dict[str, list[str]] = {
    "corpus build": ["medical={given}/medical.jsonl", "--out", "{out}"],
    "tokens build": ["medical={given}/medical.jsonl", "--tokenizer", "{given}/tokenizer", "--out", "{out}"],
    "convert import": ["{given}/base", "{out}"],
    "convert export": ["{given}/run/checkpoints/iter_0000004", "{out}"],
    "convert follow": ["{given}/run", "--out", "{out}", "--once"],
    "merge run": ["{given}/base", "{given}/tuned", "{out}"],
    "merge sweep": ["{given}/base", "{given}/tuned", "{out}", "--t", "0.5"],
    "merge average": ["{given}/base", "{given}/tuned", "--out", "{out}"],
    "merge choose": ["{given}/base", "{given}/tuned", "{given}/sweep", *HELDOUT, "--out", "{out}"],
    "eval proxy": ["{given}/base", *HELDOUT, "--out", "{out}"],
    "eval run": ["{given}/base", "--data", "{given}/data", "--tasks", TASK, "--out", "{out}"],
    "report paper": ["--out", "{out}"],
    "quickstart": ["--out", "{out}"],
    "run": ["--data", "medical={given}/medical.jsonl", "--general", "{given}/general.jsonl", "--out", "{out}"],
    "train": [RECIPE, "data.blend=[{{sources: ['*']}}]", "--tokens", "{given}/tokens", "--out", "{out}"],
}
"""Verb -> its arguments."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "full"),
    [
        *((verb, True) for verb in VERBS),
        *((verb, False) for verb in VERBS if verb not in ("eval proxy", "eval run", "merge choose", "train")),
        pytest.param("eval proxy", False, marks=pytest.mark.slow),
        pytest.param("merge choose", False, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_the_users_error(
    verb: str,
    full: bool,
    given: Path,
    small_disk: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    disk = small_disk(SMALL)
    if full:
        fill(disk)
    before = set(disk.rglob("*"))
    arguments = [text.format(given=given, out=disk / "out") for text in VERBS[verb]]
    monkeypatch.setattr(sys, "argv", ["pdapt", *verb.split(), *arguments])
    with pytest.raises(SystemExit) as stop:
        face.main()
    said = capfd.readouterr().err
    assert stop.value.code == 2, said
    assert "the disk is full" in said or "the disk has too little space" in said, said
    assert f"free on {disk}" in said, said
    assert "Traceback" not in said
    whole = [path for path in disk.rglob(MANIFEST_FILE) if not any(part.startswith(".") for part in path.parts)]
    assert not [path for path in whole if path not in before and not finished_before(path, disk / "out")]
    assert not list(disk.rglob(".*.lock"))


def finished_before(manifest: Path, out: Path) -> bool:
    """Whether a manifest is that of an earlier stage of several, which is whole."""
    files = json.loads(manifest.read_text())["outputs"]
    return manifest.parent != out and all(sha256(manifest.parent / name) == value for name, value in files.items())


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
