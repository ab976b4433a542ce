"""Rows of the journal: one for each event, read by whoever follows the run."""

import math
from pathlib import Path
from typing import Any

import pytest
from step_results import result

from pdapt.core.flops import flops_per_step, mfu
from pdapt.recipes.load import load
from pdapt.recipes.schema import shape_of
from pdapt.training.run.events import Save, ValidationResult, Verdict
from pdapt.training.run.journal import Goodput, Journal, read, read_history
from pdapt.training.run.listeners.journal_rows import JournalRows, StepWork
from pdapt.training.run.sums import DataSets, DataSums

NAMES = DataSets(training=["soins", "ville"], validation=["soins"])


class Reader:
    """Keeps the rows that it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, Any], int, str]] = []

    def log(self, row: dict[str, Any], step: int, kind: str) -> None:
        self.rows.append((row, step, kind))


def listener(recipe_file: Path, out: Path, *readers: Reader, gpu: bool = False, masked: bool = True) -> JournalRows:
    recipe = load(str(recipe_file), [] if masked else ["data.layout=concat", "data.document_mask=false"])
    goodput = Goodput(read_history(out / "log.jsonl"), 0, now=0.0)
    return JournalRows(Journal(out / "log.jsonl"), goodput, StepWork(recipe, 2, gpu), NAMES, readers)


def test_a_step_is_written_with_its_speeds_and_its_slowest_rank(recipe_file: Path, tmp_path: Path) -> None:
    reader = Reader()
    listener(recipe_file, tmp_path, reader).step_ended(result(step=4))
    (row,) = read(tmp_path / "log.jsonl")
    slots = 8 * 128
    flops = flops_per_step(shape_of(load(str(recipe_file))), slots, 5000.0)
    assert {name: row[name] for name in row.keys() - {"time", "goodput"}} == {
        "event": "step",
        "start": 0,
        "step": 4,
        "loss": 2.0,
        "grad_norm": 1.0,
        "learning_rate": 1e-3,
        "skipped": False,
        "seconds": 2.0,
        "data_wait": 0.5,
        "tokens": 400,
        "slots": slots,
        "tokens_per_second": 200.0,
        "slots_per_second": slots / 2,
        "tflops_per_rank": pytest.approx(flops / 2 / 2 / 1e12),
        "mfu": None,
        "joules": None,
        "sources": {"soins": {"loss": 2.0, "tokens": 300}, "ville": {"loss": 4.0, "tokens": 100}},
        "slowest_rank": 1,
        "slowest_ratio": 1.2,
    }
    assert row["goodput"] == pytest.approx(1.5 / row["time"], rel=1e-3), "of all time since the first start"
    ((read_row, step, kind),) = reader.rows
    assert (read_row["loss"], step, kind) == (2.0, 4, "train")
    assert math.isnan(read_row["joules"])


def test_gpus_have_a_share_of_their_peak(recipe_file: Path, tmp_path: Path) -> None:
    listener(recipe_file, tmp_path, gpu=True).step_ended(result())
    (row,) = read(tmp_path / "log.jsonl")
    flops = flops_per_step(shape_of(load(str(recipe_file))), 8 * 128, 5000.0)
    assert row["mfu"] == pytest.approx(mfu(flops, 2.0, 2))


def test_a_validation_is_written_with_its_mean_unless_nothing_counted(recipe_file: Path, tmp_path: Path) -> None:
    reader = Reader()
    rows = listener(recipe_file, tmp_path, reader)
    rows.validated(ValidationResult(5, 1.5, DataSums([30.0], [10.0], 0.0)))
    rows.validated(ValidationResult(6, 1.5, DataSums([0.0], [0.0], 0.0)))
    (row,) = read(tmp_path / "log.jsonl")
    assert (row["event"], row["step"], row["loss"], row["seconds"]) == ("validation", 5, 3.0, 1.5)
    assert row["sources"] == {"soins": {"loss": 3.0, "tokens": 10}}
    assert [(step, kind) for _, step, kind in reader.rows] == [(5, "valid")]


def test_saves_and_verdicts_are_written_and_no_tracker_reads_them(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = Reader()
    rows = listener(recipe_file, tmp_path, reader)
    rows.saved(Save(6, asynchronous=True, stall_seconds=0.25, seconds=3.0))
    rows.gradient_judged(7, Verdict("skip", "loss nan"))
    save, guard = ({name: row[name] for name in row.keys() - {"time", "start"}} for row in read(tmp_path / "log.jsonl"))
    assert save == {"event": "save", "step": 6, "asynchronous": True, "stall_seconds": 0.25, "seconds": 3.0}
    assert guard == {"event": "guard", "step": 7, "action": "skip", "reason": "loss nan"}
    assert capsys.readouterr().out == "guard: step 7: loss nan: skip\n"
    assert reader.rows == []
