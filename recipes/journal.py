"""A run's journal: what happened at which step of which start, a JSON object a line, never rewritten.

Events, all with `event`, `time` (Unix seconds) and `start` (number of the start, from 0):

- `start`: `step` that it goes on from, `ranks`, `host`;
- `step`: `step`, `seconds`, `loss` and the rest of `Monitor`'s row;
- `validation`: `step`, `loss`, `seconds`, `sources`;
- `save`: `step`, `stall_seconds` (training stood still), `seconds` (until the checkpoint was whole), `asynchronous`;
- `guard`: `step`, `action` and why; `straggler`; `hang`; `end`: `step`, `reason`.
"""

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import read_lines
from ..core.jsonio import JsonObject, parse_json
from ..core.spent import Spent

NAME = "log.jsonl"
Row = dict[str, Any]


class Journal:
    """Appends events to a run's journal. One process of a run writes it.

    Attributes:
        start: number of this start.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = read(path)
        self.start = 1 + max((row["start"] for row in rows), default=-1)
        # A line that a kill has torn is ended here, so that the next one is whole.
        torn = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def write(self, event: str, **values: Any) -> None:
        """Append an event; it is in the kernel's hands, and survives a kill, when this returns."""
        row = {"event": event, "time": time.time(), "start": self.start, **values}
        self._file.write(as_line(row))
        self._file.flush()


def as_line(row: Row) -> str:
    """A row as a line of strict JSON: a number that is not finite, which JSON lacks, becomes null."""
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> list[Row]:
    """The events of a journal, oldest first; a line that a kill has torn is left out."""
    if not path.is_file():
        return []
    rows = []
    for where, line in read_lines(path):
        try:
            row = JsonObject(parse_json(line, where, nan=True), where)
            _check(row)
        except UserError:
            continue
        rows.append(row.values)
    return rows


def _check(row: JsonObject) -> None:
    """Check what is computed with of a row.

    Raises:
        UserError: it is missing, or of another type.
    """
    row.number("time"), row.integer("start")
    if row.text("event") in ("start", "step", "validation"):
        row.integer("step")


def kept(rows: Iterable[Row], event: str, last: int | None = None) -> dict[int, Row]:
    """The events of a kind that count, by step: of a step that was done again after a restart, the later one.

    Args:
        rows: of a journal.
        event: `step` or `validation`.
        last: steps after this one do not count: a restart goes on from it.
    """
    found: dict[int, Row] = {}
    for row in rows:
        if row["event"] == "start":  # what an earlier start did after the step that this one goes on from is undone
            found = {step: old for step, old in found.items() if step <= row["step"]}
        elif row["event"] == event:
            found[row["step"]] = row
    return {step: row for step, row in sorted(found.items()) if last is None or step <= last}


class Goodput:
    """Share of a run's wall time, since its first start, that moved the model on.

    Productive is the time of the steps that count, less their wait for data. Not productive are starts, waiting in
    queues between them, steps that are done again, skipped updates, saves and validation.
    """

    def __init__(self, rows: list[Row], step: int, now: float) -> None:
        """Take up what earlier starts did up to `step`, which this one goes on from."""
        self.begin = min((row["time"] for row in rows), default=now)
        self.productive = sum(productive(row) for row in kept(rows, "step", step).values())

    def add(self, row: Row) -> float:
        """Count a step; the goodput at its end."""
        self.productive += productive(row)
        return self.productive / max(row["time"] - self.begin, 1e-9)


def spent(rows: list[Row]) -> Spent | None:
    """What a run took until now; None where it has not done a step."""
    counted = kept(rows, "step").values()
    begins = {row["start"]: row for row in rows if row["event"] == "start"}
    if not counted or not begins:
        return None
    ends = {row["start"]: row["time"] for row in rows}
    hours = {start: (ends[start] - row["time"]) / 3600 for start, row in begins.items()}
    wall = max(ends.values()) - min(row["time"] for row in begins.values())
    joules = [row.get("joules") for row in rows if row["event"] == "step"]
    return Spent(
        steps=len(counted),
        tokens=sum(row["tokens"] for row in counted),
        hours=sum(hours.values()),
        rank_hours=sum(hours[start] * row["ranks"] for start, row in begins.items()),
        goodput=sum(map(productive, counted)) / max(wall, 1e-9),
        joules=None if None in joules else sum(value or 0 for value in joules),
    )


def productive(row: Row) -> float:
    """Seconds of a step that moved the model on."""
    return 0.0 if row.get("skipped") else row["seconds"] - row["data_wait"]


def metrics(rows: list[Row], slots_a_step: int) -> list[Row]:
    """Losses by step, as the report reads them.

    Args:
        rows: of a journal.
        slots_a_step: slots of a global batch.

    Returns:
        Rows `{"iteration", "slots", "loss"}` and `{"iteration", "slots", "valid_loss"}`, nats a token, with `sources`:
        the loss of each data set that had tokens.
    """
    found = []
    for event, name in (("step", "loss"), ("validation", "valid_loss")):
        for step, row in kept(rows, event).items():
            found.append(
                {"iteration": step, "slots": step * slots_a_step, name: row.get("loss"), "sources": row["sources"]}
            )
    return sorted(found, key=lambda row: (row["iteration"], "valid_loss" in row))
