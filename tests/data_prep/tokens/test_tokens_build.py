"""The tokens stage: what Megatron reads is what the documents say, and no text is on both sides."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDataset

from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents.store import read_documents
from pdapt.data_prep.tokens import shard_tokens
from pdapt.data_prep.tokens.build import Options, build_tokens, training_texts
from pdapt.data_prep.tokens.encoders import FAST, HF
from pdapt.data_prep.tokens.tokenizer import load_tokenizer
from pdapt.data_prep.tokens.tokens_record import read_record

SHARED_TEXT = "Ce texte est dans les deux sources, <|im_end|> compris."


def write_jsonl(path: Path, texts: list[str], **stated: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text, **stated}) + "\n" for text in texts))
    return path


def write_gzip(path: Path, texts: list[str]) -> Path:
    whole = write_jsonl(path.with_suffix(""), texts)
    path.write_bytes(gzip.compress(whole.read_bytes()))
    whole.unlink()
    return path


def write_parquet(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=17)
    return path


def make_corpus(folder: Path, sources: dict[str, list[str]]) -> Path:
    paths = [write_jsonl(folder / f"{name}.jsonl", texts) for name, texts in sources.items()]
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


def sides_of(out: Path, tokenizer_folder: Path) -> list[dict[str, list[str]]]:
    """Data set -> texts, of training and of validation."""
    splits = json.loads((out / "tokens.json").read_text())["splits"]
    return [
        {name: texts_of(out / entry["prefix"], tokenizer_folder) for name, entry in splits[side].items()}
        for side in ("train", "valid")
    ]


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_megatron_reads_the_corpus(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    out = tmp_path / "tokens"
    build_tokens([str(corpus)], tokenizer_folder, out, Options(valid_fraction=0.2), vocab_size=1024)
    train, valid = sides_of(out, tokenizer_folder)
    assert set(train) == {"alpha", "beta", "solo"}
    assert set(valid) == {"alpha", "beta"}
    trained, held = ([text for texts in side.values() for text in texts] for side in (train, valid))
    assert not set(trained) & set(held)
    assert len(held) == len(set(held))
    for source in train:
        path = corpus / "documents" / f"{source}.parquet"
        given = [text for (text,) in read_documents(path, ("text",))]
        first = list(dict.fromkeys(text for text in given if text not in held))
        assert train[source] == [text for text in first if source == "alpha" or text != SHARED_TEXT]
        heldout = out / "heldout" / f"{source}.jsonl"
        rows = rows_of(heldout) if source in valid else []
        assert heldout.exists() == (source in valid)
        assert [row["text"] for row in rows] == valid.get(source, [])
        ids = dict(read_documents(path, ("doc_id", "text")))
        assert all(ids[row["doc_id"]] == row["text"] and row["source"] == source for row in rows)


def test_a_long_held_out_text_is_written_whole(
    tmp_path: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_tokens, "TEXT_BYTES", 5)
    odd = '« 5 µg » "par jour"\n\t\\ 🙂🙂 日本語 \x7f\u2028'
    texts = [f"{odd}{number}" for number in range(8)]
    path, out = write_jsonl(tmp_path / "a.jsonl", texts), tmp_path / "tokens"
    build_tokens([str(path)], tokenizer_folder, out, Options(valid_fraction=0.5))
    held = [row["text"] for row in rows_of(out / "heldout" / "a.jsonl")]
    assert len(held) == 4
    assert set(held) <= set(texts)


def test_documents_tokens_and_duplicates_are_counted_as_they_are_in_the_files(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path
) -> None:
    out = tmp_path / "tokens"
    manifest = build_tokens([str(corpus)], tokenizer_folder, out, Options(valid_fraction=0.2))
    record = json.loads((out / "tokens.json").read_text())
    vocabulary = load_tokenizer(tokenizer_folder)
    assert record["totals"] == manifest.counts["totals"]
    total = sum(side["documents"] for side in record["totals"].values())
    assert total == 50 + 30 + 1 + 1
    copies = {name: sum(record[name].values()) for name in ("dropped_duplicates", "training_duplicates")}
    assert total + sum(copies.values()) == 101 + 31 + 1
    assert record["dropped_duplicates"]["alpha"] >= 10
    assert record["training_duplicates"]["alpha"] >= 35
    for entry in (entry for sources in record["splits"].values() for entry in sources.values()):
        dataset = IndexedDataset(str(out / entry["prefix"]))
        assert (entry["documents"], entry["tokens"]) == (len(dataset), int(dataset.sequence_lengths.sum()))
        texts = texts_of(out / entry["prefix"], tokenizer_folder)
        assert entry["words"] == sum(len(text.split()) for text in texts)
    assert (record["eod_id"], record["vocabulary_size"]) == (vocabulary.eod_id, vocabulary.size)
    assert record["dtype"] == "int32"
    assert record["tokenizer_sha256"] == sha256(tokenizer_folder / "tokenizer.json")
    for file in vocabulary.files:
        assert (out / "tokenizer" / file.name).read_bytes() == file.read_bytes()


def test_the_seed_decides_the_draw(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    outputs = [
        build_tokens([str(corpus)], tokenizer_folder, tmp_path / f"tokens-{name}", Options(seed=seed)).outputs
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert outputs[0] == outputs[1] != outputs[2]


def test_inputs_without_text_and_vocabularies_too_small_are_refused(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path
) -> None:
    out = tmp_path / "tokens"
    (tmp_path / "in" / "documents").mkdir(parents=True)
    with pytest.raises(UserError, match="the folder holds no documents"):
        build_tokens([str(tmp_path / "in")], tokenizer_folder, out)
    with pytest.raises(UserError, match="1 is not a fraction"):
        Options(valid_fraction=1)
    with pytest.raises(UserError, match="the model's vocabulary has 300 rows"):
        build_tokens([str(corpus)], tokenizer_folder, out, vocab_size=300)
    for texts, message in ([], "the inputs hold no document with text"), (["", ""], "2 of 2 documents cannot be read"):
        path = write_jsonl(tmp_path / "a.jsonl", texts)
        path.write_text(path.read_text() + "\n")
        with pytest.raises(UserError, match=message):
            build_tokens([str(path)], tokenizer_folder, out)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", [FAST, HF])
def test_the_bytes_depend_on_the_documents_alone(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, backend: str
) -> None:
    # The long s takes a way of its own through the fast back end.
    raw = write_parquet(tmp_path / "raw.parquet", [f"l'\u017foir du {n}" if n % 3 else "\n" for n in range(40)])
    paths = [str(corpus), str(raw)]
    expected = build_tokens(
        paths, tokenizer_folder, tmp_path / "expected", Options(0.2, backend=FAST, max_rejected=0.1), workers=1
    )
    for workers in (1, 2, 4):
        for shard_bytes in (1, 700, 10**9):
            out = tmp_path / f"{workers}-{shard_bytes}"
            options = Options(0.2, backend=backend, max_rejected=0.1)
            found = build_tokens(paths, tokenizer_folder, out, options, workers=workers, shard_bytes=shard_bytes)
            assert found.outputs == expected.outputs
            assert all(sha256(out / name) == value for name, value in found.outputs.items())


def test_the_format_does_not_decide_the_ids(tmp_path: Path, tokenizer_folder: Path) -> None:
    texts = [*patients("a", 60), "", "NUL \0, \u2028, 🙂 et \u017f", *patients("a", 5)]
    inputs = {
        "jsonl": write_jsonl(tmp_path / "1" / "a.jsonl", texts),
        "gzip": write_gzip(tmp_path / "2" / "a.jsonl.gz", texts),
        "parquet": write_parquet(tmp_path / "3" / "a.parquet", texts),
        "folder": write_parquet(tmp_path / "4" / "a" / "one.parquet", texts[:20]).parent,
    }
    write_gzip(inputs["folder"] / "two.jsonl.gz", texts[20:])
    outputs = []
    for name, path in inputs.items():
        options = Options(max_rejected=0.1)
        manifest = build_tokens([str(path)], tokenizer_folder, tmp_path / name, options, shard_bytes=900)
        files = {
            file: value for file, value in manifest.outputs.items() if not file.startswith(("heldout", "rejected"))
        }
        outputs.append(files)
        held = [row["text"] for row in rows_of(tmp_path / name / "heldout" / "a.jsonl")]
        assert held == sides_of(tmp_path / name, tokenizer_folder)[1]["a"]
    assert outputs[0] == outputs[1] == outputs[2] == outputs[3]


def test_a_corpus_and_raw_files_go_together(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    first = write_jsonl(tmp_path / "one" / "same.jsonl", [*patients("first", 20), SHARED_TEXT])
    second = write_jsonl(tmp_path / "two" / "same.jsonl", patients("second", 20))
    paths = [str(corpus), f"first={first}", f"second={second}"]
    manifest = build_tokens(paths, tokenizer_folder, tmp_path / "tokens", Options(valid_fraction=0.1))
    assert [manifest.inputs[name] for name in ("first", "second")] == [sha256(first), sha256(second)]
    train, valid = sides_of(tmp_path / "tokens", tokenizer_folder)
    assert set(train) == {"alpha", "beta", "solo", "first", "second"}
    for name in ("first", "second"):
        both = {*train[name], *valid[name]} - {SHARED_TEXT}
        assert both == set(patients(name, 20))
    held = [text for texts in valid.values() for text in texts]
    trained = {text for texts in train.values() for text in texts}
    assert not trained & set(held)
    assert held.count(SHARED_TEXT) == (SHARED_TEXT not in trained)


def test_another_name_or_option_is_another_build(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", patients("a", 20))
    out = tmp_path / "tokens"
    build_tokens([f"one={path}"], tokenizer_folder, out)
    assert build_tokens([f"one={path}"], tokenizer_folder, out).outputs
    with pytest.raises(UserError, match="was made by another run"):
        build_tokens([f"two={path}"], tokenizer_folder, out)
    with pytest.raises(UserError, match="was made by another run: seed: 0 there, 1 now"):
        build_tokens([f"one={path}"], tokenizer_folder, out, Options(seed=1))


def test_mixed_records_go_to_their_own_data_sets(tmp_path: Path, tokenizer_folder: Path) -> None:
    rows = [
        {"text": text, "document_type": "ab"[n % 2], "source": "xyz"[n % 3]} for n, text in enumerate(patients("p", 60))
    ]
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_tokens([str(path)], tokenizer_folder, tmp_path / "tokens", Options(0.2), shard_bytes=2500)
    train, valid = sides_of(tmp_path / "tokens", tokenizer_folder)
    for name in (f"{source}.{kind}" for source in "xyz" for kind in "ab"):
        given = [row["text"] for row in rows if f"{row['source']}.{row['document_type']}" == name]
        held = valid.pop(name)
        assert len(held) == 2
        assert train.pop(name) == [text for text in given if text not in held]
        assert [row["text"] for row in rows_of(tmp_path / "tokens" / "heldout" / f"{name}.jsonl")] == held
        assert held == [text for text in given if text in held]
    assert not train
    assert not valid


def test_licences_are_in_the_record_as_documents_state_them(tmp_path: Path, tokenizer_folder: Path) -> None:
    texts = patients("p", 40)
    stated = [{"licence": "CC-BY-4.0"}, {"license": "CC0-1.0"}, {}, {"licence": None}]
    rows = [{"text": text} | stated[n % 4] for n, text in enumerate(texts)]
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = dict(zip(texts, ["CC-BY-4.0", "CC0-1.0", "etalab-2.0", "etalab-2.0"] * 10, strict=True))
    options = Options(0.2, licence="etalab-2.0")
    build_tokens([str(path)], tokenizer_folder, tmp_path / "tokens", options, shard_bytes=700)
    splits = read_record(tmp_path / "tokens").splits
    for split, texts_by_set in zip(("train", "valid"), sides_of(tmp_path / "tokens", tokenizer_folder), strict=True):
        for name, held in texts_by_set.items():
            assert splits[split][name].licences == Counter(expected[text] for text in held)


def test_no_source_writes_outside_the_folder(tmp_path: Path, tokenizer_folder: Path) -> None:
    evil = ["../../evil", "a/b", "/etc/evil", "..", "evil\0", ""]
    paths = [write_jsonl(tmp_path / "in" / f"{n}.jsonl", patients(f"{n}", 3), source=s) for n, s in enumerate(evil)]
    out = tmp_path / "out" / "tokens"
    build_tokens([str(path) for path in paths], tokenizer_folder, out)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tokens"]
    assert {path.parent for path in out.rglob("*.bin")} == {out / "train", out / "valid"}
    assert len(list((out / "train").glob("*.bin"))) == len(evil)


@pytest.mark.parametrize("near_duplicates", [False, True])
def test_a_tokenizer_trains_on_the_training_texts(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, near_duplicates: bool
) -> None:
    notes = [" ".join(f"mot{n * k % 9973}" for k in range(1, 80)) for n in range(1, 21)]
    raw = write_parquet(tmp_path / "raw.parquet", [*notes, *(f"{note} fin" for note in notes)])
    options = Options(valid_fraction=0.3, seed=3, near_duplicates=near_duplicates)
    paths = [str(corpus), str(raw)]
    build_tokens(paths, tokenizer_folder, tmp_path / "tokens", options, shard_bytes=2000)
    train, valid = sides_of(tmp_path / "tokens", tokenizer_folder)
    assert sorted(training_texts(paths, options)) == sorted(text for texts in train.values() for text in texts)
    apart = {text.removesuffix(" fin") for text in train["raw"]} & {text.removesuffix(" fin") for text in valid["raw"]}
    assert bool(apart) != near_duplicates


def test_files_of_one_name_in_a_source_have_documents_of_different_ids(tmp_path: Path, tokenizer_folder: Path) -> None:
    for folder in ("1", "2"):
        write_jsonl(tmp_path / "notes" / folder / "a.jsonl", patients(folder, 20))
    (tmp_path / "notes" / "b.jsonl").write_text('{"text": "Un document en haut."}\n')
    build_tokens([f"notes={tmp_path / 'notes'}"], tokenizer_folder, tmp_path / "tokens", Options(0.5))
    rows = [json.loads(line) for line in (tmp_path / "tokens" / "heldout" / "notes.jsonl").read_text().split("\n")[:-1]]
    ids = [row["doc_id"] for row in rows]
    assert len(set(ids)) == len(ids) == 20
    assert {doc_id.rpartition("#")[0] for doc_id in ids} <= {"notes/1/a.jsonl", "notes/2/a.jsonl", "notes/b.jsonl"}


def test_duplicates_in_training_are_kept_on_demand(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    options = Options(0.2, keep_duplicates=True)
    build_tokens([str(corpus)], tokenizer_folder, tmp_path / "tokens", options)
    train, valid = sides_of(tmp_path / "tokens", tokenizer_folder)
    held = {text for texts in valid.values() for text in texts}
    assert train["alpha"] == [text for text in [*patients("alpha", 50) * 2, SHARED_TEXT] if text not in held]


def test_publishers_test_parts_are_left_out_unless_asked_for(
    tmp_path: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in {"train": 50, "test": 20, "validation": 10}.items():
        write_jsonl(tmp_path / "qa" / f"{split}-00000-of-00001.jsonl", patients(split, count))
    build_corpus(discover([f"qa={tmp_path / 'qa'}"]), tmp_path / "corpus")
    for name, path in {"raw": f"qa={tmp_path / 'qa'}", "cleaned": str(tmp_path / "corpus")}.items():
        manifest = build_tokens([path], tokenizer_folder, tmp_path / name, Options(0.1))
        train, valid = sides_of(tmp_path / name, tokenizer_folder)
        assert {*train["qa"], *valid["qa"]} == set(patients("train", 50))
        assert manifest.counts["withheld"] == {"test": {"qa": 20}, "dev": {"qa": 10}}
        assert "left out 20 documents of publishers' test parts (qa 20)" in capsys.readouterr().err
        everything = build_tokens([path], tokenizer_folder, tmp_path / f"{name}-all", Options(0.1, splits="all"))
        assert everything.counts["totals"]["train"]["documents"] == 72
    with pytest.raises(UserError, match="all documents are of publishers' test and validation parts"):
        build_tokens([str(tmp_path / "qa" / "test-00000-of-00001.jsonl")], tokenizer_folder, tmp_path / "none")
    with pytest.raises(UserError, match="'some' is not a choice of splits"):
        Options(splits="some")


def test_too_little_to_hold_out_is_said(
    tmp_path: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", patients(name, count)) for name, count in (("a", 30), ("b", 1))]
    options = Options(domains=("a", "b"))
    build_tokens([str(path) for path in paths], tokenizer_folder, tmp_path / "tokens", options)
    said = capsys.readouterr().err
    assert "nothing can be held out of b: there are fewer than two distinct texts" in said
    assert said.index("nothing can be held out") < said.index("to do, ")
    assert "out of a" not in said


def test_many_small_folders_hold_out_what_was_asked(tmp_path: Path, tokenizer_folder: Path) -> None:
    for number in range(60):
        write_jsonl(tmp_path / "in" / f"patient{number}" / "notes.jsonl", patients(f"{number}", 2))
    manifest = build_tokens([str(tmp_path / "in")], tokenizer_folder, tmp_path / "tokens", Options(0.05))
    assert manifest.counts["totals"]["valid"]["documents"] == 6
    assert manifest.counts["totals"]["train"]["documents"] == 114


def test_what_looks_personal_and_other_languages_are_counted_by_file(
    tmp_path: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    english = "The patient was sent to the emergency department with a chest pain that had begun during the night. "
    texts = {
        "a": ["Tél. 06 12 34 56 78, jean@chu.fr, NIR 1 85 05 78 006 084 91"],
        "b": [english * 2, "RPPS 10101234567"],
    }
    for name, found in texts.items():
        write_jsonl(tmp_path / "in" / f"{name}.jsonl", [*patients(name, 20), *found])
    manifest = build_tokens([f"notes={tmp_path / 'in'}"], tokenizer_folder, tmp_path / "tokens", shard_bytes=500)
    assert manifest.counts["screened"] == {
        "email": {"notes/a.jsonl": 1},
        "telephone": {"notes/a.jsonl": 1},
        "nir": {"notes/a.jsonl": 1},
        "rpps": {"notes/b.jsonl": 1},
        "iban": {},
        "address": {},
        "other_language": {"notes/b.jsonl": 1},
        "languages": {"not told": 42, "en": 1},
    }
    assert "tokens: 1 document is not in French (en 1): notes/b.jsonl 1" in capsys.readouterr().err
