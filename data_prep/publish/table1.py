"""The corpus's Table 1 beside the paper's, and where that contradicts itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..sources.registry import definitions, key_of
from .corpus_statistics import SourceStatistics

PRINTED_TOTALS = {"commercial": (892_343, 883_706_984), "research": (906_489, 900_199_883)}
"""Edition -> documents and words that the paper's Table 1 prints below its rows."""


@dataclass(frozen=True)
class TableRow:
    """A source's row.

    Attributes:
        source: its name in the corpus.
        document_type: as the paper has it, or as the documents have it.
        edition: the paper's; empty for a source that it has not.
        documents, words: of this corpus; 0 where it has not the source.
        paper_documents, paper_words: of the paper; None where it has not the source.
    """

    source: str
    document_type: str
    edition: str
    documents: int
    words: int
    paper_documents: int | None = None
    paper_words: int | None = None


def table1(sources: Mapping[str, SourceStatistics]) -> list[TableRow]:
    """A row for each source of the paper's table, in its order, and then for those that it has not.

    A source of the corpus is the paper's where its name is the key, in whatever case.
    """
    named = {key_of(name): (name, each) for name, each in sources.items()}
    rows = []
    for key, source in definitions().items():
        name, here = named.pop(key, (key, SourceStatistics()))
        amounts = (here.documents, here.words, source.documents, source.words)
        rows.append(TableRow(name, source.document_type, source.edition, *amounts))
    for name, here in named.values():
        types = ", ".join(sorted(filter(None, here.types))) or "not stated"
        rows.append(TableRow(name, types, edition="", documents=here.documents, words=here.words))
    return rows


def inconsistencies() -> list[str]:
    """Sentences on what in the paper's Table 1 does not fit together, computed from its rows."""
    sentences = []
    for edition, printed in PRINTED_TOTALS.items():
        rows = [each for each in definitions().values() if edition == "research" or each.edition == edition]
        summed = (sum(each.documents or 0 for each in rows), sum(each.words or 0 for each in rows))
        differences = [there - here for there, here in zip(printed, summed, strict=True)]
        if any(differences):
            sentences.append(
                f"Totals of the {edition} edition: the {len(rows)} rows add up to {summed[0]:,} documents and "
                f"{summed[1]:,} words; the paper prints {differences[0]:,} and {differences[1]:,} more."
            )
    disputed = [each for each in definitions().values() if each.licence.conflict]
    sentences += [f"{each.key}: {each.licence.conflict}." for each in disputed]
    sentences += [f"{each.key}: {note}." for each in definitions().values() for note in each.notes if "Table 1" in note]
    total = sum(each.words or 0 for each in definitions().values())
    hal = definitions()["HAL"].words or 0
    sentences.append(
        f"HAL alone has {100 * hal / total:.0f} % of all words, and WMT16 and EMEA_V3 most of the documents."
    )
    return sentences
