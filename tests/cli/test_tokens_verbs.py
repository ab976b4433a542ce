"""`pdapt tokens` and `pdapt bench tokens`: what they print is what is in the files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import pdapt, pdapt_json
from megatron.core.datasets.indexed_dataset import IndexedDataset

from pdapt.cli.tokens import _print_sequence
from pdapt.core.errors import UserError
from pdapt.data_prep.tokens.layouts import figures
from pdapt.data_prep.tokens.tokenizer import load_tokenizer
from pdapt.launch.show_sequence import DecodedSequence, Piece

SEQ = 32


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    rows = [{"text": f"Le patient {n} reçoit {n} mg de paracétamol. " * (1 + n % 5)} for n in range(120)]
    (folder / "notes.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "more.parquet")
    return folder


@pytest.fixture(scope="module")
def built(notes: Path, tokenizer_folder: Path) -> tuple[Path, dict[str, Any]]:
    options = ["--tokenizer", tokenizer_folder, "--layout", "paper", "--seq-length", SEQ]
    out = notes / "tokens"
    return out, pdapt_json("tokens", "build", notes / "notes.jsonl", notes / "more.parquet", "--out", out, *options)


def test_build_names_every_prefix_and_counts_what_is_there(built: tuple[Path, dict[str, Any]]) -> None:
    out, found = built
    assert {row["prefix"] for row in found["datasets"]} == {
        str(path.with_suffix("")) for folder in ("train", "valid") for path in (out / folder).glob("*.bin")
    }
    sums: dict[str, int] = dict.fromkeys(("documents", "tokens", "sequences", "slots", "real_tokens"), 0)
    for row in found["datasets"]:
        dataset = IndexedDataset(row["prefix"])  # its lengths are a view of a map that ends with it
        lengths = np.array(dataset.sequence_lengths)
        layout = figures("paper", lengths, SEQ)
        counted = {"documents": len(lengths), "tokens": int(lengths.sum()), "sequences": layout.sequences}
        counted |= {"slots": layout.slots, "real_tokens": layout.real_tokens}
        assert {name: row[name] for name in sums} == counted
        assert row["fill"] == row["real_tokens"] / row["slots"]
        sums = {name: sums[name] + counted[name] for name in sums}
    assert {name: found[name] for name in sums} == sums
    assert found["fill"] == sums["real_tokens"] / sums["slots"]
    assert found["seconds"] > 0
    assert found["manifest"]["outputs"]["train/notes.bin"]


def test_another_layout_needs_no_other_files(
    built: tuple[Path, dict[str, Any]], notes: Path, tokenizer_folder: Path
) -> None:
    out, _ = built
    made = (out / "train" / "notes.bin").stat().st_mtime_ns
    options = ["--tokenizer", tokenizer_folder, "--layout", "packed", "--seq-length", 2 * SEQ]
    found = pdapt_json("tokens", "build", notes / "notes.jsonl", notes / "more.parquet", "--out", out, *options)
    assert (found["layout"], found["slots"] % (2 * SEQ)) == ("packed", 0)
    assert (out / "train" / "notes.bin").stat().st_mtime_ns == made


def test_stats_say_how_often_a_run_reads_the_training_documents(built: tuple[Path, dict[str, Any]]) -> None:
    out, before = built
    options = ["--layout", "paper", "--seq-length", SEQ, "--batch", 8, "--steps", 100]
    found = pdapt_json("tokens", "stats", out, *options)
    assert found["datasets"] == before["datasets"]
    assert found["left_out"] == before["left_out"]
    assert found["left_out"]["copies of training texts"] > 100
    assert found["epochs"] == 800 / found["splits"]["train"]["sequences"]
    words = {row["name"]: row["words"] for row in found["datasets"] if row["split"] == "train"}
    assert words["notes"] > 0
    shown = pdapt("tokens", "stats", out, *options)
    epochs = f"{found['epochs']:.2f}"
    assert f"100 steps read the training documents {epochs} times, at 8 sequences a step" in shown
    assert "train/notes" in shown
    assert "documents left out: copies of training texts 1" in shown


@pytest.mark.parametrize("layout", ["packed", "concat", "paper"])
def test_show_decodes_what_the_model_sees(
    built: tuple[Path, dict[str, Any]], tokenizer_folder: Path, layout: str
) -> None:
    out, _ = built
    as_json = pdapt("tokens", "show", out, 3, "--layout", layout, "--seq-length", SEQ, "--json")
    assert "reçoit" in as_json, "letters are not escaped"
    found = json.loads(as_json)
    decode = load_tokenizer(tokenizer_folder).tokenizer.decode
    assert found["dataset"] in ("notes", "more")
    assert [piece["start"] for piece in found["pieces"][1:]] == [piece["stop"] for piece in found["pieces"][:-1]]
    assert found["pieces"][-1]["stop"] == SEQ == len(found["tokens"])
    for piece in found["pieces"]:
        ids = found["tokens"][piece["start"] : piece["stop"]]
        assert piece["text"] == ("" if piece["padding"] else decode(ids, skip_special_tokens=False))
        counted = found["loss_mask"][piece["start"] : piece["stop"]]
        assert piece["counted_labels"] == sum(counted)
        assert len(piece["uncounted_slots"]) == len(ids) - sum(counted)
    assert found["real_tokens"] == sum(p["stop"] - p["start"] for p in found["pieces"] if not p["padding"])
    shown = pdapt("tokens", "show", out, 3, "--layout", layout, "--seq-length", SEQ)
    assert found["pieces"][0]["text"] in shown
    assert f"positions {found['pieces'][0]['positions'][0]}-" in shown


@pytest.mark.parametrize(
    ("uncounted", "said"),
    [
        ([], "5 labels count in the loss"),
        ([3], "5 labels count in the loss, not that of slot 3"),
        ([3, 5, 8, 13], "5 labels count in the loss, not that of slot 3, 5, 8, 13"),
        ([3, 5, 8, 13, 21], "5 labels count in the loss, not that of slot 3, 5, 8, 13, …"),
    ],
)
def test_show_names_the_first_slots_whose_label_does_not_count(
    uncounted: list[int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    piece = Piece(4, 32, (7, 34), "Le patient", counted_labels=5, uncounted_slots=uncounted, padding=False)
    padding = replace(piece, text="nothing", padding=True)
    sequence = DecodedSequence(
        number=2, split="valid", samples=9, layout="packed", dataset="notes", slots=40, real_tokens=28,
        counted_labels=5, pieces=[piece, padding], tokens=[], labels=[], position_ids=[], loss_mask=[],
    )  # fmt: skip
    _print_sequence(sequence)
    title, dataset, _, first, text, _, second = capsys.readouterr().out.splitlines()
    assert title == "sequence 2 of 9 (valid), layout packed"
    assert dataset == "data set notes: 28 of 40 slots hold a token"
    assert first.startswith(f"── slots 4-31, positions 7-34, {said} ─")
    assert text == "Le patient"
    assert second.startswith("── slots 4-31, positions 7-34, padding ─"), "and no text below it"


def test_show_follows_a_recipe(built: tuple[Path, dict[str, Any]]) -> None:
    out, _ = built
    blend = "data.blend=[{sources: [notes]}]"
    found = pdapt_json("tokens", "show", out, 479, "--recipe", "qwen3_tiny_cpt_2xcpu", blend, "data.seq_length=64")
    assert (found["dataset"], found["samples"], found["slots"]) == ("notes", 480, 64)
    for number, split in ((480, "train"), (16, "valid")):  # 60 steps, and 2 batches of validation, of 8
        with pytest.raises(UserError, match=f"there is no sequence {number}"):
            pdapt("tokens", "show", out, number, "--recipe", "qwen3_tiny_cpt_2xcpu", blend, "--split", split)


@pytest.mark.slow
def test_the_benchmark_finds_the_same_documents_in_every_way(notes: Path, tokenizer_folder: Path) -> None:
    ways = ["pdapt", "datasets.map", "datatrove DocumentTokenizer", "pdapt, back end hf"]
    options = [word for way in ways for word in ("--way", way)]
    found = pdapt_json("bench", "tokens", notes / "more.parquet", "--tokenizer", tokenizer_folder, *options)["ways"]
    assert [row["way"] for row in found] == ways
    assert len({(row["ids"], row["documents"]) for row in found}) == 1
    assert all(row["seconds"] > 0 and row["peak_mb"] > 0 for row in found)


@pytest.mark.slow
def test_long_texts_are_measured_on_documents_of_the_size_asked_for(tokenizer_folder: Path) -> None:
    options = ["--kind", "digits", "--kind", "one sign", "--characters", 300_000]
    found = pdapt_json("bench", "long-text", "--tokenizer", tokenizer_folder, *options)["kinds"]
    assert [(row["kind"], row["characters"]) for row in found] == [("digits", 300_000), ("one sign", 300_000)]
    assert found[0]["ids"] > 300_000  # each digit is a token of its own
    assert all(row["ids"] > 0 and row["seconds"] > 0 and row["peak_mb"] > 0 for row in found)


def test_a_kind_of_long_text_that_there_is_not_is_refused(tokenizer_folder: Path) -> None:
    with pytest.raises(UserError, match="no kind is called 'digit'"):
        pdapt("bench", "long-text", "--tokenizer", tokenizer_folder, "--kind", "digit")
