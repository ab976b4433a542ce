"""The share of altered quantities on the page: against counts made by hand, in both languages."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from pdapt.eval.clinical.numbers.number_tasks import MEASURES, NUMBER_TASKS
from pdapt.eval.report.benchmark_findings import BenchmarkReportOptions, read_findings
from pdapt.eval.report.clinical.altered_numbers import altered_sentences, altered_table
from pdapt.eval.report.table_formats import Mark
from pdapt.eval.report.texts import Words
from pdapt.eval.statistics.alterations import EVERY_TASK, AlteredShare

QUESTIONS = 100
ALTERED = {"base": 4, "cpt": 20, "merged": 5}
"""Model -> altered quantities of 100 in each task; the base's are among each other model's."""
ABSENT = 3
"""The last questions, so many, which every model leaves unanswered."""


def _outcome(model: str, question: int) -> str:
    if question < ALTERED[model]:
        return "altered"
    if question >= QUESTIONS - ABSENT:
        return "absent"
    return "equal" if question % 10 == 9 else "exact"


@pytest.fixture(scope="module")
def scores(make_benchmark: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base, adapted and merged model on the four tasks, beside a task of the paper's."""
    written = make_benchmark(tmp_path_factory.mktemp("runs") / "Qwen3-0.6B-Base", questions=QUESTIONS)
    written.tasks = ["mmlu_med_fr_anatomy", *(task.name for task in NUMBER_TASKS)]
    for name, role in {"base": "base", "cpt": "checkpoint", "merged": "merged"}.items():
        written.add(name, role, lambda _, q, n=name: _outcome(n, q) in ("exact", "equal"))
        for task in NUMBER_TASKS:
            _add_measures(written.folder / name / task.name / "samples.jsonl", name)
    return written.folder


def _add_measures(path: Path, model: str) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        outcome = _outcome(model, row["doc_id"])
        row |= {measure: float(measure == outcome) for measure in MEASURES}
        row["tenfold"] = float(outcome == "altered" and row["doc_id"] % 2 == 0)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def rows(scores: Path) -> dict[tuple[str, str], AlteredShare]:
    findings = read_findings(BenchmarkReportOptions({"Qwen3-0.6B-Base": scores}, {}))
    return {(row.model, row.task): row for row in findings.altered}


def test_shares_and_intervals_are_those_of_the_answers(rows) -> None:
    assert len(rows) == 3 * (len(NUMBER_TASKS) + 1)
    for (model, task), row in rows.items():
        assert row.quantities == (QUESTIONS * len(NUMBER_TASKS) if task == EVERY_TASK else QUESTIONS)
        assert row.altered == ALTERED[model] / 100
        assert row.shares["tenfold"] == (ALTERED[model] + 1) // 2 / 100
        assert sum(row.shares[name] for name in ("exact", "equal", "altered", "absent")) == pytest.approx(1)
    # Wilson, J Am Stat Assoc 1927: for 4 of 100 by the formula.
    z, p, n = stats.norm.ppf(0.975), 0.04, 100
    middle, reach = (p + z**2 / 2 / n) / (1 + z**2 / n), z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / 4 / n**2) ** 0.5
    base = rows["base", "labs_copy_fr"]
    assert (base.low, base.high) == pytest.approx((middle - reach, middle + reach))


def test_changes_are_paired_with_the_base(rows) -> None:
    adapted, merged = rows["cpt", EVERY_TASK], rows["merged", EVERY_TASK]
    assert adapted.change
    assert merged.change
    assert rows["base", EVERY_TASK].change is None
    assert adapted.change.value == pytest.approx(0.16)
    # 16 more of 100 in each task and none fewer: exact binomial, and ten comparisons for Holm.
    assert adapted.p == pytest.approx(10 * 2 * 0.5**64, rel=1e-9)
    alone = rows["merged", "doses_copy_fr"]
    assert alone.change
    assert alone.change.value == pytest.approx(0.01)
    assert alone.p == 1
    assert adapted.change.low > 0.1
    assert merged.change.low < 0.02


