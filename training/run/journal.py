"""A run's journal: what happened at which step of which start, one JSON object per line, never rewritten.

Events, all with `event`, `time` (Unix seconds) and `start` (number of the start, from 0):

- `start`: `step` that it continues after, `ranks`, `host`;
- `step`: `step`, `seconds`, `loss` and the rest of the row that `listeners/journal_rows.py` makes;
- `validation`: `step`, `loss`, `seconds`, `sources`;
- `save`: `step`, `stall_seconds` (training stood still), `seconds` (until the checkpoint was complete), `asynchronous`;
- `guard`: `step`, `action` and `reason`;
- `straggler`: `step`, `rank`, `ratio`;
- `end`: `step`, `state`, `reason`.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.jsonio import MAX_BYTES, JsonObject, parse_json
from ...core.log import counted
from ...core.remarks.remark import Remark, RemarkKind
from ...core.training_cost import MeasuredStep, Spent
from ...recipes.schema import GuardAction

JOURNAL_FILE = "log.jsonl"
NAMED = 20
"""How many unreadable lines a page names; of further ones it states the number."""
Row = dict[str, Any]
"""An event as JSON values: its `Event`, `time`, `start`, and the event's own values."""


class Event(StrEnum):
    """The kinds of events; the top of this file says what their rows hold."""

    START = "start"
    STEP = "step"
    VALIDATION = "validation"
    SAVE = "save"
    GUARD = "guard"
    STRAGGLER = "straggler"
    END = "end"


def steps_in(rows: Iterable[Row]) -> list[MeasuredStep]:
    """List every step that was done, in the order of the journal; a repeated step is listed twice."""
    return [
        MeasuredStep(
            time=row["time"],
            seconds=row["seconds"],
            data_wait=row["data_wait"],
            tokens=row["tokens"],
            slots=row.get("slots", 0),
            loss=row.get("loss"),
            joules=row.get("joules"),
        )
        for row in rows
        if row["event"] == Event.STEP
    ]


class Journal:
    """Appends events to a run's journal. Only one process of a run writes it.

    Attributes:
        start: number of this start.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.start = 1 + max((row["start"] for row in read_history(path).rows), default=-1)
        # A line that a kill has cut off is ended here, so that the next one is complete. Damaged lines stay.
        torn = path.is_file() and path.stat().st_size > 0 and _last_byte(path) != b"\n"
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def write(self, event: Event, **values: Any) -> None:
        """Append an event, which survives a kill of the process once this returns."""
        row = {"event": event, "time": time.time(), "start": self.start, **values}
        self._file.write(as_line(row))
        self._file.flush()


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def as_line(row: Row) -> str:
    """Format a row as a line of strict JSON; a number that is not finite, which JSON lacks, becomes null."""
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class DamagedLine:
    """A line that cannot be read: its number, the kind of fault, and place and fault as the log states them."""

    number: int
    kind: RemarkKind
    fault: str


@dataclass(frozen=True)
class History:
    """The content of a journal.

    Attributes:
        path: its file.
        rows: events, oldest first.
        damaged: each line that cannot be read; such lines stay in the file.
        gaps: for each damaged line, the number of rows before it.
    """

    path: Path
    rows: list[Row]
    damaged: list[DamagedLine]
    gaps: list[int]

    def say(self) -> None:
        """Warn of lines that cannot be read, and of missing steps."""
        if self.damaged:
            lines = counted(len(self.damaged) + len(self.rows), "line")
            log.warn(
                f"left out lines that cannot be read: {len(self.damaged)} of {lines} of {self.path}; the first: "
                f"{self.damaged[0].fault}"
            )
        if missing := missing_steps(self.rows):
            log.warn(f"{self.path} has lost steps: {ranges(missing)}; their time counts as unknown")

    def faults(self) -> list[Remark]:
        """Make a page's remarks on lines that cannot be read, up to NAMED, and on missing steps."""
        file = self.path.name
        remarks = [Remark(line.kind, {"file": file, "line": line.number}) for line in self.damaged[:NAMED]]
        if len(self.damaged) > NAMED:
            remarks.append(Remark(RemarkKind.MORE_LINES, {"file": file, "count": len(self.damaged) - NAMED}))
        if missing := missing_steps(self.rows):
            remarks.append(Remark(RemarkKind.LOST_STEPS, {"file": file, "steps": ranges(missing)}))
        return remarks


