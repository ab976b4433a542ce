"""The paper's tables: what its rules make of them, against numbers worked out apart from the code."""

import json
from dataclasses import replace

import pytest

from pdapt.core.errors import UserError
from pdapt.eval.paper.report_tables import sections
from pdapt.eval.paper.tables import ClearChanges, Tables, count_clear, possible_counts, summary
from pdapt.eval.paper.tables_file import GROUPS, TABLES_FILE
from pdapt.eval.report.texts import Words


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.read()


def test_figures_are_those_of_the_evidence(tables, shared):
    evidence = json.loads(shared("paper/paper_tables.json").read_text())
    raw = json.loads(TABLES_FILE.read_text())
    ours = raw["table2"]
    assert ours == [{key: row[key] for key in ours[0]} for row in evidence["table2"]]
    assert raw["table7"] == evidence["table7"]
    assert raw["table1"]["rows"] == evidence["table1"]["rows"]
    theirs = Tables.read(shared("paper/paper_tables.json"))
    assert theirs.all_changes() == tables.all_changes()
    assert list(theirs.cells()) == list(tables.cells())
    assert replace(theirs.file, provenance="") == replace(tables.file, provenance="")


def test_changes_are_significant_by_the_papers_rule(tables):
    found = summary(tables)["significant_changes"]
    assert found == {
        "FR-MEDICAL": {"PDAPT": {"positive": 3, "negative": 1}, "SLERP": {"positive": 1, "negative": 0}},
        "EN-MEDICAL": {"PDAPT": {"positive": 0, "negative": 3}, "SLERP": {"positive": 0, "negative": 0}},
        "FR-OTHER": {"PDAPT": {"positive": 0, "negative": 13}, "SLERP": {"positive": 0, "negative": 1}},
        "EN-OTHER": {"PDAPT": {"positive": 0, "negative": 11}, "SLERP": {"positive": 1, "negative": 0}},
    }


def test_averages_and_errors_are_lm_eval_s(tables):
    from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr

    for group in GROUPS:
        sizes = list(tables.topics(group).values())
        cells = [tables.cell(group, "Qwen3-4B-Base", "SLERP", topic) for topic in tables.topics(group)]
        found = tables.average(group, "Qwen3-4B-Base", "SLERP")
        assert found.score == pytest.approx(aggregate_subtask_metrics([cell.score for cell in cells], sizes))
        assert found.stderr == pytest.approx(pooled_sample_stderr([cell.stderr for cell in cells], sizes))
    averages = summary(tables)["weighted_averages"]
    # 135 x 30.4 + 265 x 49.8 + ... over 1,776 questions.
    assert averages["FR-MEDICAL"]["Qwen3-0.6B-Base"]["base"] == pytest.approx(31.657, abs=5e-4)
    assert averages["EN-OTHER"]["Qwen3-8B-Base"]["PDAPT"] == pytest.approx(53.786, abs=5e-4)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_two_tables_of_the_page_have_one_caption(tables, language):
    captions = [table.caption for _, of_section in sections(tables, [], Words.read(language)) for table in of_section]
    assert len(captions) > 10
    assert len(set(captions)) == len(captions)


def test_intervals_that_touch_are_not_apart(tables):
    change = tables.changes("FR-MEDICAL", "PDAPT")[0]
    at = replace(change, after=replace(change.after, score=round(change.before.score + 8.2, 1)))
    beyond = replace(change, after=replace(change.after, score=round(change.before.score + 8.3, 1)))
    assert (at.sign, beyond.sign) == (0, 1)
    assert count_clear([at, beyond]) == ClearChanges(positive=1, negative=0)


def test_a_score_has_the_counts_that_print_as_it():
    assert possible_counts(30.4, 135, 1) == [41]
    assert possible_counts(72.22, 100, 2) == []
    assert possible_counts(100.0, 100, 1) == [100]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw["table5"]["results"]["Qwen3-8B-Base"].pop("law"), "law"),
        (lambda raw: raw["table3"]["results"]["Qwen3-8B-Base"]["health"]["base"].update(score="much"), "much"),
        (lambda raw: raw["table3"]["results"]["Qwen3-8B-Base"]["health"]["base"].update(score=float("nan")), "NaN"),
        (lambda raw: raw["table4"].update(group="FR-OTHER"), "table4 is FR-OTHER"),
        (lambda raw: raw.pop("table7"), "table7"),
    ],
)
def test_spoilt_tables_are_named(tmp_path, spoil, message):
    raw = json.loads(TABLES_FILE.read_text())
    spoil(raw)
    (tmp_path / "tables.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match=message):
        Tables.read(tmp_path / "tables.json")


def test_the_file_says_where_its_figures_come_from():
    meta = json.loads(TABLES_FILE.read_text())["meta"]
    assert "PARCOMED" in meta["source"]
    assert meta["score_unit"] == "percent"
