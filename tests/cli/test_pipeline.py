"""The whole way on real ranks: on the embedded sample, on other text, with another's base."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.manifest import Manifest
from pdapt.data_prep.documents.store import document_files, read_documents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Maker = Callable[..., Path]
SHORT = ["steps=4", "checkpoint.every=2", "validation.every=2", "validation.batches=1", "data.seq_length=256"]


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


@pytest.mark.parametrize("tp", [1, 2])
def test_the_shared_samples_with_another_base(
    shared: Callable[[str], Path], tiny_qwen3: Maker, tmp_path: Path, tp: int
) -> None:
    """All ten sources, two ranks: DP2, then TP2; the base is a Hugging Face folder."""
    samples, base = shared("samples"), tiny_qwen3(dtype="bfloat16")
    arguments = ["run", *SHORT, f"parallel.tp={tp}", "--data", samples, "--base", base]
    found = pdapt(*arguments, "--domain", "medical", "--out", tmp_path / "run")
    assert [row["model"] for row in found["models"]] == ["base", "cpt-00002", "cpt-00004", "merged"]
    sources = {path.name for path in samples.iterdir() if path.is_dir()}
    assert len(sources) == 10
    built = document_files(tmp_path / "run" / "corpus")
    assert {f"medical-{name}" for name in sources} <= set(built)
    assert all(next(read_documents(path, ("text",)))[0] for path in built.values())
    assert_no_text_is_on_two_sides(tmp_path / "run")


def test_killed_in_the_middle_and_started_again_the_run_ends_the_same(tiny_qwen3: Maker, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    rows = [{"text": f"Le patient {n} reçoit {n % 9 + 1} mg de morphine et {n * 3} ml de soluté salé, puis il est revu "
                     f"le {n % 28 + 1} mars avec une tension de {100 + n % 60} mmHg et un poids de {50 + n % 40},5 kg."
                     f" Le traitement est poursuivi {n % 14 + 2} jours à la dose de {n % 5 + 1} comprimés par jour."}
            for n in range(400)]  # fmt: skip
    notes.write_text("\n".join(json.dumps(row) for row in rows))
    base = tiny_qwen3(dtype="bfloat16")
    letter = tmp_path / "letter.txt"
    letter.write_text("Cher confrère, je vous remercie de m'avoir adressé ce patient. " * 3)
    arguments = ["run", "--data", str(notes), str(letter), *SHORT, "--base", str(base), "--json"]

    def start(out: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "pdapt.cli.main", *arguments, "--out", str(out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    process = start(tmp_path / "run")
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "cpt" / "checkpoints").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    first, second = start(tmp_path / "run").communicate()[0], start(tmp_path / "other").communicate()[0]
    assert json.loads(first)["models"] == json.loads(second)["models"]
