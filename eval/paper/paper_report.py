"""The page on the paper: its tables again, what follows from them, and our runs beside them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...core import log
from ...core.errors import UserError, nearest
from ...core.files import write_json, write_text
from ...core.manifest import Manifest, run_stage
from ..benchmark.cells import Problem
from ..report.benchmark_figures import Bar, Series, draw_averages, draw_trade
from ..report.benchmark_report import Findings, Wanted, find
from ..report.benchmark_tables import Words
from ..report.figures import draw_twice
from ..report.page import Picture, inline, render
from ..report.tabulate import Entry, Row, Table, scored, write_tables
from ..report.words import check_language, number, texts
from ..tasks.suite import SUITE
from .claims import WORDS, Claim, as_object, beyond_the_tables, claims
from .paper_tables import sections
from .tables import BASE, CHANGED, GROUPS, STATED, VARIANTS, Cell, Tables

ROLES = {"base": BASE, "adapted": "PDAPT", "merged": "SLERP"}
FAR = 1.96
"""Standard errors beyond which our score and the paper's are marked as different."""


def build_paper_report(path: Path, wanted: Wanted, out: Path) -> Manifest:
    """Write `index.html`, `figures/*.png`, `tables/*.csv` and `*.tex`, and `paper.json` (stage `paper-report`).

    Args:
        path: the tables.
        wanted: language, and our runs to lay beside the paper's: their names are those of Table 3; none is fine, too.
        out: the folder to make.

    Raises:
        UserError: the tables are spoilt, or runs are called after none of the paper's models.
    """
    check_language(wanted.language)
    tables = Tables.read(path)
    for name in wanted.folders:
        if name not in tables.models:
            raise UserError(
                f"the paper has no model {name!r}",
                where="--runs",
                allowed=", ".join(f"{model}=FOLDER" for model in tables.models),
                mend=nearest(name, tables.models),
            )
    ours = find(wanted) if wanted.folders else None
    inputs = {"tables": path, "stated": STATED, "words": WORDS}
    samples = (
        {} if ours is None else {f"{i.name}/{m}/{t}": a.digest for i in ours.runs for (m, t), a in i.answers.items()}
    )
    config = {"language": wanted.language, "checkpoints": wanted.checkpoints, "samples": samples}

    def body(work: Path) -> dict[str, Any]:
        w = Words(wanted.language, texts(wanted.language))
        made = claims(tables, wanted.language)
        overlay, problems = ([], []) if ours is None else overlay_tables(tables, ours, w)
        for problem in problems:
            log.warn(f"report: left out: {problem.model}, {problem.task}: {w(problem.reason, **problem.values)}")
        made_of = sections(tables, overlay, w)
        pictures = list(_pictures(tables, w, work / "figures"))
        write_tables([table for _, its in made_of for table in its], work / "tables")
        write_json(work / "paper.json", as_object(tables, wanted.language))
        page = render(
            "paper.html.jinja",
            title=w("paper_title"),
            language=w.language,
            w=w,
            lead=w("paper_lead", holds=sum(claim.holds for claim in made), claims=len(made)),
            claims=made,
            beyond=beyond_the_tables(wanted.language),
            sections=made_of,
            pictures=pictures,
            source=tables.raw["meta"]["source"],
        )
        write_text(work / "index.html", page)
        return _counts(made) | {"figures": len(pictures)}

    return run_stage("paper-report", inputs, config, out, body)


def overlay_tables(tables: Tables, ours: Findings, w: Words) -> tuple[list[Table], list[Problem]]:
    """Our scores beside the paper's, a table for each group; and what is left out for its number of questions."""
    found, problems = [], []
    for group in GROUPS:
        rows: list[Row] = []
        for family in ours.families:
            runs = family.runs
            for role, model in family.members():
                for task in (t for t in SUITE if t.group == group):
                    answers = runs.answers.get((model, task.name))
                    if answers is None:
                        continue
                    if len(answers.right) != task.questions:
                        sizes = {"found": len(answers.right), "wanted": task.questions}
                        problems.append(Problem(answers.model, task.name, "other_size", sizes))
                        continue
                    theirs = tables.cell(group, runs.name, ROLES[role], task.subject)
                    mine = Cell(100 * answers.score, 100 * answers.stderr)
                    rows.append(
                        _beside(w("of", group=f"{runs.name}, {w(role)}", what=task.abbreviation), theirs, mine, w)
                    )
        if rows:
            columns = [w(key) for key in ("task", "paper", "our_runs", "difference")]
            found.append(Table(f"overlay-{group}", w("overlay_caption", group=w(group)), columns, rows))
    return found, problems


def _beside(head: str, theirs: Cell, mine: Cell, w: Words) -> Row:
    difference, error = mine.score - theirs.score, float(np.hypot(mine.stderr, theirs.stderr))
    mark = "" if abs(difference) <= FAR * error else "better" if difference > 0 else "worse"
    told = {"": "", "better": w("told_above"), "worse": w("told_below")}[mark]
    text = f"{number(difference, '+.1f', w.language)} ± {number(error, '.1f', w.language)}"
    entries = [scored(cell.score, cell.stderr, w.language) for cell in (theirs, mine)]
    return Row(head, [*entries, Entry(text, difference, error, mark, told)])


def _counts(made: list[Claim]) -> dict[str, int]:
    return {"claims": len(made), "hold": sum(claim.holds for claim in made)}


def _pictures(tables: Tables, w: Words, folder: Path) -> Iterator[Picture]:
    folder.mkdir(exist_ok=True)
    names = [model.removesuffix("-Base") for model in tables.models]

    def picture(draw: Any, name: str, caption: str) -> Picture:
        return Picture(inline(draw_twice(draw, folder, name)), caption, f"{caption} {w('values_in_tables')}")

    for group in GROUPS:
        series = []
        for variant in VARIANTS:
            means = [tables.average(group, model, variant) for model in tables.models]
            bars = [(m.score, m.score - m.stderr, m.score + m.stderr) for m in means]
            series.append(Series(variant, [float(i) for i in range(len(names))], bars))
        draw = partial(draw_averages, names, series, w("axis_right"))
        yield picture(draw, f"figure-2-{group}", w("figure_averages", group=w(group)))
    for language in ("FR", "EN"):
        points = [_trade(tables, language, model, variant) for variant in CHANGED for model in tables.models]
        draw = partial(draw_trade, points, (w("axis_other"), w("axis_medical")))
        yield picture(draw, f"trade-{language}", w("figure_trade", language=w(language)))


def _trade(tables: Tables, language: str, model: str, variant: str) -> tuple[str, Bar, Bar]:
    across, up = (_change(tables, f"{language}-{kind}", model, variant) for kind in ("OTHER", "MEDICAL"))
    return f"{model.removesuffix('-Base')} {variant}", across, up


def _change(tables: Tables, group: str, model: str, variant: str) -> Bar:
    """Change of an average with a 95 % interval, as if the two were from different questions."""
    its = tables.average_change(group, model, variant)
    reach = 1.96 * float(np.hypot(its.before.stderr, its.after.stderr))
    return its.difference, its.difference - reach, its.difference + reach
