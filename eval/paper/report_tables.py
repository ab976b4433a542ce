"""Tables of the report on the paper."""

from collections.abc import Sequence

from ..report.ranking_tables import TOPICS_OF_TABLES, all_models_caption
from ..report.table_formats import Entry, Mark, Row, Table, number_entry, score_entry
from ..report.texts import Words, decimals, reference
from ..statistics.multiple_testing import FALSE_POSITIVE_RATE, ClearRule, disjoint
from .tables import BASE, CHANGED, VARIANTS, Tables, count_adjusted, count_clear
from .tables_file import GROUPS, Cell, Size


def sections(tables: Tables, overlay: list[Table], w: Words) -> list[tuple[str, list[Table]]]:
    """Key of a section's heading -> its tables, our runs' first."""
    return [
        *([("overlay", overlay)] if overlay else []),
        ("results", [_results(tables, group, w) for group in GROUPS]),
        ("averages", [_averages(tables, w)]),
        ("rules", [_rules(tables, w)]),
        ("corpus", [_corpus(tables, w)]),
        ("ranking", [_ranking(tables, w)]),
        (
            "all_models",
            [_baselines(tables, number, topics, w) for number, topics in enumerate(TOPICS_OF_TABLES, start=8)],
        ),
        ("readings", [_readings(tables, w)]),
    ]


def _scored(cell: Cell, sign: int, w: Words, *, digits: int = 1, strong: bool = False) -> Entry:
    """A score, marked by the sign of a clear change."""
    mark = Mark.of_sign(sign)
    words = w(f"told_{mark}") if mark else ""
    return score_entry(cell.score, cell.stderr, w.language, digits=digits, mark=mark, mark_words=words, strong=strong)


def _results(tables: Tables, group: str, w: Words) -> Table:
    """Tables 3 to 6."""
    abbreviations = {topic.name: topic.abbreviation for topic in tables.file.topics}
    rows = []
    for model in tables.models:
        for variant in VARIANTS:
            entries = [_cell(tables, group, model, variant=variant, topic=topic, w=w) for topic in tables.topics(group)]
            mean = tables.average(group, model, variant)
            sign = tables.average_change(group, model, variant).sign if variant != BASE else 0
            entries.append(_scored(mean, sign, w))
            rows.append(Row(model if variant == BASE else f"+ {variant}", entries, begins=variant == BASE))
    columns = [w("model"), *(abbreviations[topic] for topic in tables.topics(group)), w("average")]
    caption = w("paper_results_caption", table=GROUPS[group][5:], group=w(group))
    return Table(f"table-{GROUPS[group][5:]}", caption, columns, rows)


def _cell(tables: Tables, group: str, model: str, variant: str, topic: str, w: Words) -> Entry:
    before, after = tables.cell(group, model, BASE, topic), tables.cell(group, model, variant, topic)
    sign = disjoint(before.score, before.stderr, after.score, after.stderr)
    return _scored(after, sign, w, strong=after.score > before.score)


def _averages(tables: Tables, w: Words) -> Table:
    rows = []
    for group in GROUPS:
        for model in tables.models:
            means = [tables.average(group, model, variant) for variant in VARIANTS]
            signs = [0, *(tables.average_change(group, model, variant).sign for variant in CHANGED)]
            entries = [_scored(mean, sign, w, digits=2) for mean, sign in zip(means, signs, strict=True)]
            rows.append(Row(w("of", group=w(group), what=model), entries, begins=model == tables.models[0]))
    return Table("averages", w("paper_averages_caption"), [w("comparison"), *VARIANTS], rows)


def _rules(tables: Tables, w: Words) -> Table:
    corrected = count_adjusted(tables)
    rows = []
    for group in GROUPS:
        for variant in CHANGED:
            counts = [
                count_clear(tables.changes(group, variant)),
                *(corrected[rule][group][variant] for rule in (ClearRule.BENJAMINI_HOCHBERG, ClearRule.HOLM)),
            ]
            entries = [Entry(f"+{of_rule.positive} −{of_rule.negative}") for of_rule in counts]
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
    """Table 1, with computed and printed totals."""

    def row(head: str, kind: str, commercial: str, size: Size, *, begins: bool = False) -> Row:
        numbers = [number_entry(number, w.language, ",d") for number in (size.documents, size.words)]
        return Row(head, [Entry(kind), Entry(commercial), *numbers], begins)

    rows = [
        row(source.name, source.document_type, w("yes_") if source.commercial else w("no_"), source.size)
        for source in tables.file.sources
    ]
    for edition in ("commercial", "research"):
        name, total = w(f"total_{edition}"), tables.corpus_size(commercial_only=edition == "commercial")
        rows.append(row(f"{name}, {w('computed')}", "", "", total, begins=True))
        rows.append(row(f"{name}, {w('as_printed')}", "", "", tables.file.editions[edition]))
    return Table(
        "table-1", w("corpus_caption"), [w(k) for k in ("source", "kind", "commercial", "documents", "words")], rows
    )


def _ranking(tables: Tables, w: Words) -> Table:
    """Table 7."""
    ranks = tables.ranks()
    printed = tables.file.ranks
    rows = [
        Row(
            model,
            [
                number_entry(ranks[model], w.language, ".2f"),
                number_entry(printed[model], w.language, ".2f") if model in printed else Entry("–"),
            ],
        )
        for model in sorted(ranks, key=lambda name: ranks[name])
    ]
    return Table("table-7", w("paper_ranking_caption"), [w("model"), w("computed"), w("printed")], rows)


def _baselines(tables: Tables, number: int, topics: Sequence[str], w: Words) -> Table:
    """Tables 8 to 11."""
    abbreviations = {topic.name: topic.abbreviation for topic in tables.file.topics}
    best = {
        topic: max((tables.baseline(m, topic, "FR") for m in tables.baselines), key=lambda c: c.score)
        for topic in topics
    }

    def entry(model: str, topic: str, language: str) -> Entry:
        cell, top = tables.baseline(model, topic, language), best[topic]
        mark, words = Mark.NONE, ""
        if language == "FR" and not disjoint(cell.score, cell.stderr, top.score, top.stderr):
            is_best = cell.score == top.score
            mark, words = (Mark.BETTER, w("told_best")) if is_best else (Mark.NEAR, w("told_near"))
        return score_entry(
            cell.score, cell.stderr, w.language, digits=2, mark=mark, mark_words=words, strong=bool(mark)
        )

    columns = [(topic, language) for topic in topics for language in ("EN", "FR")]
    rows = [Row(model, [entry(model, *column) for column in columns]) for model in tables.baselines]
    heads = [f"{abbreviations[topic]} {language}" for topic, language in columns]
    questions = {topic.name: topic.questions for topic in tables.file.topics}
    caption = all_models_caption({h: questions[topic] for h, (topic, _) in zip(heads, columns, strict=True)}, w)
    return Table(f"table-{number}", caption, [w("model"), *heads], rows)


def _readings(tables: Tables, w: Words) -> Table:
    def why(text: str) -> str:
        return w("semicolon").join(map(w.of_english, text.split("; ")))

    rows = [
        Row(
            reference(r.where, w.language),
            [Entry(w("quoted", text=r.printed)), Entry(decimals(r.value, w.language)), Entry(why(r.why))],
        )
        for r in tables.file.readings
    ]
    return Table("readings", w("readings_caption"), [w("section"), w("printed"), w("value"), w("why")], rows)
