"""Tables of a benchmark report on groups of tasks."""

from pdapt.eval.report.benchmark_findings import BenchmarkReportOptions, read_findings
from pdapt.eval.report.benchmark_tables import groups_table
from pdapt.eval.report.texts import Words


def test_averages_of_a_group_are_in_percent_with_their_pooled_errors(benchmark):
    """A quarter and a half of two times 40 questions: variances 40 / 39 p (1 - p), over 80."""
    benchmark.tasks = ["mmlu_med_fr_anatomy", "mmlu_prox_fr_health"]
    benchmark.add("A", "base", lambda _, question: question % 4 < 1)
    benchmark.add("B", "checkpoint", lambda _, question: question % 4 < 2)
    compared = read_findings(BenchmarkReportOptions({"runs": benchmark.folder}, {})).compared
    table = groups_table(compared.groups, Words.read("en"), target="FR-MEDICAL")
    (row,) = table.rows
    tasks, before, after, change = (entry.text for entry in row.entries[:4])
    assert (tasks, before, after) == ("2", "25.0 ± 4.9", "50.0 ± 5.7")
    assert "25.0" in change
    chosen = "only questions that were not used for the choice count in"
    assert table.caption.endswith(f"{chosen} medicine in French.")
    other = groups_table(compared.groups, Words.read("fr"), target="recht").caption
    assert other.endswith("comptent dans «\N{NO-BREAK SPACE}recht\N{NO-BREAK SPACE}».")
    assert chosen not in groups_table(compared.groups, Words.read("en"), target=None).caption
