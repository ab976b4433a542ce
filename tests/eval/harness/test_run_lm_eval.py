"""Files of lm-eval's results, as pdapt names them, and the machine's description in them."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.loggers.utils import add_env_info
from torch.utils import collect_env

from pdapt.core.files import list_files
from pdapt.eval.harness.result_files import RESULTS_FILE, SAMPLES_FILE
from pdapt.eval.harness.run_lm_eval import _Evaluated, _save_results, describe_machine_once


class Tracker:
    """Writes files as lm-eval's tracker calls them, by task and date."""

    def __init__(self, folder: Path, *, samples: bool = True) -> None:
        self.folder, self.samples = folder, samples

    def save_results_aggregated(self, results: dict[str, Any], samples: dict[str, Any]) -> None:
        assert "samples" not in results
        assert samples == {"mmlu": []}
        (self.folder / "results_2026-11-29T10-00-00.json").write_text("scores")

    def save_results_samples(self, task: str, samples: list[Any]) -> None:
        assert samples == []
        if self.samples:
            (self.folder / f"samples_{task}_2026-11-29T10-00-00.jsonl").write_text("answers")


def test_results_and_samples_get_names_without_a_date(tmp_path: Path) -> None:
    results = {"results": {}, "samples": {"mmlu": []}}
    tracker: Any = Tracker(tmp_path)
    _save_results(_Evaluated(results, tracker), "mmlu", tmp_path)
    assert (tmp_path / RESULTS_FILE).read_text() == "scores"
    assert (tmp_path / SAMPLES_FILE).read_text() == "answers"
    assert len(list_files(tmp_path)) == 2


def test_a_file_that_lm_eval_failed_to_write_is_an_error(tmp_path: Path) -> None:
    """Its tracker only warns."""
    tracker: Any = Tracker(tmp_path, samples=False)
    with pytest.raises(OSError, match="lm-eval wrote 1 of 2 files"):
        _save_results(_Evaluated({"samples": {"mmlu": []}}, tracker), "mmlu", tmp_path)


def test_the_machine_is_described_in_each_result_and_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(collect_env, "get_pretty_env_info", lambda: looks.append("look") or f"look {len(looks)}")
    describe_machine_once()
    results: list[dict[str, Any]] = [{}, {}]
    for found in results:
        add_env_info(found)
    assert [found["pretty_env_info"] for found in results] == ["look 1", "look 1"]
    assert looks == ["look"]