SENTENCES = {
    "en": "Qwen3-0.6B-Base: of 400 doses and laboratory values that were asked for, these shares were altered: "
    "base 4.0 % (2.5 to 6.4); adapted 20.0 % (16.4 to 24.2), clearly more than the base; "
    "merged 5.0 % (3.3 to 7.6), no clear difference from the base.",
    "fr": "Qwen3-0.6B-Base : sur 400 doses et valeurs biologiques demandées, part altérée : "
    "base 4,0 % (2,5 à 6,4) ; adapté 20,0 % (16,4 à 24,2), nettement plus que la base ; "
    "fusionné 5,0 % (3,3 à 7,6), sans différence nette avec la base.",
}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_sentence_says_which_share_is_altered(rows, language: str) -> None:
    (sentence,) = altered_sentences(list(rows.values()), Words.read(language))
    assert re.sub(r"\s", " ", sentence) == SENTENCES[language]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_table_tells_how_the_answers_of_each_model_are(rows, language: str) -> None:
    table = altered_table(list(rows.values()), Words.read(language))
    assert table
    assert (
        table.columns[1:6]
        == {
            "en": ["quantities", "as written", "same value", "absent", "altered"],
            "fr": ["quantités", "à l'identique", "même valeur", "absentes", "altérées"],
        }[language]
    )
    adapted, point = table.rows[9], {"en": ".", "fr": ","}[language]
    assert re.sub(r"\s", " ", adapted.head) == {"en": "cpt (adapted): all", "fr": "cpt (adapté) : ensemble"}[language]
    assert [entry.text for entry in adapted.entries[:5]] == ["400", *(f"{n}{point}0" for n in (70, 7, 3, 20))]
    assert (adapted.entries[7].value, adapted.entries[7].mark) == (16, Mark.WORSE)


def test_answers_that_cannot_be_paired_have_shares_and_no_change(
    scores: Path, make_benchmark: Callable[..., Any], tmp_path: Path
) -> None:
    written = make_benchmark(tmp_path / "other", questions=QUESTIONS)
    written.tasks = ["labs_copy_fr", "doses_copy_fr"]
    for name, role in (("base", "base"), ("cpt", "checkpoint")):
        written.add(name, role, lambda _, q, n=name: _outcome(n, q) in ("exact", "equal"))
        for task in written.tasks:
            _add_measures(written.folder / name / task / "samples.jsonl", name)
    written.write("cpt", "labs_copy_fr", lambda _, q: _outcome("cpt", q) in ("exact", "equal"), prompt="another")
    _add_measures(written.folder / "cpt/labs_copy_fr/samples.jsonl", "cpt")
    findings = read_findings(BenchmarkReportOptions({"other": written.folder}, {}))
    changes = {row.task: row.change for row in findings.altered if row.model == "cpt"}
    assert changes["labs_copy_fr"] is None
    assert changes[EVERY_TASK] is None
    assert changes["doses_copy_fr"]


def test_a_sample_without_an_outcome_is_left_out_by_name(make_benchmark: Callable[..., Any], tmp_path: Path) -> None:
    written = make_benchmark(tmp_path / "runs", questions=QUESTIONS)
    written.tasks = ["labs_copy_fr", "mmlu_anatomy"]
    for name, role in (("base", "base"), ("cpt", "checkpoint")):
        written.add(name, role, lambda *_: True)
        path = written.folder / name / "labs_copy_fr/samples.jsonl"
        path.write_text(path.read_text().replace('"tenfold"', '"other"'))
    findings = read_findings(BenchmarkReportOptions({"runs": written.folder}, {}))
    assert findings.altered == []
    assert [(p.task, p.reason) for p in findings.problems] == [("labs_copy_fr", "unreadable")] * 2
