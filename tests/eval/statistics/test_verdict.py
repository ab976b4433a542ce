"""The sentences on known scores."""

import pytest

from pdapt.core.errors import UserError
from pdapt.eval.statistics.verdict import summary_table, verdict


def test_a_trade_is_told(make_scores, tmp_path, trade):
    sentences = verdict(make_scores(tmp_path, trade))
    assert len(sentences) == 5
    assert sentences[0].startswith("Medical improved from base to cpt-10:")
    assert "−18.1 % (95 % interval −18.3 to −18.0)" in sentences[0]
    assert "+20.0 points" in sentences[0]
    assert sentences[1].startswith("General degraded from base to cpt-10:")
    assert sentences[4].startswith("The merge traded one domain for another")
    assert "medical worse, +10.5 %" in sentences[4]
    assert "general better, −7.7 %" in sentences[4]


def test_what_may_be_chance_is_not_called_a_change(make_scores, tmp_path, trade):
    sentences = verdict(make_scores(tmp_path, trade, p=0.2))
    assert all("shows no clear change" in sentence for sentence in sentences[:4])
    assert sentences[4].startswith("The merge changed no domain clearly")


@pytest.mark.parametrize(
    ("medical", "general", "claim"),
    [(-0.1, -0.1, "gained, and lost clearly in no domain"), (0.1, 0.1, "lost, and gained clearly in no domain")],
)
def test_a_merge_that_only_gains_or_only_loses_is_said_to(make_scores, tmp_path, trade, medical, general, claim):
    changes = trade | {("merged", "cpt-10"): {"medical": medical, "general": general}}
    assert f"The merge {claim}" in verdict(make_scores(tmp_path, changes))[4]


def test_summary_has_a_row_for_each_model(make_scores, tmp_path, trade):
    table = summary_table(make_scores(tmp_path, trade))
    assert [(row.model, row.role) for row in table] == [
        ("base", "base"),
        ("cpt-10", "checkpoint"),
        ("merged", "merged"),
    ]
    assert table[0].to_json()["medical"] == {
        "perplexity": 2.5,
        "perplexity_stderr": 0.02,
        "accuracy": 0.5,
        "accuracy_stderr": 0.02,
    }


def test_a_folder_without_scores_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"scores\.json is missing"):
        verdict(tmp_path)
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(UserError, match=r"scores\.json"):
        verdict(tmp_path)