def read_history(path: Path) -> History:
    """Read a journal; damage is recorded and skipped, and a missing file gives an empty history."""
    history = History(path, [], [], [])
    for number, line in _lines(path) if path.is_file() else ():
        where = f"{path}:{number}"
        kind = RemarkKind.LINE_TOO_LONG if len(line) > MAX_BYTES else RemarkKind.LINE_NOT_JSON
        try:
            if len(line) > MAX_BYTES:
                raise UserError(f"more than {MAX_BYTES:,} bytes", where=where)
            value = parse_json(line, where, nan=True)
            kind = RemarkKind.LINE_VALUES
            row = JsonObject(value, where)
            _check(row)
        except UserError as error:
            history.damaged.append(DamagedLine(number, kind, f"{where}: {error.what}"))
            history.gaps.append(len(history.rows))
            continue
        history.rows.append(row.values)
    return history


def read(path: Path) -> list[Row]:
    """Read the events of a journal, oldest first; what cannot be read is left out, with a warning."""
    history = read_history(path)
    history.say()
    return history.rows


def read_steps(path: Path) -> History:
    """Read a journal that has to hold at least one step.

    Raises:
        UserError: it is missing, or holds no step; the message says what is damaged.
    """
    history = read_history(path)
    if not any(row["event"] == Event.STEP for row in history.rows):
        why = (
            f": line {history.damaged[0].fault}"
            if history.damaged
            else ""
            if path.is_file()
            else ": the file is missing"
        )
        raise UserError(
            f"{path.parent} is not a training run that has begun{why}",
            where=str(path),
            allowed=f"a folder of `pdapt train`, with a step in its {JOURNAL_FILE}",
        )
    history.say()
    return history


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number; of an overlong line only the beginning, which is still longer than allowed."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_BYTES + 1):
            number += 1
            yield number, line
            while not line.endswith(b"\n") and line:
                line = file.readline(MAX_BYTES)


def _check(row: JsonObject) -> None:
    """Check the values of a row that are computed with.

    Raises:
        UserError: one is missing, or of another type.
    """
    row.number("time"), row.integer("start")
    event = row.text("event")
    if event in (Event.START, Event.STEP, Event.VALIDATION, Event.SAVE, Event.GUARD):
        row.integer("step")
    if event == Event.START:
        row.integer("ranks", minimum=1)
    if event == Event.STEP:
        row.number("seconds"), row.number("data_wait"), row.flag("skipped")
        row.integer("tokens"), row.integer("slots", 0)
    if event in (Event.STEP, Event.VALIDATION):
        row.object("sources")
        for name in ("loss", "grad_norm", "joules"):
            row.number(name, 0.0, nan=True)


def kept(rows: Iterable[Row], event: Event, last: int | None = None) -> dict[int, Row]:
    """The events of a kind that count, by step: if a step was repeated after a restart, the later one.

    Args:
        rows: rows of a journal.
        event: steps or validations.
        last: a restart continues after this step; later ones do not count.
    """
    counted: dict[int, Row] = {}
    start = 0
    for row in rows:
        # This start undoes what earlier ones did after the step that it continues from; that step's row may be lost.
        begins = row["event"] == Event.START
        if begins or (row["event"] == Event.STEP and row["start"] != start):
            counted = {step: old for step, old in counted.items() if step < row["step"] + begins}
            start = row["start"]
        if row["event"] == event:
            counted[row["step"]] = row
    return {step: row for step, row in sorted(counted.items()) if last is None or step <= last}


def missing_steps(rows: list[Row]) -> list[tuple[int, int]]:
    """The steps up to the last one that have no row although the guard did not leave them out.

    Given as first and last step of each gap, not one by one: in a damaged row the number of a step may be anything.
    """
    known = kept(rows, Event.STEP)
    last = max([*known, *(row["step"] for row in rows if row["event"] == Event.START)], default=0)
    there = sorted(step for step in {0, *known, *_left_out(rows)} if step <= last)
    return [(before + 1, after - 1) for before, after in pairwise([*there, last + 1]) if after - before > 1]


def _left_out(rows: list[Row]) -> set[int]:
    """Collect the steps whose batches the guard has left out."""
    return {row["step"] for row in rows if row["event"] == Event.GUARD and row.get("action") == GuardAction.REWIND}


