"""The report on the paper: its tables, the claims that follow from them, and our results beside them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from ...core import log
from ...core.errors import UserError, nearest
from ...core.files import write_json, write_text
from ...core.manifest import Manifest, run_stage
from ..benchmark.read_results import Problem, Reason
from ..report.answer import Answer, answer, role_looks
from ..report.benchmark_figures import Bar, Panel, Series, draw_averages, draw_tradeoff
from ..report.benchmark_findings import BenchmarkReportOptions, Findings, read_findings, sample_hashes
from ..report.benchmark_page import limits
from ..report.headline import AreaChange, headline
from ..report.page import Detail, Paragraph, Picture, draw_picture, render, tables_of
from ..report.table_formats import Entry, Mark, Row, Table, score_entry, write_tables
from ..report.texts import Words, check_language, format_number
from ..report.theme import Look
from ..statistics.compare import Family, FamilyRole
from ..statistics.multiple_testing import holm
from ..tasks.suite import SUITE, TARGET_GROUP
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
    figures = work / "figures"
    figures.mkdir()
    counts = _counts(checked)
    page, details = _answer(tables, counts, w, figures), _details(tables, overlay, w, figures)
    write_tables([*([page.decisions] if page.decisions else []), *tables_of(details)], work / "tables")
    write_json(work / "paper.json", claims_json(tables, w.language))
    text = render(
        "paper.html.jinja",
        title=w("paper_title"),
        w=w,
        lead=w("paper_lead"),
        answer=page,
        warnings=[w("warning_left_out", count=len(problems))] if problems else [],
        details=details,
        claims=checked,
        beyond=undecidable_claims(w.language),
    )
    write_text(work / "index.html", text)
    return counts | {"figures": sum(len(detail.pictures) for detail in details) + 1}


def _answer(tables: Tables, counts: dict[str, int], w: Words, figures: Path) -> Answer:
    """How many statements follow, and what the averages say of the adapted models."""
    changes = area_changes(tables, w)
    of_models = answer(changes, w, figures)
    follow = w(
        "paper_answer_claims", holds=counts["hold"], claims=counts["claims"], fails=counts["claims"] - counts["hold"]
    )
    return Answer((follow, headline(changes, w)[0]), of_models.picture, of_models.decisions, of_models.all_decisions)


def area_changes(tables: Tables, w: Words) -> list[AreaChange]:
    """Changes of the groups' averages as if the two scores came from different questions; p after Holm over all."""
    keys = [
        (group, model, role)
        for group in sorted(GROUPS, key=lambda g: g != TARGET_GROUP)
        for model in tables.models
        for role in (FamilyRole.ADAPTED, FamilyRole.MERGED)
    ]
    bars = [_change(tables, group, model, VARIANTS_OF_ROLES[role]) for group, model, role in keys]
    errors = [(high - low) / 2 / LARGE_DIFFERENCE for _, low, high in bars]
    p_holm = holm([float(2 * stats.norm.sf(abs(bar[0]) / error)) for bar, error in zip(bars, errors, strict=True)])
    return [
        AreaChange(
            family=model.removesuffix("-Base"),
            role=role,
            model=VARIANTS_OF_ROLES[role],
            area=w(f"area_{group}"),
            label=w(group),
            change=bar[0],
            low=bar[1],
            high=bar[2],
            p=p,
            units=sum(tables.topics(group).values()),
            target=group == TARGET_GROUP,
            colour=list(tables.models).index(model),
        )
        for (group, model, role), bar, p in zip(keys, bars, p_holm, strict=True)
    ]


def _details(tables: Tables, overlay: list[Table], w: Words, figures: Path) -> list[Detail]:
    pictures = list(_pictures(tables, w, figures))
    details = []
    for name, of_section in sections(tables, overlay, w):
        source = [_provenance(tables, w)] if name == "readings" else []
        shown = pictures if name == "averages" else []
        details.append(Detail(name, w(name), source, shown, tables=of_section, is_open=name == "overlay"))
    return details


def _provenance(tables: Tables, w: Words) -> Paragraph:
    """The source of the tables; that of tables of the user's in their own words."""
    text = tables.file.provenance
    shown = w.of_english(text)
    return Paragraph(shown, "en" if shown == text and w.language != "en" else "")


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
    names = [model.removesuffix("-Base") for model in tables.models]
    every = [series for group in GROUPS for series in _averages(tables, group)]
    for group in GROUPS:
        panel = Panel(("", w("axis_right")), limits(every))
        draw = partial(draw_averages, names, _averages(tables, group), panel, role_looks(list(FamilyRole), w))
        caption = w("figure_averages", group=w(group), basis=_basis(tables, group, w))
        yield draw_picture(draw, folder, f"figure-2-{group}", caption=caption, w=w)
    every = [series for language in ("FR", "EN") for series in _tradeoffs(tables, language)]
    for language in ("FR", "EN"):
        panel = Panel((w("axis_other"), w("axis_medical")), limits(every), limits(every, across=True))
        draw = partial(draw_tradeoff, _tradeoffs(tables, language), panel, role_looks(list(FamilyRole)[1:], w))
        groups = (f"{language}-MEDICAL", f"{language}-OTHER")
        basis = w("semicolon").join(f"{w(group)}, {_basis(tables, group, w)}" for group in groups)
        caption = w("figure_trade", language=w(language), basis=basis)
        yield draw_picture(draw, folder, f"trade-{language}", caption=caption, w=w)


def _basis(tables: Tables, group: str, w: Words) -> str:
    sizes = tables.topics(group).values()
    return w("basis_all", questions=sum(sizes), tasks=len(sizes))


def _averages(tables: Tables, group: str) -> list[Series]:
    """Averages of all models, ± one standard error."""
    series = []
    for number, model in enumerate(tables.models):
        for marker, variant in enumerate(VARIANTS):
            mean = tables.average(group, model, variant)
            bar = (mean.score, mean.score - mean.stderr, mean.score + mean.stderr)
            series.append(Series(model, [number + 0.16 * (marker - 1)], [bar], Look(number, marker)))
    return series


def _tradeoffs(tables: Tables, language: str) -> list[Series]:
    """A point for each adapted and merged model."""
    series = []
    for variant in CHANGED:
        for number, model in enumerate(tables.models):
            across, up = (_change(tables, f"{language}-{topic}", model, variant) for topic in ("OTHER", "MEDICAL"))
            look = Look(number, VARIANTS.index(variant))
            series.append(Series(model.removesuffix("-Base"), [across[0]], [up], look, across=[across]))
    return series


def _change(tables: Tables, group: str, model: str, variant: str) -> Bar:
    """Change of an average with a 95 % interval, as if the two scores came from different questions."""
    change = tables.average_change(group, model, variant)
    reach = LARGE_DIFFERENCE * float(np.hypot(change.before.stderr, change.after.stderr))
    return change.difference, change.difference - reach, change.difference + reach
