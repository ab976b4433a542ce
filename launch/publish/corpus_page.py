"""The overview of a corpus as a page: figures, and tables of sources, types, licences and shared texts."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import EngFormatter

from ...core.log import counted
from ...data_prep.publish.corpus_statistics import LENGTHS, SourceStatistics, by_type
from ...data_prep.publish.dataset_card import NOT_STATED
from ...data_prep.publish.table1 import TableRow, inconsistencies
from ...eval.report.page import Picture, data_uris, render
from ...eval.report.table_formats import Entry, Row, Table
from ...eval.report.theme import Theme, draw_twice, themed_axes

BARS = 10
"""Bars of a figure; what is smaller is summed."""
ROOM = 30
"""Factor by which a figure's logarithmic axis goes beyond its longest bar, for the number at its end."""
MILLION = 10**6
"""Below it, an axis has a mark for each power of ten; from there on, for each power of a thousand."""
Sources = dict[str, SourceStatistics]


def corpus_page(
    title: str, sources: Sources, shared: npt.NDArray[np.int64], *, rows: Sequence[TableRow], figures: Path
) -> str:
    """The page.

    Args:
        title: its heading.
        sources: name -> statistics.
        shared: of `shared_texts`.
        rows: of `table1`.
        figures: folder that the figures are also written to.
    """
    documents, words = (sum(getattr(each, what) for each in sources.values()) for what in ("documents", "words"))
    in_paper = any(row.paper_words and row.words for row in rows)
    return render(
        "corpus.html.jinja",
        folder=Path(__file__).parent,
        title=title,
        lead=f"{counted(documents, 'document')} and {counted(words, 'word')} of {counted(len(sources), 'source')}.",
        pictures=list(_pictures(sources, figures)),
        contents=[_sources_table(sources), _types_table(sources)],
        licences=_licences_table(sources),
        shared=_shared_table(sources, shared),
        apart=[name for place, name in enumerate(sources) if not _shares(shared, place)],
        table1=_table1(rows) if in_paper else None,
        inconsistencies=inconsistencies() if in_paper else [],
    )


def _number(value: int | None) -> Entry:
    return Entry("–") if value is None else Entry(f"{value:,}", value)


def _sources_table(sources: Sources) -> Table:
    rows = []
    for name, each in sorted(sources.items(), key=lambda item: -item[1].words):
        types = ", ".join(filter(None, sorted(each.types))) or NOT_STATED
        held_out = each.splits["test"] + each.splits["dev"]
        numbers = (each.documents, each.words, round(each.words / each.documents), held_out)
        rows.append(Row(name, [Entry(types), *map(_number, numbers)]))
    columns = ["Source", "type", "documents", "words", "words a document", "in test and development parts"]
    return Table("sources", "Sources, those with most words first.", columns, rows)


def _types_table(sources: Sources) -> Table:
    rows = [
        Row(name or NOT_STATED, [_number(each["documents"]), _number(each["words"])])
        for name, each in by_type(sources).items()
    ]
    return Table("types", "Types of document.", ["Type", "documents", "words"], rows)


def _licences_table(sources: Sources) -> Table:
    says = {True: "allowed", False: "not allowed", None: "not known"}
    rows = []
    for name, each in sources.items():
        for place, ((licence, commercial), amounts) in enumerate(sorted(each.licences.items(), key=str)):
            words = [Entry(licence or NOT_STATED), Entry(says[commercial])]
            numbers = [_number(amounts["documents"]), _number(amounts["words"])]
            rows.append(Row(name, [*words, *numbers], begins=not place))
    columns = ["Source", "licence", "commercial use", "documents", "words"]
    return Table("licences", "Licences of the documents, as they or their sources state them.", columns, rows)


def _shares(shared: npt.NDArray[np.int64], place: int) -> bool:
    """Whether a source has a text twice, or shares one."""
    return bool(shared[place].any() or shared[:, place].any())


