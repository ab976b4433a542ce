"""The page on the paper: its tables again, what follows from them, and our runs beside them."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core import log
from ..core.errors import UserError, nearest
from ..core.files import write_json, write_text
from ..core.manifest import Manifest, run_stage
from .benchmark_figures import Bar, Series, draw_averages, draw_trade
from .benchmark_report import Findings, Wanted, find
from .benchmark_tables import PAIRS, Words
from .cells import Problem, suite
from .figures import draw_twice
from .language import check_language, number, texts
from .page import Picture, inline, render
from .paper import BASE, CHANGED, GROUPS, STATED, VARIANTS, Cell, Tables, count, count_adjusted
from .paper_claims import WORDS, Claim, as_object, beyond_the_tables, claims
from .statistics import FALSE_POSITIVE_RATE, disjoint
from .tabulate import Entry, Mark, Row, Table, plain, scored, write_tables

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
        sections = _sections(tables, overlay, w)
        pictures = list(_pictures(tables, w, work / "figures"))
        write_tables([table for _, its in sections for table in its], work / "tables")
        write_json(work / "paper.json", as_object(tables, wanted.language))
        page = render(
            "paper.html.jinja",
            title=w("paper_title"),
            language=w.language,
            w=w,
            lead=w("paper_lead", holds=sum(claim.holds for claim in made), claims=len(made)),
            claims=made,
            beyond=beyond_the_tables(wanted.language),
            sections=sections,
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
                for task in (t for t in suite().values() if t.group == group):
                    answers = runs.answers.get((model, task.name))
                    if answers is None:
                        continue
                    if len(answers.right) != task.questions:
                        sizes = {"found": len(answers.right), "wanted": task.questions}
                        problems.append(Problem(answers.model, task.name, "other_size", sizes))
                        continue
                    theirs = tables.cell(group, runs.name, ROLES[role], task.topic)
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


def _sections(tables: Tables, overlay: list[Table], w: Words) -> list[tuple[str, list[Table]]]:
    sections = [("overlay", overlay)] if overlay else []
    return [
        *sections,
        ("results", [_results(tables, group, w) for group in GROUPS]),
        ("averages", [_averages(tables, w)]),
        ("rules", [_rules(tables, w)]),
        ("corpus", [_corpus(tables, w)]),
        ("ranking", [_ranking(tables, w)]),
        ("all_models", [_baselines(tables, number_, topics, w) for number_, topics in enumerate(PAIRS, start=8)]),
        ("readings", [_readings(tables, w)]),
    ]


def _mark(sign: int, w: Words) -> Mark:
    mark = {1: "better", -1: "worse", 0: ""}[sign]
    return mark, w(f"told_{mark}") if mark else ""


def _results(tables: Tables, group: str, w: Words) -> Table:
    """Tables 3 to 6."""
    abbreviations = {row["topic"]: row["abbrev"] for row in tables.raw["table2"]}
    rows = []
    for model in tables.models:
        for variant in VARIANTS:
            entries = [_cell(tables, group, model, variant, topic, w) for topic in tables.topics(group)]
            mean = tables.average(group, model, variant)
            sign = tables.average_change(group, model, variant).sign if variant != BASE else 0
            entries.append(scored(mean.score, mean.stderr, w.language, mark=_mark(sign, w)))
            rows.append(Row(model if variant == BASE else f"+ {variant}", entries, begins=variant == BASE))
    columns = [w("model"), *(abbreviations[topic] for topic in tables.topics(group)), w("average")]
    caption = w("paper_results_caption", table=GROUPS[group][5:], group=w(group))
    return Table(f"table-{GROUPS[group][5:]}", caption, columns, rows)


def _cell(tables: Tables, group: str, model: str, variant: str, topic: str, w: Words) -> Entry:
    before, its = tables.cell(group, model, BASE, topic), tables.cell(group, model, variant, topic)
    sign = disjoint(before.score, before.stderr, its.score, its.stderr)
    return scored(its.score, its.stderr, w.language, strong=its.score > before.score, mark=_mark(sign, w))


def _averages(tables: Tables, w: Words) -> Table:
    rows = []
    for group in GROUPS:
        for model in tables.models:
            means = [tables.average(group, model, variant) for variant in VARIANTS]
            signs = [0, *(tables.average_change(group, model, variant).sign for variant in CHANGED)]
            entries = [
                scored(m.score, m.stderr, w.language, 2, mark=_mark(s, w)) for m, s in zip(means, signs, strict=True)
            ]
            rows.append(Row(w("of", group=w(group), what=model), entries, begins=model == tables.models[0]))
    return Table("averages", w("paper_averages_caption"), [w("comparison"), *VARIANTS], rows)


def _rules(tables: Tables, w: Words) -> Table:
    corrected = count_adjusted(tables)
    rows = []
    for group in GROUPS:
        for variant in CHANGED:
            counts = [
                count(tables.changes(group, variant)),
                *(corrected[rule][group][variant] for rule in ("fdr_bh", "holm")),
            ]
            entries = [Entry(f"+{its['positive']} −{its['negative']}") for its in counts]
            rows.append(Row(w("of", group=w(group), what=variant), entries, begins=variant == CHANGED[0]))
    comparisons = len(tables.changes("FR-MEDICAL", "PDAPT")) * 2
    values = {
        "chance": FALSE_POSITIVE_RATE * comparisons,
        "comparisons": comparisons,
        "family": len(tables.all_changes()),
    }
    columns = [w("comparison"), *(w(f"rule_{rule}") for rule in ("paper", "fdr_bh", "holm"))]
    return Table("rules", w("paper_rules_caption", **values), columns, rows)


def _corpus(tables: Tables, w: Words) -> Table:
    """Table 1, with totals as they add up and as printed."""

    def row(head: str, kind: str, commercial: str, docs: int, words: int, *, begins: bool = False) -> Row:
        return Row(
            head,
            [Entry(kind), Entry(commercial), plain(docs, w.language, ",d"), plain(words, w.language, ",d")],
            begins,
        )

    sources = tables.raw["table1"]["rows"]
    rows = [
        row(s["source"], s["doc_type"], w("yes_") if s["commercial"] else w("no_"), s["n_docs"], s["n_words"])
        for s in sources
    ]
    for edition in ("commercial", "research"):
        its = [s for s in sources if s["commercial"] or edition == "research"]
        stated = tables.raw["table1"]["stated_totals"][edition]
        name = w(f"total_{edition}")
        sums = (sum(s["n_docs"] for s in its), sum(s["n_words"] for s in its))
        rows.append(row(f"{name}, {w('computed')}", "", "", *sums, begins=True))
        rows.append(row(f"{name}, {w('as_printed')}", "", "", stated["n_docs"], stated["n_words"]))
    return Table(
        "table-1", w("corpus_caption"), [w(k) for k in ("source", "kind", "commercial", "documents", "words")], rows
    )


def _ranking(tables: Tables, w: Words) -> Table:
    """Table 7."""
    ranks = tables.ranks()
    printed = {row["model"]: row["avg_rank"] for row in tables.raw["table7"]}
    rows = [
        Row(
            model,
            [
                plain(ranks[model], w.language, ".2f"),
                plain(printed[model], w.language, ".2f") if model in printed else Entry("–"),
            ],
        )
        for model in sorted(ranks, key=lambda name: ranks[name])
    ]
    return Table("table-7", w("paper_ranking_caption"), [w("model"), w("computed"), w("printed")], rows)


def _baselines(tables: Tables, number_: int, topics: Sequence[str], w: Words) -> Table:
    """Tables 8 to 11."""
    abbreviations = {row["topic"]: row["abbrev"] for row in tables.raw["table2"]}
    best = {
        topic: max((tables.baseline(m, topic, "FR") for m in tables.baselines), key=lambda c: c.score)
        for topic in topics
    }

    def entry(model: str, topic: str, language: str) -> Entry:
        its = tables.baseline(model, topic, language)
        top = best[topic]
        near = language == "FR" and not disjoint(its.score, its.stderr, top.score, top.stderr)
        mark = ("better" if its.score == top.score else "near") if near else ""
        told = {"better": w("told_best"), "near": w("told_near"), "": ""}[mark]
        return scored(its.score, its.stderr, w.language, 2, mark=(mark, told), strong=near)

    columns = [(topic, language) for topic in topics for language in ("EN", "FR")]
    rows = [Row(model, [entry(model, *column) for column in columns]) for model in tables.baselines]
    heads = [f"{abbreviations[topic]} {language}" for topic, language in columns]
    return Table(f"table-{number_}", w("all_models_caption"), [w("model"), *heads], rows)


def _readings(tables: Tables, w: Words) -> Table:
    rows = [Row(n["where"], [Entry(n["raw"]), Entry(n["fixed"]), Entry(n["why"])]) for n in tables.raw["notes"]]
    return Table("readings", w("readings_caption"), [w("section"), w("printed"), w("value"), w("why")], rows)


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
