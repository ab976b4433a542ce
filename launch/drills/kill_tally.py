"""The tally of a campaign of kills: a line of JSON for each kill, and the page's tables of them."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_jsonl, read_lines
from ...core.jsonio import JsonObject

KILLS_FILE = "kills.jsonl"


class KillOutcome(StrEnum):
    """How a flow has ended that was killed, or was to be."""

    SAME = "same"
    """Killed, started again, and every result is the undisturbed flow's."""
    DIFFERENT = "different"
    FAILED = "failed"
    """Started again, it has not ended well, or the kill has left a process behind."""
    NOT_KILLED = "not killed"
    """It had ended before the moment of its kill, with the undisturbed flow's results."""


WRONG = (KillOutcome.DIFFERENT, KillOutcome.FAILED)


@dataclass(frozen=True)
class Kill:
    """A kill.

    Attributes:
        number: from 0; with the campaign's seed it decides the moment.
        seed: of the campaign.
        fraction: moment of the kill as a part of the time that the flow takes, drawn from 0 to 1.
        seconds: from the flow's start to its kill.
        step: that it was in: of the flow, or `start` or `end`.
        outcome: how it ended.
        problem: what differs, or how it failed; empty where nothing does.
        rest: seconds that the flow took once it was started again.
        when: date and time of the kill.
        code: commit of pdapt; empty where it is not known.
    """

    number: int
    seed: int
    fraction: float
    seconds: float
    step: str
    outcome: KillOutcome
    problem: str
    rest: float
    when: str
    code: str


def append_kill(folder: Path, kill: Kill) -> None:
    """Add a line; one that a killed process has torn is left out."""
    path = folder / KILLS_FILE
    if path.is_file():
        whole = [line for _, line in read_lines(path) if line.endswith(b"\n")]
        with path.open("r+b") as file:
            file.truncate(sum(map(len, whole)))
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(kill), ensure_ascii=False) + "\n")


def read_kills(folder: Path) -> list[Kill]:
    """Read a campaign's kills; a last line that a kill of the campaign itself has torn is left out.

    Raises:
        UserError: a line is damaged.
    """
    path = folder / KILLS_FILE
    if not path.is_file():
        return []
    torn = sum(not line.endswith(b"\n") for _, line in read_lines(path))
    lines = sum(1 for _ in read_lines(path)) - torn
    return [_kill(row) for _, row in zip(range(lines), read_jsonl(path), strict=False)]


def _kill(row: JsonObject) -> Kill:
    outcome = row.text("outcome")
    if outcome not in list(KillOutcome):
        raise UserError(f"outcome is {outcome!r}", where=row.where, allowed=", ".join(KillOutcome))
    return Kill(
        number=row.integer("number"),
        seed=row.integer("seed"),
        fraction=row.number("fraction"),
        seconds=row.number("seconds"),
        step=row.text("step"),
        outcome=KillOutcome(outcome),
        problem=row.text("problem"),
        rest=row.number("rest"),
        when=row.text("when"),
        code=row.text("code"),
    )


def tally(kills: list[Kill]) -> Iterator[str]:
    """Lines of Markdown: how many kills of each step ended with which results."""
    killed = [kill for kill in kills if kill.outcome != KillOutcome.NOT_KILLED]
    yield from ("| killed in | kills | same results | different | failed |", "|---|--:|--:|--:|--:|")
    for step in dict.fromkeys(kill.step for kill in sorted(killed, key=lambda kill: kill.fraction)):
        yield _row(step, [kill for kill in killed if kill.step == step])
    yield _row("all", killed)
    yield ""
    codes = Counter(kill.code[:9] for kill in kills)
    days = sorted({kill.when[:10] for kill in kills})
    yield (
        f"Seeds: {', '.join(sorted({str(kill.seed) for kill in kills}))}. Days: {', '.join(days)}. "
        f"Commits: {', '.join(f'{code} ({count})' for code, count in codes.items())}. "
        f"Ended before their kill, uncounted, with the same results: {len(kills) - len(killed)}."
    )
    for kill in killed:
        if kill.problem:
            yield f"- kill {kill.number} of seed {kill.seed}, in {kill.step}: {kill.problem}"


def _row(name: str, kills: list[Kill]) -> str:
    counts = Counter(kill.outcome for kill in kills)
    outcomes = (KillOutcome.SAME, KillOutcome.DIFFERENT, KillOutcome.FAILED)
    return f"| {name} | {len(kills)} | {' | '.join(str(counts[outcome]) for outcome in outcomes)} |"
