"""A run's journal and tokenizer, damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pdapt.core.errors import UserError
from pdapt.data_prep.tokens.tokenizer import load_tokenizer
from pdapt.training.compare_tokenizers import differences, read_vocabulary
from pdapt.training.run.failures.rank_file import RankFile, read_records
from pdapt.training.run.journal import Event, Journal, kept, read

Fuzz = Callable[..., None]


def test_fuzz_journal(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    step = {
        "seconds": 1.5,
        "data_wait": 0.1,
        "tokens": 64,
        "skipped": False,
        "joules": None,
        "loss": 9.0,
        "sources": {},
    }
    rows: list[dict[str, Any]] = [{"event": "start", "step": 0, "ranks": 2, "host": "a"}]
    rows += [{"event": "step", "step": n, **step} for n in range(1, 4)]
    rows += [{"event": "validation", "step": 3, "loss": 8.0, "seconds": 1.0, "sources": {}}]
    path.write_text("".join(json.dumps({"time": 1e9 + n, "start": 0, **row}) + "\n" for n, row in enumerate(rows)))
    assert len(read(path)) == 5

    def use() -> None:
        found = read(path)
        kept(found, Event.STEP)
        if len(found) < 5:
            raise UserError("rows are left out")

    fuzz(path, use)
    assert Journal(path).start == 1


def test_fuzz_tokenizer(fuzz: Fuzz, tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tokenizer_folder, tmp_path / "tokenizer"))

    def use() -> None:
        loaded = load_tokenizer(folder)
        assert loaded.size > 0
        assert loaded.tokenizer.encode("Le patient").ids is not None

    fuzz(folder / "tokenizer.json", use)


def test_fuzz_vocabulary(fuzz: Fuzz, tokenizer_folder: Path, tmp_path: Path) -> None:
    """As training compares the base's tokenizer with the tokens'."""
    folder, ours = Path(shutil.copytree(tokenizer_folder, tmp_path / "tokenizer")), read_vocabulary(tokenizer_folder)
    assert differences(ours, read_vocabulary(folder)) == []
    fuzz(folder / "tokenizer.json", lambda: differences(ours, read_vocabulary(folder)))


def test_fuzz_ranks(fuzz: Fuzz, tmp_path: Path) -> None:
    """A rank's file that is damaged is left out."""
    rank = RankFile(tmp_path, 0)
    rank.write()
    assert [record.rank for record in read_records(tmp_path)] == [0]

    def use() -> None:
        if not read_records(tmp_path):
            raise UserError("left out")

    fuzz(rank.path, use)
