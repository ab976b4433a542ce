"""Scores on clinical documents against cases worked out by hand, and their place on the page."""

import json
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from pdapt.eval.clinical.documents.document_tasks import DOCUMENT_TASKS
from pdapt.eval.clinical.documents.score_documents import f1, listed, score_choices, score_code, score_entities
from pdapt.eval.report.benchmark_findings import BenchmarkReportOptions, read_findings
from pdapt.eval.report.clinical.document_tables import documents_table
from pdapt.eval.report.table_formats import Mark
from pdapt.eval.report.texts import Words
from pdapt.eval.statistics.document_scores import DocumentMetric, DocumentScore


@pytest.mark.parametrize(
    ("gold", "answer", "counts"),
    [
        (["fièvre", "toux"], "fièvre ; toux", (2, 2, 2)),
        (["fièvre", "toux"], "Toux;  FIÈVRE.", (2, 2, 2)),
        (["fièvre", "toux"], "fièvre ; toux ; fièvre", (2, 2, 2)),
        (["fièvre", "toux"], "fièvre", (1, 1, 2)),
        (["fièvre"], "fièvre élevée", (0, 1, 1)),  # strict: another end of the mention is another mention
        (["fièvre"], "fièvre ; asthénie ; toux", (1, 3, 1)),
        (["fièvre"], "aucune", (0, 0, 1)),
        ([], "aucune", (0, 0, 0)),
        ([], "fièvre", (0, 1, 0)),
        ([], "", (0, 0, 0)),
    ],
)
def test_mentions_are_counted_as_they_are_written(gold: list[str], answer: str, counts: tuple[int, int, int]) -> None:
    scores = score_entities({"mentions": gold}, [answer])
    assert tuple(scores[name] for name in ("true_positives", "predicted", "gold")) == counts
    assert scores["correct"] == float(counts[0] == counts[1] == counts[2])


def test_f1_is_of_the_counts_of_all_questions() -> None:
    """5 of 8 that are listed are right, and 5 of 10 are listed: precision 0.625, recall 0.5, F1 0.5556."""
    assert f1(5, 8, 10) == pytest.approx(2 * 0.625 * 0.5 / (0.625 + 0.5))
    assert (f1(0, 3, 4), f1(0, 0, 0), f1(2, 2, 2)) == (0, 1, 1)
    assert listed("a;b ; c") == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("right", "answer", "correct", "hamming"),
    [
        ("C", "C", 1, 1),
        ("ACE", "A, C, E", 1, 1),
        ("ACE", "E C A", 1, 1),
        ("ACE", "A, C", 0, 2 / 3),
        ("ACE", "A, B", 0, 1 / 4),  # one of A, B, C, E
        ("A", "A, B, C, D, E", 0, 1 / 5),
        ("AB", "D", 0, 0),
        ("AB", "[invalid]", 0, 0),
    ],
)
def test_options_have_exact_match_and_hamming_score(right: str, answer: str, correct: float, hamming: float) -> None:
    scores = score_choices({"right": list(right)}, [answer])
    assert scores == {"correct": correct, "hamming": pytest.approx(hamming)}


@pytest.mark.parametrize(
    ("answer", "correct", "histology"), [("8041/3", 1, 1), ("8041/6", 0, 1), ("8140/3", 0, 0), ("[invalid]", 0, 0)]
)
def test_codes_are_compared_whole_and_without_the_behaviour(answer: str, correct: float, histology: float) -> None:
    assert score_code({"code": "8041/3"}, [answer]) == {"correct": correct, "histology": histology}


QUESTIONS = 60
TASKS = ["e3c_entities_fr", "frenchmedmcqa_fr", "frasimed_codes_fr"]


def _counts(model: str, question: int) -> tuple[int, int, int]:
    """True positives, listed and gold mentions: the adapted model finds one more in every second question."""
    return (1 + (model == "cpt") * (question % 2), 2, 3)


