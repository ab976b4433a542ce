"""`pdapt corpus build --duplicates near` that is killed and started again ends with an undisturbed run's bytes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pdapt.core.files import sha256
from pdapt.core.manifest import Manifest

NAMES = ("a", "b", "c", "d")
DOCUMENTS = 3000


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Four sources that have a third of their texts from each other, some in capitals, and one line that is spoilt."""
    folder, draw = tmp_path_factory.mktemp("in"), np.random.default_rng(0)
    shared = [text_of(draw) for _ in range(DOCUMENTS)]
    for number, name in enumerate(NAMES):
        texts = [text_of(draw) for _ in range(DOCUMENTS)]
        texts[::3] = [text.upper() if number % 2 else text for text in shared[::3]]
        lines = [json.dumps({"text": text}) + "\n" for text in [*texts, " "]]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    paths = [str(folder / f"{name}.jsonl") for name in NAMES]
    options = ["--duplicates", "near", "--max-rejected", "0.01", "--out"]
    return [sys.executable, "-m", "pdapt.cli.main", "corpus", "build", *paths, *options]


def text_of(draw: np.random.Generator) -> str:
    return " ".join(f"mot{number}" for number in draw.integers(0, 10**6, 60))


def contents(out: Path) -> dict[str, str]:
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(out)): sha256(path) for path in files}


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "corpus"
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    return out


def one_source_is_written(work: Path) -> bool:
    return (work / "documents" / "b.parquet").exists()


def search_goes_on(work: Path) -> bool:
    return (work / "documents" / "d.parquet").exists()


def list_is_written(work: Path) -> bool:
    return (work / "duplicates.parquet").exists()


def one_source_is_written_anew(work: Path) -> bool:
    listed, source = work / "duplicates.parquet", work / "documents"
    return listed.exists() and any(
        path.stat().st_mtime_ns > listed.stat().st_mtime_ns for path in source.glob("*.parquet")
    )


MOMENTS = [one_source_is_written, search_goes_on, list_is_written, one_source_is_written_anew]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_killed_and_started_again_it_ends_the_same(
    command: list[str], undisturbed: Path, tmp_path: Path, moment: Callable[[Path], bool]
) -> None:
    out = tmp_path / "corpus"
    with subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as build:
        while build.poll() is None and not moment(tmp_path / ".corpus.partial"):
            time.sleep(0.0005)
        build.kill()
    assert build.returncode == -signal.SIGKILL
    assert not out.exists()
    resumed = subprocess.run([*command, str(out)], check=True, capture_output=True, text=True)
    assert "continuing where an earlier run stopped" in resumed.stderr
    assert contents(out) == contents(undisturbed)
    assert Manifest.read(out).counts == Manifest.read(undisturbed).counts
    assert sum(each["kept"] for each in Manifest.read(out).counts.values()) < len(NAMES) * DOCUMENTS
