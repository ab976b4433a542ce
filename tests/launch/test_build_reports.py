"""The inputs of `pdapt report build`, and its refusals."""

import json
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import write_json
from pdapt.eval.benchmark.read_results import PLAN_FILE
from pdapt.launch.build_reports import ReportOptions, build_report
from pdapt.training.run.journal import JOURNAL_FILE

DEFAULT = {"checkpoints": [], "test": "holm", "contaminated": None, "training": [], "language": "en"}


@pytest.mark.parametrize(
    ("folders", "change", "message"),
    [
        (["0p6b"], {"training": ["empty"]}, "empty is not a training run that has begun: the file is missing"),
        (
            ["0p6b"],
            {"training": ["odd"]},
            r"odd is not a training run that has begun: line odd/log.jsonl:1: ranks is missing",
        ),
        (["0p6b"], {"training": ["8b=run"]}, "no folder is called '8b'"),
        (["0p6b", "8b"], {"training": ["run"]}, "'run' does not say which folder"),
        (["0p6b", "8b"], {"checkpoints": ["cpt-1"]}, "'cpt-1' does not say which folder"),
        (["empty"], {}, "holds nothing that a report can be made from"),
        (["whole"], {"training": ["run"]}, "covers that run alone"),
    ],
)
def test_options_that_cannot_be_are_refused(
    folders: list[str], change: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, file in (("0p6b", PLAN_FILE), ("8b", PLAN_FILE), ("whole", "request.json")):
        write_json(tmp_path / name / file, {})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / JOURNAL_FILE).write_text(
        json.dumps({"event": "start", "step": 0, "time": 0, "start": 0}) + "\n"
    )
    (tmp_path / "odd").mkdir()
    rows = ({"event": "start", "step": 0, "time": 0, "start": 0}, {"event": "step", "step": 1, "time": 1, "start": 0})
    (tmp_path / "odd" / JOURNAL_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        build_report(folders, tmp_path / "out", ReportOptions(**(DEFAULT | change)))  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "out").exists()