@pytest.fixture(scope="module")
def folder(make_benchmark: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = make_benchmark(tmp_path_factory.mktemp("runs") / "Qwen3-0.6B-Base", questions=QUESTIONS)
    written.tasks = TASKS
    for name, role in (("base", "base"), ("cpt", "checkpoint")):
        written.add(name, role, lambda _, q: q % 3 == 0)
        for task in TASKS:
            path = written.folder / name / task / "samples.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            for row in rows:
                counts = _counts(name, row["doc_id"])
                values = {"hamming": (row["doc_id"] % 3 == 0) + 0.25 * (row["doc_id"] % 3 == 1), "histology": 1.0}
                values |= dict(zip(("true_positives", "predicted", "gold"), counts, strict=True))
                row |= {measure: values[measure] for measure in row if measure in values}
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return written.folder


def _rows(folder: Path, contaminated: Path | None = None) -> list[DocumentScore]:
    return read_findings(BenchmarkReportOptions({"runs": folder}, {}, contaminated=contaminated)).documents


def test_scores_are_those_of_the_counts(folder: Path) -> None:
    rows = {(row.model, row.task, row.metric): row for row in _rows(folder)}
    assert len(rows) == 2 * 5
    base, adapted = (rows[model, "e3c_entities_fr", DocumentMetric.F1] for model in ("base", "cpt"))
    assert base.value == pytest.approx(f1(60, 120, 180))
    assert adapted.value == pytest.approx(f1(90, 120, 180))
    assert adapted.change
    assert adapted.change.value == pytest.approx(0.2)
    # The change is 0.4 of the share of odd questions, of which 60 are drawn: binomial.
    assert adapted.change.stderr == pytest.approx(0.4 * (0.25 / 60) ** 0.5, rel=0.05)
    odd = binom.interval(0.95, QUESTIONS, 0.5)
    assert [adapted.change.low, adapted.change.high] == pytest.approx([0.4 * number / QUESTIONS for number in odd])
    assert adapted.p == pytest.approx(5 / 10_000)
    assert base.low == pytest.approx(base.value)  # all questions have the same counts
    hamming = rows["base", "frenchmedmcqa_fr", DocumentMetric.HAMMING]
    assert hamming.value == pytest.approx(1.25 / 3)
    # A resample's sum in quarters: 60 draws of 0, 1 or 4, each as likely.
    sums = np.cumsum(reduce(np.convolve, [np.array([1, 1, 0, 0, 1]) / 3] * QUESTIONS))
    interval = np.searchsorted(sums, [0.025, 0.975]) / (4 * QUESTIONS)
    assert [hamming.low, hamming.high] == pytest.approx(interval, abs=1e-9)
    assert rows["cpt", "frenchmedmcqa_fr", DocumentMetric.EXACT_MATCH].value == pytest.approx(1 / 3)
    assert rows["cpt", "frasimed_codes_fr", DocumentMetric.HISTOLOGY].p == 1


def test_contaminated_questions_are_left_out_beside_the_score(folder: Path, tmp_path: Path) -> None:
    listed_questions = [{"task": "e3c_entities_fr", "doc_id": number} for number in range(0, QUESTIONS, 2)]
    path = tmp_path / "contaminated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in listed_questions))
    (adapted,) = [row for row in _rows(folder, path) if (row.model, row.task) == ("cpt", "e3c_entities_fr")]
    assert adapted.clean == (pytest.approx(f1(60, 60, 90)), 30)
    table = documents_table([adapted], Words.read("fr"))
    assert table
    assert [entry.text for entry in table.rows[0].entries[-2:]] == ["80,0", "30"]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_table_marks_clear_changes(folder: Path, language: str) -> None:
    table = documents_table(_rows(folder), Words.read(language))
    assert table
    marks = {row.head: row.entries[4].mark for row in table.rows if row.entries[4].mark}
    assert list(marks.values()) == [Mark.BETTER]
    assert [entry.text for entry in table.rows[0].entries[:3]] == ["F1", "60", {"en": "40.0", "fr": "40,0"}[language]]


def test_every_task_has_a_file_and_scores_that_lm_eval_states() -> None:
    for task in DOCUMENT_TASKS:
        assert task.task_file.is_file()
        assert task.measures
