"""The report on the paper: its tables, the claims that follow from them, and our results beside them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ...core import log
from ...core.errors import UserError, nearest
from ...core.files import write_json, write_text
from ...core.manifest import Manifest, run_stage
from ..benchmark.read_results import Problem, Reason
from ..report.benchmark_figures import Bar, Series, draw_averages, draw_tradeoff
from ..report.benchmark_report import BenchmarkReportOptions, Findings, draw_picture, read_findings, sample_hashes
from ..report.page import Picture, render
from ..report.table_formats import Entry, Mark, Row, Table, score_entry, write_tables
from ..report.texts import Words, check_language, format_number
from ..statistics.compare import Family, FamilyRole
from ..tasks.suite import SUITE
from .claims import CLAIMS_FILE, Claim, claims, claims_json, undecidable_claims
from .report_tables import sections
from .tables import BASE, CHANGED, VARIANTS, Tables
from .tables_file import GROUPS, STATED_FILE, Cell

VARIANTS_OF_ROLES = {FamilyRole.BASE: BASE, FamilyRole.ADAPTED: "PDAPT", FamilyRole.MERGED: "SLERP"}
"""Role in a family -> the paper's variant."""
LARGE_DIFFERENCE = 1.96
"""Standard errors beyond which our score and the paper's are marked as different."""


def build_paper_report(path: Path, options: BenchmarkReportOptions, out: Path) -> Manifest:
    """Write `index.html`, `figures/*.png`, `tables/*.csv` and `*.tex`, and `paper.json` (stage `paper-report`).

    Args:
        path: the tables.
        options: language, and folders of our results to compare with the paper's, by the names of Table 3; may be none.
        out: the folder to make.

    Raises:
        UserError: the tables are damaged, or a folder is not named after one of the paper's models.
    """
    check_language(options.language)
    tables = Tables.read(path)
    for name in options.folders:
        if name not in tables.models:
            raise UserError(
                f"the paper has no model {name!r}",
                where="--runs",
                allowed=", ".join(f"{model}=FOLDER" for model in tables.models),
                fix=nearest(name, tables.models),
            )
    ours = read_findings(options) if options.folders else None
    inputs = {"tables": path, "stated": STATED_FILE, "words": CLAIMS_FILE}
    samples = {} if ours is None else sample_hashes(ours.runs)
    config = {"language": options.language, "checkpoints": options.checkpoints, "samples": samples}
    body = partial(_write_report, tables, ours, Words.read(options.language))
    return run_stage("paper-report", inputs, config, out=out, body=body)


def _write_report(tables: Tables, ours: Findings | None, w: Words, work: Path) -> dict[str, int]:
    """Fill the report's folder; the manifest's counts."""
    checked = claims(tables, w.language)
    overlay, problems = ([], []) if ours is None else overlay_tables(tables, ours, w)
    for problem in problems:
        log.warn(f"report: left out: {problem.model}, {problem.task}: {w(problem.reason, **problem.values)}")
    page_sections = sections(tables, overlay, w)
    pictures = list(_pictures(tables, w, work / "figures"))
    write_tables([table for _, of_section in page_sections for table in of_section], work / "tables")
    write_json(work / "paper.json", claims_json(tables, w.language))
    counts = _counts(checked)
    page = render(
        "paper.html.jinja",
        title=w("paper_title"),
        language=w.language,
        w=w,
        lead=w("paper_lead", holds=counts["hold"], claims=counts["claims"]),
        claims=checked,
        beyond=undecidable_claims(w.language),
        sections=page_sections,
        pictures=pictures,
        source=tables.file.provenance,
    )
    write_text(work / "index.html", page)
    return counts | {"figures": len(pictures)}


