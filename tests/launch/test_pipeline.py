"""The whole way on real ranks: on the embedded sample, on other text, with another's base."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.data_prep.documents.store import document_files, read_documents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
Maker = Callable[..., Path]
SHORT = ["steps=4", "batch.global_size=8", "checkpoint.every=2", "data.seq_length=256"]
SHORT += ["validation.every=2", "validation.batches=1", "--documents=24", "--questions=16"]


def pdapt(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "pdapt.cli.main", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def assert_no_text_is_on_two_sides(run: Path) -> None:
    """Held-out texts, read from what evaluation reads, against every training document by its tokens."""
    import numpy as np
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    record = json.loads((run / "tokens" / "tokens.json").read_text())

    def documents(split: str) -> set[bytes]:
        found: set[bytes] = set()
        for source in record["splits"][split].values():
            data = IndexedDataset(str(run / "tokens" / source["prefix"]))
            found |= {np.asarray(data[number]).tobytes() for number in range(len(data))}
        return found

    train, valid = documents("train"), documents("valid")
    assert train
    assert valid
    assert not train & valid


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("quickstart") / "run"
    return out, pdapt("quickstart", "--out", out)


def test_the_quickstart_shows_what_adaptation_does(quickstart: tuple[Path, dict[str, Any]]) -> None:
    """Medical text gets better, general text worse, and the merge lies between: as stated, by the scores themselves."""
    out, found = quickstart
    rows = {row["model"]: row for row in found["models"]}
    assert list(rows) == ["base", "cpt-00020", "cpt-00040", "cpt-00060", "merged"]
    medical, general = ({name: row[d]["perplexity"] for name, row in rows.items()} for d in ("medical", "general"))
    assert medical["cpt-00060"] < medical["merged"] < medical["base"]
    assert general["base"] < general["merged"] < general["cpt-00060"]
    text = " ".join(found["verdict"])
    assert "Medical improved from base to cpt-00060" in text
    assert "General degraded from base to cpt-00060" in text
    assert Path(found["report"]).stat().st_size > 50_000
    assert Manifest.read(out / "report").counts


def test_the_quickstart_evaluates_on_no_training_text(quickstart: tuple[Path, dict[str, Any]]) -> None:
    assert_no_text_is_on_two_sides(quickstart[0])


def test_every_stage_left_its_manifest(quickstart: tuple[Path, dict[str, Any]]) -> None:
    out, _ = quickstart
    stages = ["sample", "corpus", "tokenizer", "tokens", "base", "cpt", "hf/base", "hf/cpt-00020", "hf/merged"]
    for stage in [*stages, "tasks", "scores", "report"]:
        manifest = Manifest.read(out / stage)
        assert manifest.outputs
        assert manifest.versions["megatron-core"] == "0.19.2"


def test_a_second_quickstart_has_nothing_to_do(quickstart: tuple[Path, dict[str, Any]]) -> None:
    out, found = quickstart
    before = {path: path.stat().st_mtime_ns for path in out.rglob("manifest.json")}
    assert pdapt("quickstart", "--out", out) == found
    assert {path: path.stat().st_mtime_ns for path in out.rglob("manifest.json")} == before


@pytest.fixture(scope="module")
def base(qwen3_at: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3_at(tmp_path_factory.mktemp("base") / "qwen3", dtype="bfloat16")


@pytest.fixture(scope="module")
def adapted(
    shared: Callable[[str], Path], base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[object], Path, dict[str, Any]]:
    """All ten sources on two ranks, DP 2: the command, the run's folder, what was printed."""
    out = tmp_path_factory.mktemp("adapted") / "run"
    command: list[object] = ["run", *SHORT, "--data", shared("samples"), "--base", base, "--domain", "medical"]
    return [*command, "--out", out], out, pdapt(*command, "--out", out)


def test_the_shared_samples_adapt_another_base(
    shared: Callable[[str], Path], adapted: tuple[list[object], Path, dict[str, Any]]
) -> None:
    _, out, found = adapted
    assert [row["model"] for row in found["models"]] == ["base", "cpt-00002", "cpt-00004", "merged"]
    sources = {path.name for path in shared("samples").iterdir() if path.is_dir()}
    assert len(sources) == 10
    built = document_files(out / "corpus")
    assert {f"medical-{name}" for name in sources} <= set(built)
    assert all(next(read_documents(path, ("text",)))[0] for path in built.values())
    assert_no_text_is_on_two_sides(out)
    recipe = Manifest.read(out / "cpt").config
    assert recipe["optimizer"]["lr"] == pytest.approx(2e-4), "the published one, for a narrow model"
    assert {"medical", "general"} <= set(found["models"][0])


def test_a_later_choice_makes_again_only_what_depends_on_it(
    adapted: tuple[list[object], Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Another t: one merge, its scores, the report. General text left out: not even a model is read."""
    command, made, found = adapted
    out = tmp_path / "run"
    shutil.copytree(made, out)
    command = [*command[:-1], out]
    before = stamps(out)
    third = pdapt(*command, "--t", 0.25, "--title", "A third")
    changed = {name for name, stamp in stamps(out).items() if before.get(name) != stamp}
    assert changed == {f"{folder}/manifest.json" for folder in ("hf/merged", "scores", "report")} | {
        name for name in before if name.startswith("scores/merged/")
    }
    assert Manifest.read(out / "hf" / "merged").config["t"] == 0.25
    assert third["models"][:3] == found["models"][:3]
    assert third["models"][3] != found["models"][3]
    assert "A third" in (out / "report" / "index.html").read_text()
    before = stamps(out)
    alone = pdapt(*command, "--t", 0.25, "--title", "A third", "--general", "none")
    assert [row["medical"] for row in alone["models"]] == [row["medical"] for row in third["models"]]
    assert all("general" not in row for row in alone["models"])
    kept = {name for name, stamp in stamps(out).items() if before.get(name) == stamp}
    assert {name for name in before if name.startswith(("cpt/", "hf/", "tokens/"))} <= kept
    assert {name for name in before if name.startswith("scores/") and "_medical/" in name} <= kept


def stamps(run: Path) -> dict[str, int]:
    """Times of what stages and lm-eval have written."""
    files = [*run.rglob("manifest.json"), *run.glob("scores/*/*/results.json")]
    return {str(path.relative_to(run)): path.stat().st_mtime_ns for path in files}


def test_a_change_that_training_depends_on_is_refused(adapted: tuple[list[object], Path, dict[str, Any]]) -> None:
    command, out, _ = adapted
    before = stamps(out)
    for change, message in (
        (["--valid-fraction", "0.1"], "--valid-fraction: 0.05 then, 0.1 now"),
        (["optimizer.lr=1e-3"], "optimizer.lr: 0.0002 there, 0.001 now"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            commands.pdapt(*command, *change)
    assert stamps(out) == before
