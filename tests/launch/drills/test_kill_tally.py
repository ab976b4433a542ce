"""The tally of kills: what is read back, what is torn, what is damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.launch.drills.kill_tally import KILLS_FILE, Kill, KillOutcome, append_kill, read_kills, tally


def a_kill(number: int, step: str = "cpt", outcome: KillOutcome = KillOutcome.SAME, problem: str = "") -> Kill:
    return Kill(
        number=number,
        seed=7,
        fraction=number / 10,
        seconds=12.5,
        step=step,
        outcome=outcome,
        problem=problem,
        rest=40.0,
        when="2026-11-30T01:02:03",
        code="abcdef0123",
    )


def test_a_line_that_is_torn_is_left_out_and_written_again(tmp_path: Path) -> None:
    assert read_kills(tmp_path) == []
    for number in range(2):
        append_kill(tmp_path, a_kill(number))
    path = tmp_path / KILLS_FILE
    path.write_bytes(path.read_bytes()[:-9])
    assert read_kills(tmp_path) == [a_kill(0)]
    append_kill(tmp_path, a_kill(1))
    assert read_kills(tmp_path) == [a_kill(0), a_kill(1)]


def test_a_damaged_line_is_refused_with_its_place(tmp_path: Path) -> None:
    append_kill(tmp_path, a_kill(0))
    path = tmp_path / KILLS_FILE
    path.write_text(path.read_text().replace("same", "fine"))
    with pytest.raises(UserError, match=f"'fine'\n  where: {path}:1\n  allowed: same, different, failed"):
        read_kills(tmp_path)


def test_fuzz_kills(fuzz: Callable[..., None], tmp_path: Path) -> None:
    append_kill(tmp_path, a_kill(0))
    append_kill(tmp_path, a_kill(1, outcome=KillOutcome.FAILED, problem="code 1"))
    fuzz(tmp_path / KILLS_FILE, lambda: read_kills(tmp_path))


def test_the_table_counts_each_step_in_order_and_names_what_went_wrong() -> None:
    kills = [
        a_kill(4, "scores", KillOutcome.DIFFERENT, "1 result: loss step 3"),
        a_kill(1),
        a_kill(2),
        a_kill(0, "start"),
        a_kill(9, "end", KillOutcome.NOT_KILLED),
    ]
    assert list(tally(kills)) == [
        "| killed in | kills | same results | different | failed |",
        "|---|--:|--:|--:|--:|",
        "| start | 1 | 1 | 0 | 0 |",
        "| cpt | 2 | 2 | 0 | 0 |",
        "| scores | 1 | 0 | 1 | 0 |",
        "| all | 4 | 3 | 1 | 0 |",
        "",
        "Seeds: 7. Days: 2026-11-30. Commits: abcdef012 (5). "
        "Ended before their kill, uncounted, with the same results: 1.",
        "- kill 4 of seed 7, in scores: 1 result: loss step 3",
    ]
