"""The tokens stage: what Megatron reads is what the corpus says, and no text is on both sides."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDataset

from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents import read_documents
from pdapt.data_prep.tokenizer import load_tokenizer
from pdapt.data_prep.tokens import build_tokens

SHARED_TEXT = "Ce texte est dans les deux sources, <|im_end|> compris."


def make_corpus(folder: Path, sources: dict[str, list[str]]) -> Path:
    paths = []
    for name, texts in sources.items():
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    build_corpus(discover([str(path) for path in paths]), folder / "corpus")
    return folder / "corpus"


def patients(name: str, count: int) -> list[str]:
    return [f"{name} : le patient {n} reçoit {n * 5} mg <|endoftext|> par jour." for n in range(count)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    repeated = [*patients("alpha", 50)] * 2
    return make_corpus(
        tmp_path, {"alpha": [*repeated, SHARED_TEXT], "beta": [SHARED_TEXT, *patients("beta", 30)], "solo": ["Seul."]}
    )


def texts_of(prefix: Path, tokenizer_folder: Path) -> list[str]:
    """The documents of a data set, as Megatron reads them and the tokenizer decodes them."""
    vocabulary = load_tokenizer(tokenizer_folder)
    dataset = IndexedDataset(str(prefix))
    documents = [np.array(dataset.get(i)).tolist() for i in range(len(dataset))]
    assert all(ids.index(vocabulary.eod_id) == len(ids) - 1 for ids in documents)
    return [vocabulary.tokenizer.decode(ids[:-1]) for ids in documents]


def test_megatron_reads_the_corpus(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    out = tmp_path / "tokens"
    build_tokens(corpus, tokenizer_folder, out, valid_fraction=0.2, vocab_size=1024)
    train, valid = (
        {source: texts_of(out / entry["prefix"], tokenizer_folder) for source, entry in sides.items()}
        for sides in (json.loads((out / "tokens.json").read_text())["splits"][side] for side in ("train", "valid"))
    )
    assert set(train) == {"alpha", "beta", "solo"}
    assert set(valid) == {"alpha", "beta"}
    trained, held = ([text for texts in side.values() for text in texts] for side in (train, valid))
    assert not set(trained) & set(held)
    assert len(held) == len(set(held))
    for source in train:
        path = corpus / "documents" / f"{source}.parquet"
        given = [text for (text,) in read_documents(path, ("text",))]
        assert train[source] == [text for text in given if text not in held]
        heldout = out / "heldout" / f"{source}.jsonl"
        rows = [json.loads(line) for line in heldout.read_text().splitlines()] if source in valid else []
        assert [row["text"] for row in rows] == valid.get(source, [])
        assert all(row["doc_id"].startswith(f"{source}/") and row["source"] == source for row in rows)


def test_what_is_counted(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    out = tmp_path / "tokens"
    manifest = build_tokens(corpus, tokenizer_folder, out, valid_fraction=0.2)
    record = json.loads((out / "tokens.json").read_text())
    vocabulary = load_tokenizer(tokenizer_folder)
    assert record["totals"] == manifest.counts["totals"]
    total = sum(side["documents"] for side in record["totals"].values()) + sum(record["dropped_duplicates"].values())
    assert total == 101 + 31 + 1
    assert record["dropped_duplicates"]["alpha"] >= 10
    for entry in (entry for sources in record["splits"].values() for entry in sources.values()):
        dataset = IndexedDataset(str(out / entry["prefix"]))
        assert (entry["documents"], entry["tokens"]) == (len(dataset), int(dataset.sequence_lengths.sum()))
    assert (record["eod_id"], record["vocabulary_size"]) == (vocabulary.eod_id, vocabulary.size)
    assert record["dtype"] == "int32"
    assert record["tokenizer_sha256"] == sha256(tokenizer_folder / "tokenizer.json")
    for file in vocabulary.files:
        assert (out / "tokenizer" / file.name).read_bytes() == file.read_bytes()


def test_the_seed_decides_the_draw(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    outputs = [
        build_tokens(corpus, tokenizer_folder, tmp_path / f"tokens-{name}", seed=seed).outputs
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert outputs[0] == outputs[1] != outputs[2]


def test_what_cannot_be_tokenized(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(UserError, match="no documents in"):
        build_tokens(tmp_path, tokenizer_folder, tmp_path / "tokens")
    with pytest.raises(UserError, match="1 is no fraction"):
        build_tokens(corpus, tokenizer_folder, tmp_path / "tokens", valid_fraction=1)
    with pytest.raises(UserError, match="the model's vocabulary has 300 rows"):
        build_tokens(corpus, tokenizer_folder, tmp_path / "tokens", vocab_size=300)
    assert not (tmp_path / "tokens").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, tokenizer_folder: Path) -> None:
    corpus = make_corpus(tmp_path, {"a": patients("a", 500), "b": patients("b", 120_000), "c": patients("c", 500)})
    code = "import sys; from pathlib import Path; from pdapt.data_prep.tokens import build_tokens; "
    code += "build_tokens(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))"

    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, str(corpus), str(tokenizer_folder), str(out)])

    assert start(tmp_path / "whole").wait(timeout=120) == 0
    killed, work = start(tmp_path / "tokens"), tmp_path / ".tokens.partial"
    half = work / "train" / ".b.bin.partial"
    deadline = time.monotonic() + 120
    while not (half.exists() and half.stat().st_size > 100_000):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.002)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = work / "train" / "a.idx"
    made = finished.stat().st_mtime_ns
    assert half.exists()
    assert not (work / "train" / "c.idx").exists()
    assert not (tmp_path / "tokens").exists()

    assert start(tmp_path / "tokens").wait(timeout=120) == 0
    assert (tmp_path / "tokens" / "train" / "a.idx").stat().st_mtime_ns == made
    whole, resumed = (Manifest.read(tmp_path / name) for name in ("whole", "tokens"))
    assert (resumed.outputs, resumed.counts) == (whole.outputs, whole.counts)
    names = [sorted(str(p.relative_to(tmp_path / f)) for p in (tmp_path / f).rglob("*")) for f in ("whole", "tokens")]
    assert names[0] == names[1]
