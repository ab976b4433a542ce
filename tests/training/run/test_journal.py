"""The journal: what counts of runs that were interrupted, and goodput."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.remarks.remark import Remark, RemarkKind
from pdapt.training.run.journal import (
    Event,
    Goodput,
    History,
    Journal,
    Row,
    kept,
    metrics,
    missing_steps,
    ranges,
    read,
    read_history,
    read_steps,
    spent,
)


def step(number: int, time: float, **values: Any) -> dict[str, Any]:
    row = {"event": "step", "start": 0, "step": number, "time": time, "seconds": 10.0, "data_wait": 1.0, "tokens": 7}
    return row | {"skipped": False, "loss": float(number), "sources": {}} | values


def start(after: int, time: float) -> dict[str, Any]:
    return {"event": "start", "start": 0, "step": after, "time": time, "ranks": 2}


def whole(rows: list[Row]) -> History:
    return History(Path("log.jsonl"), rows, [], [])


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
    journal.write(Event.STEP, loss=float("inf"), rates=[1.5, float("-inf")], sources=sources, reason="loss nan")
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()

    def refuse(name: str) -> None:
        raise ValueError(name)

    row = json.loads(line, parse_constant=refuse)
    assert (row["loss"], row["rates"], row["reason"]) == (None, [1.5, None], "loss nan")
    assert row["sources"] == {"a": {"loss": None, "tokens": 3}}


def test_a_step_that_was_done_again_counts_once() -> None:
    assert {number: row["loss"] for number, row in kept(INTERRUPTED, Event.STEP).items()} == {1: 1, 2: 2, 3: 30, 4: 4}
    assert list(kept(INTERRUPTED[:4], Event.STEP, last=2)) == [1, 2]


def test_a_step_after_the_one_that_a_restart_goes_on_from_does_not_count() -> None:
    assert list(kept([*INTERRUPTED[:4], start(1, 200)], Event.STEP)) == [1]


def test_goodput_is_productive_time_over_wall_time_since_the_first_start() -> None:
    taken_up = Goodput(whole(INTERRUPTED[:4]), step=2, now=200)
    assert taken_up.add(step(3, 220)) == pytest.approx((9 + 9 + 9) / (220 - 100))
    assert taken_up.add(step(4, 230, skipped=True)) == pytest.approx(27 / 130)
    assert Goodput(whole([]), step=0, now=50).add(step(1, 60)) == pytest.approx(9 / 10)


def test_what_a_run_took_counts_each_start_and_no_queue() -> None:
    rows = [{**row, "tokens": 7, "joules": 3.6, "ranks": 4} for row in INTERRUPTED]
    for row in rows[4:]:
        row |= {"start": 1, "ranks": 2}
    found = spent(whole(rows))
    assert found is not None
    assert (found.steps, found.tokens) == (4, 28)
    # 30 s of the first start, 31 of the second; the 70 s between them were spent waiting, by nobody.
    assert found.hours == pytest.approx(61 / 3600)
    assert found.rank_hours == pytest.approx((30 * 4 + 31 * 2) / 3600)
    assert found.goodput == pytest.approx(27 / 131)
    assert found.joules == pytest.approx(5 * 3.6)  # step 3 was done twice, and paid for twice
    rows[1]["joules"] = None
    assert spent(whole(rows)) == replace(found, joules=None)
    assert spent(whole([start(0, 100)])) is None


def test_metrics_are_one_row_a_step_and_kind() -> None:
    rows = metrics(INTERRUPTED, slots_a_step=100)
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 4]
    assert rows[2] == {"iteration": 3, "slots": 300, "loss": 30.0, "sources": {}}
    assert rows[-1] == {"iteration": 4, "slots": 400, "valid_loss": 0.5, "sources": {}}


def test_a_torn_line_is_left_out_and_the_next_start_goes_on_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    first = Journal(path)
    first.write(Event.START, step=0, ranks=2)
    with path.open("a") as file:
        file.write('{"event": "step", "st')
    second = Journal(path)
    second.write(Event.START, step=0, ranks=2)
    assert (first.start, second.start) == (0, 1)
    assert [row["event"] for row in read(path)] == ["start", "start"]
    assert [row["start"] for row in read(path)] == [0, 1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(path.read_text().splitlines()[1])


# Damage.


def lines(*rows: Row) -> list[str]:
    return [json.dumps(row) + "\n" for row in rows]


TEN = [start(0, 100), *(step(number, 100 + 10 * number, joules=1.0) for number in range(1, 11))]


@pytest.mark.parametrize(
    ("damaged", "kind"),
    [
        ("{'not': json}\n", RemarkKind.LINE_NOT_JSON),
        ("\0\0\0\0\n", RemarkKind.LINE_NOT_JSON),
        (
            json.dumps({name: value for name, value in TEN[5].items() if name != "seconds"}) + "\n",
            RemarkKind.LINE_VALUES,
        ),
        (json.dumps(TEN[5] | {"tokens": "7"}) + "\n", RemarkKind.LINE_VALUES),
        (json.dumps(TEN[5] | {"skipped": 0}) + "\n", RemarkKind.LINE_VALUES),
        ("x" * (64 * 2**20 + 5) + "\n", RemarkKind.LINE_TOO_LONG),
    ],
    ids=["no JSON", "zeros", "no seconds", "a text", "no flag", "too long"],
)
def test_a_damaged_line_is_said_kept_and_its_time_unknown(
    damaged: str, kind: RemarkKind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join([*lines(*TEN[:5]), damaged, *lines(*TEN[6:])]))
    history = read_history(path)
    assert len(history.rows) == 10, "what follows is read"
    history.say()
    said = capsys.readouterr().err
    assert f"left out lines that cannot be read: 1 of 11 lines of {path}; the first: {path}:6: " in said
    assert "has lost steps: 5; their time counts as unknown" in said
    line, steps = history.faults()
    assert line == Remark(kind, {"file": "log.jsonl", "line": 6})
    assert steps == Remark(RemarkKind.LOST_STEPS, {"file": "log.jsonl", "steps": "5"})
    found = spent(history)
    assert found is not None
    assert found.record_faults == (line, steps)
    assert (found.steps, found.tokens, found.lost) == (9, 63, 1)
    assert found.goodput == pytest.approx(9 * 9 / 100)
    assert found.unknown == pytest.approx(10 / 100)
    before = path.read_bytes()
    Journal(path).write(Event.END, step=10)
    assert path.read_bytes().startswith(before)


def test_a_page_names_twenty_damaged_lines_and_counts_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join([*lines(*TEN), *("{\n" for _ in range(23))]))
    faults = read_history(path).faults()
    assert [fault.values["line"] for fault in faults[:-1]] == list(range(12, 32))
    assert faults[-1] == Remark(RemarkKind.MORE_LINES, {"file": "log.jsonl", "count": 3})


def test_rows_that_are_gone_without_a_trace_are_noticed() -> None:
    history = whole([*TEN[:4], *TEN[7:]])
    assert ranges(missing_steps(history.rows)) == "4-6"
    found = spent(history)
    assert found is not None
    assert (found.lost, found.unknown) == (3, pytest.approx(30 / 100))


def test_the_number_of_a_step_may_be_anything(tmp_path: Path) -> None:
    """A damaged digit asks for no memory, and is said."""
    far = TEN[10] | {"step": 10**15}
    history = whole([*TEN[:4], *TEN[7:10], far])
    assert missing_steps(history.rows) == [(4, 6), (10, 10**15 - 1)]
    steps: dict[str, str | int | float] = {"file": history.path.name, "steps": "4-6, 10-999999999999999"}
    assert history.faults() == [Remark(RemarkKind.LOST_STEPS, steps)]
    found = spent(history)
    assert found is not None
    assert found.lost == 3 + 10**15 - 10
    assert found.unknown == pytest.approx((30 + 0) / 100)


def test_a_batch_that_the_guard_left_out_is_not_lost() -> None:
    gone_back = {"event": "guard", "start": 0, "step": 4, "time": 141, "action": "rewind"}
    again = [{**row, "start": 1, "time": row["time"] + 60} for row in [start(3, 100), *TEN[5:]]]
    found = spent(whole([*TEN[:4], gone_back, *again]))
    assert found is not None
    assert (found.lost, found.unknown) == (0, 0)


def test_a_line_that_a_kill_tore_costs_no_queue(tmp_path: Path) -> None:
    """The steps of the lost rows are done again, and the hours until the next start are accounted for."""
    again = [{**row, "start": 1, "time": row["time"] + 9000} for row in [start(4, 100), *TEN[5:]]]
    (tmp_path / "log.jsonl").write_text("".join([*lines(*TEN[:5]), '{"event": "st\n', *lines(*again)]))
    found = spent(read_history(tmp_path / "log.jsonl"))
    assert found is not None
    assert (found.lost, found.unknown) == (0, 0)


def test_where_the_row_of_a_start_is_lost_its_ranks_are_unknown() -> None:
    again = [{**row, "start": 1, "time": row["time"] + 200} for row in TEN[3:]]
    rows = [*TEN[:5], *again]  # went on from step 2
    assert list(kept(rows[:6], Event.STEP)) == [1, 2, 3]
    found = spent(whole(rows))
    assert found is not None
    assert found.rank_hours is None
    assert found.hours == pytest.approx((40 + 70) / 3600)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "the file is missing"),
        ("", ""),
        ("".join(lines(TEN[0])), ""),
        ("rubbish\n", "log.jsonl:1: not valid JSON"),
    ],
)
def test_a_journal_without_a_step_is_refused_with_the_reason(text: str | None, why: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(UserError, match=f"is not a training run that has begun.*{why}"):
        read_steps(tmp_path / "log.jsonl")