def _shared_table(sources: Sources, shared: npt.NDArray[np.int64]) -> Table | None:
    places = [place for place in range(len(sources)) if _shares(shared, place)]
    if not places:
        return None
    names = list(sources)
    rows = [Row(names[row], [_number(int(shared[row, column])) for column in places]) for row in places]
    caption = (
        "Number of documents of the row's source whose text also occurs in the column's source, regardless of case, "
        "punctuation and white space; on the diagonal, documents whose text occurs earlier in the same source."
    )
    return Table("shared", caption, ["Source", *(names[place] for place in places)], rows)


def _table1(rows: Sequence[TableRow]) -> Table:
    lines = []
    for row in rows:
        numbers = (row.documents, row.paper_documents, row.words, row.paper_words)
        lines.append(Row(row.source, [Entry(row.edition or "not in the paper"), *map(_number, numbers)]))
    columns = ["Source", "edition", "documents", "in the paper", "words", "in the paper"]
    return Table("table1", "This corpus beside the paper's Table 1.", columns, lines)


def _pictures(sources: Sources, folder: Path) -> list[Picture]:
    folder.mkdir(parents=True, exist_ok=True)
    words = {name: each.words for name, each in sources.items()}
    types = {name or NOT_STATED: each["words"] for name, each in by_type(sources).items()}
    licences: Counter[str] = Counter()
    for each in sources.values():
        for (licence, _), amounts in each.licences.items():
            licences[licence or NOT_STATED] += amounts["words"]
    lengths = np.sum([each.lengths for each in sources.values()], axis=0)
    bins = [f"{low:,} to {high - 1:,}" for low, high in pairwise(LENGTHS)] + [f"{LENGTHS[-1]:,} and more"]
    documents = dict(zip(bins, map(int, lengths), strict=True))
    return [
        _picture("words-by-source", _largest(words), "words", folder, caption="Words by source"),
        _picture("words-by-type", _largest(types), "words", folder, caption="Words by type of document"),
        _picture("words-by-licence", _largest(licences), "words", folder, caption="Words by licence"),
        _picture("lengths", documents, "documents", folder, caption="Documents by length in words"),
    ]


def _largest(amounts: dict[str, int]) -> dict[str, int]:
    """The largest amounts, and the sum of the others."""
    ranked = sorted(amounts.items(), key=lambda item: -item[1])
    rest = ranked[BARS:]
    return dict(ranked[:BARS]) | ({counted(len(rest), "other"): sum(value for _, value in rest)} if rest else {})


def _picture(name: str, bars: dict[str, int], label: str, folder: Path, *, caption: str) -> Picture:
    caption += " (logarithmic scale)."
    images = draw_twice(_drawing(bars, label), folder, name)
    alt = f"{caption} " + "; ".join(f"{bar}: {value:,}" for bar, value in bars.items())
    return Picture(data_uris(images), caption, alt)


def _drawing(bars: dict[str, int], label: str) -> Callable[[Theme, Path], None]:
    def draw(theme: Theme, path: Path) -> None:
        with themed_axes(theme, path) as axes:
            names = [_short(name) for name in bars]
            drawn = axes.barh(range(len(bars)), list(bars.values()), color=theme.series[0], height=0.7)
            axes.bar_label(drawn, [f"{value:,}" for value in bars.values()], padding=3, fontsize=8)
            axes.set_yticks(range(len(bars)), names)
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xticks([0, *(10**n for n in range(0, 12, 1 if max(bars.values()) < MILLION else 3))])
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.set_xlim(0, ROOM * max(1, *bars.values()))
            axes.set_xlabel(label)

    return draw


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def statistics_json(sources: Sources, shared: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The page's figures as JSON values."""
    return {
        "sources": {
            name: {
                "documents": each.documents,
                "words": each.words,
                "characters": each.characters,
                "types": each.types,
                "licences": [
                    {"licence": licence, "commercial": commercial, **amounts}
                    for (licence, commercial), amounts in sorted(each.licences.items(), key=str)
                ],
                "splits": each.splits,
                "lengths": dict(zip(map(str, LENGTHS), each.lengths, strict=True)),
            }
            for name, each in sources.items()
        },
        "shared_texts": {
            name: dict(zip(sources, row, strict=True)) for name, row in zip(sources, shared.tolist(), strict=True)
        },
    }
