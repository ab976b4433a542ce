"""Tables of a benchmark report on settings and cost."""

from dataclasses import replace

from pdapt.core.training_cost import Spent
from pdapt.eval.report.settings_tables import training_cost_tables
from pdapt.eval.report.texts import Words


def test_damage_to_a_trainings_record_is_a_table_of_its_own() -> None:
    sound = Spent(4320, 10_191_000_000, 12.5, 600.0, 0.9312, 1.26e9)
    damaged = replace(sound, record_faults=("Line 6 of log.jsonl cannot be read: not valid JSON.", "and another"))
    for language in ("en", "fr"):
        words = Words.read(language)
        assert [table.name for table in training_cost_tables({"A": sound}, words)] == ["train-cost"]
        _, faults = training_cost_tables({"A": sound, "B": damaged}, words)
        assert [(row.head, row.entries[0].text) for row in faults.rows] == [
            ("B", each) for each in damaged.record_faults
        ]


def test_what_a_record_lacks_widens_the_goodput_and_bounds_the_steps_from_below() -> None:
    words = Words.read("en")

    def row(spent: Spent) -> list[str]:
        (table,) = training_cost_tables({"A": spent}, words)
        return [entry.text for entry in table.rows[0].entries]

    whole = Spent(4320, 10_191_000_000, 12.5, 600.0, 0.75, 3.6e9)
    assert row(whole) == ["4,320", "10,191,000,000", "12.50", "600.0", "75.0", "1,000.0"]
    assert row(replace(whole, lost=3))[:2] == ["≥ 4,320", "≥ 10,191,000,000"]
    assert row(replace(whole, unknown=0.125))[4] == "75.0 – 87.5"
