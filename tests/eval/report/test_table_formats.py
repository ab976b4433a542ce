"""A table as CSV and LaTeX."""

from pdapt.eval.report.table_formats import Entry, Mark, Row, Table, to_csv, to_latex


def test_a_table_in_latex_and_csv_keeps_values_marks_and_odd_characters():
    entries = [Entry("30.4 ± 4.0", 30.4, 4.0, Mark.BETTER, "better", strong=True), Entry("−1 % & _")]
    rows = [Row("a_b", entries, begins=True), Row("c", entries[:1] * 2)]
    table = Table("t", "A {caption}", ["Model", "Anat.", "note"], rows)
    latex = to_latex(table)
    assert r"a\_b & \cellcolor{green!20}\textbf{30.4 $\pm$ 4.0} & $-$1 \% \& \_ \\" in latex
    assert r"\caption{A \{caption\}}" in latex
    assert to_csv(table).splitlines()[:2] == [
        "Model,Anat.,Anat. stderr,Anat. mark,note,note stderr,note mark",
        "a_b,30.4,4,better,−1 % & _,,",
    ]