def ranges(gaps: list[tuple[int, int]]) -> str:
    """Format pairs of first and last numbers as `1, 3-5`."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in gaps)


def unknown_seconds(history: History) -> float:
    """Wall time that lost rows covered: from the row before them to the beginning of what the row after them covers."""
    spans = [span for at in history.gaps if (span := _span(history.rows, at))]
    left_out = _left_out(history.rows)
    for at in range(1, len(history.rows)):
        before, after = history.rows[at - 1], history.rows[at]
        if after["event"] != Event.STEP:
            continue
        first, seen = _step_before(history.rows, at) + 1, after["step"]
        if seen - first > sum(first <= step < seen for step in left_out):
            spans.append((before["time"], after["time"] - after["seconds"]))
    total, end = 0.0, -math.inf
    for begin, stop in sorted(spans):
        total += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return total


def _span(rows: list[Row], at: int) -> tuple[float, float] | None:
    """The time that a line between rows `at - 1` and `at` covered; None if nothing in it counts."""
    if not 0 < at < len(rows):
        return None
    after = rows[at]
    if after["event"] == Event.START and after["step"] <= _step_before(rows, at):
        return None  # a kill has cut the line off: its work was done again
    return rows[at - 1]["time"], after["time"] - (after["seconds"] if after["event"] == Event.STEP else 0.0)


def _step_before(rows: list[Row], at: int) -> int:
    """The step that the run was at before row `at`."""
    return next((row["step"] for row in reversed(rows[:at]) if row["event"] in (Event.START, Event.STEP)), 0)


class Goodput:
    """Share of a run's wall time since its first start that was productive.

    Productive is the time of the steps that count, less their wait for data. Not productive are starts, waiting in
    queues between them, steps that are done again, skipped updates, saves and validation.
    """

    def __init__(self, history: History, step: int, now: float) -> None:
        """Sum up what earlier starts did up to `step`, from which this one continues."""
        rows = history.rows
        self.begin = min((row["time"] for row in rows), default=now)
        self.unknown = unknown_seconds(history)
        self.productive = sum(productive(row) for row in kept(rows, Event.STEP, step).values())

    def add(self, row: Row) -> float:
        """Count a step, and return the goodput at its end."""
        self.productive += productive(row)
        return self.productive / max(row["time"] - self.begin, 1e-9)

    def unknown_share(self, now: float) -> float:
        """Share of the wall time whose rows are lost: up to that much more may have been productive."""
        return self.unknown / max(now - self.begin, 1e-9)


def spent(history: History) -> Spent | None:
    """Sum up a run's cost so far; None if it has not done a step."""
    rows = history.rows
    counted = kept(rows, Event.STEP).values()
    if not counted:
        return None
    begins: dict[int, float] = {}
    for row in rows:  # if the row of a start is lost, its first remaining row counts
        begins.setdefault(row["start"], row["time"])
    ranks = {row["start"]: row["ranks"] for row in rows if row["event"] == Event.START}
    ends = {row["start"]: row["time"] for row in rows}
    hours = {start: (ends[start] - begin) / 3600 for start, begin in begins.items()}
    wall = max(ends.values()) - min(begins.values())
    joules = [row.get("joules") for row in rows if row["event"] == Event.STEP]
    return Spent(
        steps=len(counted),
        tokens=sum(row["tokens"] for row in counted),
        hours=sum(hours.values()),
        rank_hours=sum(hours[start] * ranks[start] for start in hours) if hours.keys() == ranks.keys() else None,
        goodput=sum(map(productive, counted)) / max(wall, 1e-9),
        joules=None if None in joules else sum(filter(None, joules)),
        unknown=unknown_seconds(history) / max(wall, 1e-9),
        lost=sum(last - first + 1 for first, last in missing_steps(rows)),
        record_faults=tuple(history.faults()),
    )


def productive(row: Row) -> float:
    """Seconds of a step that moved the model on."""
    return 0.0 if row.get("skipped") else row["seconds"] - row["data_wait"]


def metrics(rows: list[Row], slots_a_step: int) -> list[Row]:
    """Losses by step, as the report reads them.

    Args:
        rows: rows of a journal.
        slots_a_step: slots of a global batch.

    Returns:
        Rows `{"iteration", "slots", "loss"}` and `{"iteration", "slots", "valid_loss"}` in nats per token, with
        `sources`: the loss of each data set that had tokens.
    """
    losses = []
    for event, name in ((Event.STEP, "loss"), (Event.VALIDATION, "valid_loss")):
        for step, row in kept(rows, event).items():
            losses.append(
                {"iteration": step, "slots": step * slots_a_step, name: row.get("loss"), "sources": row["sources"]}
            )
    return sorted(losses, key=lambda row: (row["iteration"], "valid_loss" in row))
