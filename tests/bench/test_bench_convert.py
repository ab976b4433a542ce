"""Shares of cp's speed that the benchmark of conversions states."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.bench import convert
from pdapt.core.qwen3 import SIZES


def _step(verb: str, name: str, seconds: list[float], stage: list[float]) -> convert.Step:
    runs = [convert.Run(whole, own, 1.0, 0.1) for whole, own in zip(seconds, stage, strict=True)]
    return convert.Step(verb, "cold", name, runs)


def test_shares_are_of_medians_and_of_copies_made_in_turn() -> None:
    """A single slow run of cp or of the command does not change the share, nor do copies beside another command."""
    steps = [
        _step("import", "cp", [1.0, 9.0, 1.0], [1.0, 9.0, 1.0]),
        _step("import", "cp, flushed", [2.0, 2.0, 17.0], [2.0, 2.0, 17.0]),
        _step("import", "import", [5.0, 50.0, 5.0], [4.0, 48.0, 4.0]),
        _step("export", "cp", [3.0] * 3, [3.0] * 3),
        _step("export", "cp, flushed", [6.0] * 3, [6.0] * 3),
        _step("export", "export", [8.0] * 3, [7.5] * 3),
    ]
    lines = convert.table(convert.RoundTrip("s", "parameters", identical=True, gb=10.0, limit_gb=1.0, steps=steps))
    assert lines[-2:] == [
        "cold, import: 0.50 (0.25) without the start of Python and torch, 0.40 (0.20) with it",
        "cold, export: 0.80 (0.40) without the start of Python and torch, 0.75 (0.38) with it",
    ]
    assert any(line.startswith("cold, import: 5.00 s (5.00 to 50.00), 4.00 s of them") for line in lines)


@pytest.mark.slow
def test_a_model_comes_back_and_every_step_was_run_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "small", replace(SIZES["0p6b"], layers=2, hidden=64, ffn=96, vocab=512))
    trip = convert.bench("small", "parameters", tmp_path, 1)
    result = json.loads(json.dumps(trip.to_json()))
    assert result["identical"]
    names = [(step["verb"], step["state"], step["name"]) for step in result["steps"]]
    assert names == [
        (verb, state, name)
        for verb in ("import", "export")
        for state in ("cold", "warm")
        for name in ("cp", "cp, flushed", verb)
    ]
    for step in result["steps"]:
        [run] = step["runs"]
        assert 0 < run["stage_seconds"] <= run["seconds"]
        assert run["cpu_seconds"] > (1 if step["name"] == step["verb"] else 0)
    assert [line.split(":")[0] for line in convert.table(trip)[-4:]] == [
        "cold, import",
        "warm, import",
        "cold, export",
        "warm, export",
    ]
