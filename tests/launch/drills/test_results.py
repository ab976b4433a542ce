"""Digests that a drill compares: the same whatever times and paths are, and others where a result is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pdapt.core.files import write_json
from pdapt.core.manifest import Manifest
from pdapt.launch.drills.results import differing, read_results
from pdapt.training.run.journal import JOURNAL_FILE

PAGE = "<p>{when}</p><table><tr><th>score</th><td> 31.6 </td></tr></table><p>x</p><table><td>{value}</td></table>"


def made(run: Path, when: str) -> Path:
    """The files of a run of all stages that a drill reads; `when` stands for all times and paths."""
    for folder in ("tokens", "cpt", "hf/base", "scores/base/task", "report"):
        (run / folder).mkdir(parents=True)
    Manifest("tokens", {}, {"at": when}, {}, outputs={"a.bin": "1" * 64}).write(run / "tokens")
    always = {"start": 0, "time": len(when), "seconds": len(when), "sources": {}}
    step = always | {"event": "step", "data_wait": 0, "tokens": 7, "slots": 8, "skipped": False}
    rows = [step | {"step": number, "loss": 2.5 / number} for number in (1, 2)]
    rows.append(always | {"event": "validation", "step": 2, "loss": 0.1})
    (run / "cpt" / JOURNAL_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_file({"b": torch.zeros(2, 3), "a": torch.ones(4, dtype=torch.bfloat16)}, run / "hf/base/model.safetensors")
    write_json(run / "scores/scores.json", {"models": []})
    write_json(run / "scores/base/task/results.json", {"results": {"task": {"acc,none": 0.5}}, "date": when})
    (run / "scores/base/task/answers.jsonl").write_text("{}\n")
    (run / "report/index.html").write_text(PAGE.format(when=when, value="1"))
    return run


def test_results_are_the_same_at_another_time_and_each_has_a_name(tmp_path: Path) -> None:
    first = read_results(made(tmp_path / "a", "today"))
    assert differing(first, read_results(made(tmp_path / "b", "tomorrow"))) == []
    assert list(first) == [
        *("tokens a.bin", "loss step 1", "loss step 2", "loss validation 2", "weights base a", "weights base b"),
        *("score comparisons", "score base/task", "score base/task answers", "table 0", "table 1"),
    ]
    assert (first["loss step 2"], first["loss validation 2"]) == ("1.25", "0.1")


def _other_weights(run: Path) -> None:
    path = run / "hf/base/model.safetensors"
    save_file({"b": torch.zeros(3, 2), "a": torch.ones(4, dtype=torch.bfloat16)}, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "weights base b": _other_weights,
    "table 1": lambda run: (run / "report/index.html").write_text(PAGE.format(when="today", value="2")),
    "score base/task answers": lambda run: (run / "scores/base/task/answers.jsonl").write_text("{} \n"),
    "score comparisons": lambda run: write_json(run / "scores/scores.json", {"models": ["base"]}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_result_that_changes_is_named(name: str, tmp_path: Path) -> None:
    first = read_results(made(tmp_path / "run", "today"))
    CHANGES[name](tmp_path / "run")
    assert differing(first, read_results(tmp_path / "run")) == [name]
    assert differing({"a": "1"}, {"a": "1", "b": "2"}) == ["b"]
