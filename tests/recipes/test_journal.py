"""The journal: what counts of runs that were interrupted, and goodput."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdapt.recipes.journal import Goodput, Journal, kept, metrics, read, spent


def step(number: int, time: float, **values: Any) -> dict[str, Any]:
    row = {"event": "step", "start": 0, "step": number, "time": time, "seconds": 10.0, "data_wait": 1.0}
    return row | {"skipped": False, "loss": float(number), "sources": {}} | values


def start(after: int, time: float) -> dict[str, Any]:
    return {"event": "start", "start": 0, "step": after, "time": time}


INTERRUPTED = [
    start(0, 100),
    *(step(number, 100 + 10 * number) for number in (1, 2, 3)),
    start(2, 200),  # the checkpoint of step 2 was the last one
    step(3, 220, loss=30.0),
    step(4, 230, skipped=True),
    {"event": "validation", "start": 1, "step": 4, "time": 231, "loss": 0.5, "seconds": 1, "sources": {}},
]


def test_the_journal_is_strict_json_whatever_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    sources = {"a": {"loss": float("nan"), "tokens": 3}}
    journal.write("step", loss=float("inf"), rates=[1.5, float("-inf")], sources=sources, reason="loss nan")
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()

    def refuse(name: str) -> None:
        raise ValueError(name)

    row = json.loads(line, parse_constant=refuse)
    assert (row["loss"], row["rates"], row["reason"]) == (None, [1.5, None], "loss nan")
    assert row["sources"] == {"a": {"loss": None, "tokens": 3}}


def test_a_step_that_was_done_again_counts_once() -> None:
    assert {number: row["loss"] for number, row in kept(INTERRUPTED, "step").items()} == {1: 1, 2: 2, 3: 30, 4: 4}
    assert list(kept(INTERRUPTED[:4], "step", last=2)) == [1, 2]


def test_a_step_after_the_one_that_a_restart_goes_on_from_does_not_count() -> None:
    assert list(kept([*INTERRUPTED[:4], start(1, 200)], "step")) == [1]


def test_goodput_is_productive_time_over_wall_time_since_the_first_start() -> None:
    taken_up = Goodput(INTERRUPTED[:4], step=2, now=200)
    assert taken_up.add(step(3, 220)) == pytest.approx((9 + 9 + 9) / (220 - 100))
    assert taken_up.add(step(4, 230, skipped=True)) == pytest.approx(27 / 130)
    assert Goodput([], step=0, now=50).add(step(1, 60)) == pytest.approx(9 / 10)


def test_what_a_run_took_counts_each_start_and_no_queue() -> None:
    rows = [{**row, "tokens": 7, "joules": 3.6, "ranks": 4} for row in INTERRUPTED]
    for row in rows[4:]:
        row |= {"start": 1, "ranks": 2}
    found = spent(rows)
    assert found is not None
    assert (found.steps, found.tokens) == (4, 28)
    # 30 s of the first start, 31 of the second; the 70 s between them were spent waiting, by nobody.
    assert found.hours == pytest.approx(61 / 3600)
    assert found.rank_hours == pytest.approx((30 * 4 + 31 * 2) / 3600)
    assert found.goodput == pytest.approx(27 / 131)
    assert found.joules == pytest.approx(5 * 3.6)  # step 3 was done twice, and paid for twice
    rows[1]["joules"] = None
    assert spent(rows) == replace(found, joules=None)
    assert spent([start(0, 100)]) is None


def test_metrics_are_one_row_a_step_and_kind() -> None:
    rows = metrics(INTERRUPTED, slots_a_step=100)
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 4]
    assert rows[2] == {"iteration": 3, "slots": 300, "loss": 30.0, "sources": {}}
    assert rows[-1] == {"iteration": 4, "slots": 400, "valid_loss": 0.5, "sources": {}}


def test_a_torn_line_is_left_out_and_the_next_start_goes_on_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    first = Journal(path)
    first.write("start", step=0)
    with path.open("a") as file:
        file.write('{"event": "step", "st')
    second = Journal(path)
    second.write("start", step=0)
    assert (first.start, second.start) == (0, 1)
    assert [row["event"] for row in read(path)] == ["start", "start"]
    assert [row["start"] for row in read(path)] == [0, 1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(path.read_text().splitlines()[1])
