"""The files of a tokens folder that are read, damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.tokens.build import build_tokens
from pdapt.data_prep.tokens.index import HEADER, bin_path, idx_path, read_lengths, write_indexed
from pdapt.data_prep.tokens.stats import layout_stats
from pdapt.data_prep.tokens.tokens_record import RECORD, read_record
from pdapt.recipes.schema import Data
from pdapt.training.blend import train_blend

Fuzz = Callable[[Path, Callable[[], Any]], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "a.jsonl").write_text(
        "".join(json.dumps({"text": f"Le patient {n} va mieux."}) + "\n" for n in range(60))
    )
    build_tokens([f"a={folder / 'a.jsonl'}"], tokenizer_folder, folder / "tokens")
    return folder / "tokens"


@pytest.fixture
def tokens(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "tokens"))


def use(tokens: Path) -> None:
    layout_stats(tokens, "packed", 64)
    train_blend(tokens, Data(seq_length=64), 100)


def test_fuzz_tokens_record(fuzz: Fuzz, tokens: Path) -> None:
    fuzz(tokens / RECORD, lambda: use(tokens))


def test_a_record_of_version_0_1_is_read(tokens: Path) -> None:
    record = json.loads((tokens / RECORD).read_text())
    for name in ("withheld", "training_duplicates"):
        del record[name]
    for entry in (entry for split in record["splits"].values() for entry in split.values()):
        del entry["part"], entry["licences"]
    record["empty"] = {"a": 3}
    (tokens / RECORD).write_text(json.dumps(record))
    use(tokens)
    assert layout_stats(tokens, "packed", 64).left_out["without a word"] == 3


def test_a_count_of_an_earlier_version_that_is_none_is_refused(tokens: Path) -> None:
    record = json.loads((tokens / RECORD).read_text()) | {"empty": {"a": "three"}}
    (tokens / RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match="empty"):
        read_record(tokens)


@pytest.mark.parametrize("prefix", ["/etc/passwd", "../train/a", "train/../../x", "", ".", "a\0b"])
def test_a_prefix_that_leads_out_of_the_folder_is_refused(tokens: Path, prefix: str) -> None:
    record = json.loads((tokens / RECORD).read_text())
    next(iter(record["splits"]["train"].values()))["prefix"] = prefix
    (tokens / RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match="outside the folder"):
        read_record(tokens)


def prefix_of(tokens: Path) -> Path:
    return tokens / next(iter(read_record(tokens).splits["train"].values())).prefix


def test_fuzz_index(fuzz: Fuzz, tokens: Path) -> None:
    fuzz(idx_path(prefix_of(tokens)), lambda: use(tokens))


def test_fuzz_ids(fuzz: Fuzz, tokens: Path) -> None:
    fuzz(bin_path(prefix_of(tokens)), lambda: use(tokens))


@pytest.mark.parametrize("documents", [0, 2, 4, 2**40, 2**63])
def test_an_index_whose_length_lies_is_not_believed(tmp_path: Path, documents: int) -> None:
    """No more is read than the file holds: 2**40 documents would be 4 TB."""
    ids = np.arange(9, dtype="<i4")
    ids.tofile(tmp_path / "ids")
    write_indexed(tmp_path / "a", [(tmp_path / "ids", np.array([5, 1, 3], np.int32))])
    path = idx_path(tmp_path / "a")
    data = path.read_bytes()
    path.write_bytes(HEADER.pack(*HEADER.unpack(data[: HEADER.size])[:3], documents, 4) + data[HEADER.size :])
    with pytest.raises(UserError, match="not a complete index"):
        read_lengths(tmp_path / "a")
