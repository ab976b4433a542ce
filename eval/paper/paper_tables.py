"""The paper's tables as tables of the page."""

from collections.abc import Sequence

from ..report.benchmark_tables import Words
from ..report.ranking_tables import PAIRS
from ..report.tabulate import Entry, Mark, Row, Table, plain, scored
from ..statistics.estimates import FALSE_POSITIVE_RATE, disjoint
from .tables import BASE, CHANGED, GROUPS, VARIANTS, Tables, count, count_adjusted


def sections(tables: Tables, overlay: list[Table], w: Words) -> list[tuple[str, list[Table]]]:
    """Key of a section's heading -> its tables, our runs' first."""
    return [
        *([("overlay", overlay)] if overlay else []),
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
