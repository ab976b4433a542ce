"""Tables of a benchmark report on settings and cost."""

import json
from dataclasses import replace

from test_benchmark_report import pair_of_runs

from pdapt.core.remarks.remark import Remark, RemarkKind
from pdapt.core.training_cost import Spent
from pdapt.eval.report.benchmark_findings import read_findings
from pdapt.eval.report.settings_tables import answer_settings_tables, training_cost_tables
from pdapt.eval.report.texts import Words

NOT_JSON = Remark(RemarkKind.LINE_NOT_JSON, {"file": "log.jsonl", "line": 6})
LOST = Remark(RemarkKind.LOST_STEPS, {"file": "log.jsonl", "steps": "5"})


def test_damage_to_a_trainings_record_is_a_table_of_its_own() -> None:
    sound = Spent(4320, 10_191_000_000, 12.5, 600.0, 0.9312, 1.26e9)
    damaged = replace(sound, record_faults=(NOT_JSON, LOST))
    shown = {
        "en": ["Line 6 of log.jsonl cannot be read: it is not valid JSON.", "log.jsonl has lost steps: 5."],
        "fr": [
            "La ligne 6 de log.jsonl est illisible\u00a0: ce n'est pas du JSON valide.",
            "Il manque des pas à log.jsonl\u00a0: 5.",
        ],
    }
    for language, sentences in shown.items():
        words = Words.read(language)
        assert [table.name for table in training_cost_tables({"A": sound}, words)] == ["train-cost"]
        _, faults = training_cost_tables({"A": sound, "B": damaged}, words)
        assert [(row.head, row.entries[0].text) for row in faults.rows] == [("B", each) for each in sentences]


def test_what_a_record_lacks_widens_the_goodput_and_bounds_the_steps_from_below() -> None:
    words = Words.read("en")

    def row(spent: Spent) -> list[str]:
        (table,) = training_cost_tables({"A": spent}, words)
        return [entry.text for entry in table.rows[0].entries]

    whole = Spent(4320, 10_191_000_000, 12.5, 600.0, 0.75, 3.6e9)
    assert row(whole) == ["4,320", "10,191,000,000", "12.50", "600.0", "75.0", "1,000.0"]
    assert row(replace(whole, lost=3))[:2] == ["≥ 4,320", "≥ 10,191,000,000"]
    assert row(replace(whole, unknown=0.125))[4] == "75.0 – 87.5"


def test_how_models_were_asked_is_told(make_benchmark, tmp_path):
    """Notes on 40 questions in each of two tasks: batch sizes, cut prompts, advice that was not heeded, warnings."""
    benchmark = make_benchmark(tmp_path / "runs")
    wanted = pair_of_runs(benchmark, ("base", "checkpoint"))
    for task, size in (("mmlu_med_fr_anatomy", 16), ("mmlu_prox_fr_health", 4)):
        folder = benchmark.folder / "B" / task
        rows = [{"doc_id": q, "truncated": q < 3, "prompt_cut": q < 5} for q in range(40)]
        (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        made = {"batch_size": {"size": size}, "chat_template": False, "warnings": [{"times": 2}, {"times": 1}]}
        if size == 4:
            made |= {"generation": {}, "generation_config_unused": {"temperature": 0.6}}
        (folder / "settings.json").write_text(json.dumps(made))
    making, advice = answer_settings_tables(read_findings(wanted).runs, Words.read("en"))
    columns = ["batch, choices", "batch, text", "prompts cut", "texts cut", "chat template", "warnings"]
    assert making.columns[1:] == columns
    rows = {row.head: [entry.text for entry in row.entries] for row in making.rows}
    assert rows["runs: A"] == ["–", "–", "–", "0 of 40", "–", "–"]
    assert rows["runs: B"] == ["16", "4", "10 of 80", "3 of 40", "no", "6"]
    assert [(row.head, row.entries[0].text) for row in advice.rows] == [("runs: B", "temperature=0.6")]