def overlay_tables(tables: Tables, ours: Findings, w: Words) -> tuple[list[Table], list[Problem]]:
    """Our scores beside the paper's, a table for each group; and tasks left out for their number of questions."""
    overlay: list[Table] = []
    problems: list[Problem] = []
    for group in GROUPS:
        rows: list[Row] = []
        for family in ours.families:
            of_family, left_out = _overlay_rows(tables, family, group, w)
            rows += of_family
            problems += left_out
        if rows:
            columns = [w(key) for key in ("task", "paper", "our_runs", "difference")]
            overlay.append(Table(f"overlay-{group}", w("overlay_caption", group=w(group)), columns, rows))
    return overlay, problems


def _overlay_rows(tables: Tables, family: Family, group: str, w: Words) -> tuple[list[Row], list[Problem]]:
    rows: list[Row] = []
    problems: list[Problem] = []
    runs = family.runs
    for role, model in family.members():
        for task in (task for task in SUITE if task.group == group):
            answers = runs.answers.get((model, task.name))
            if answers is None:
                continue
            if len(answers.right) != task.questions:
                sizes = {"found": len(answers.right), "wanted": task.questions}
                problems.append(Problem(answers.model, task.name, Reason.OTHER_SIZE, sizes))
                continue
            theirs = tables.cell(group, runs.name, VARIANTS_OF_ROLES[role], task.subject)
            head = w("of", group=f"{runs.name}, {w(role)}", what=task.abbreviation)
            rows.append(_overlay_row(head, theirs, Cell(100 * answers.score, 100 * answers.stderr), w))
    return rows, problems


def _overlay_row(head: str, theirs: Cell, ours: Cell, w: Words) -> Row:
    difference, error = ours.score - theirs.score, float(np.hypot(ours.stderr, theirs.stderr))
    mark, mark_words = Mark.NONE, ""
    if abs(difference) > LARGE_DIFFERENCE * error:
        above = difference > 0
        mark, mark_words = (Mark.BETTER, w("told_above")) if above else (Mark.WORSE, w("told_below"))
    text = f"{format_number(difference, '+.1f', w.language)} ± {format_number(error, '.1f', w.language)}"
    entries = [score_entry(cell.score, cell.stderr, w.language) for cell in (theirs, ours)]
    return Row(head, [*entries, Entry(text, difference, error, mark=mark, mark_words=mark_words)])


def _counts(checked: list[Claim]) -> dict[str, int]:
    return {"claims": len(checked), "hold": sum(claim.holds for claim in checked)}


def _pictures(tables: Tables, w: Words, folder: Path) -> Iterator[Picture]:
    folder.mkdir(exist_ok=True)
    names = [model.removesuffix("-Base") for model in tables.models]
    for group in GROUPS:
        series = []
        for variant in VARIANTS:
            means = [tables.average(group, model, variant) for model in tables.models]
            bars = [(m.score, m.score - m.stderr, m.score + m.stderr) for m in means]
            series.append(Series(variant, [float(place) for place in range(len(names))], bars))
        draw = partial(draw_averages, names, series, w("axis_right"))
        yield draw_picture(draw, folder, f"figure-2-{group}", caption=w("figure_averages", group=w(group)), w=w)
    for language in ("FR", "EN"):
        points = [_tradeoff_point(tables, language, model, variant) for variant in CHANGED for model in tables.models]
        draw = partial(draw_tradeoff, points, (w("axis_other"), w("axis_medical")))
        yield draw_picture(draw, folder, f"trade-{language}", caption=w("figure_trade", language=w(language)), w=w)


def _tradeoff_point(tables: Tables, language: str, model: str, variant: str) -> tuple[str, Bar, Bar]:
    other, medical = (_change(tables, f"{language}-{topic}", model, variant) for topic in ("OTHER", "MEDICAL"))
    return f"{model.removesuffix('-Base')} {variant}", other, medical


def _change(tables: Tables, group: str, model: str, variant: str) -> Bar:
    """Change of an average with a 95 % interval, as if the two scores came from different questions."""
    change = tables.average_change(group, model, variant)
    reach = 1.96 * float(np.hypot(change.before.stderr, change.after.stderr))
    return change.difference, change.difference - reach, change.difference + reach
