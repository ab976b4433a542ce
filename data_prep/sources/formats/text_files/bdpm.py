"""BDPM's tables, without a header and between tabs, joined by the drug that they speak of."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from .....core.log import counted
from ....documents.record import Record, Rejected, is_blank
from ....documents.streams import SourceFile, open_text

BDPM_TABLES: dict[str, tuple[int, int, str]] = {
    "CIS_bdpm": (12, 0, "{1}\nForme : {2}\nVoie d'administration : {3}\nStatut : {4}, {6}\nTitulaire : {10}"),
    "CIS_COMPO_bdpm": (8, 0, "Composition ({1}) : {3}, {4} pour {5}"),
    "CIS_CPD_bdpm": (2, 0, "Conditions de prescription et de délivrance : {1}"),
    "CIS_GENER_bdpm": (5, 2, "Groupe générique : {1}"),
    "CIS_HAS_SMR_bdpm": (6, 0, "Service médical rendu ({4}) : {5}"),
    "CIS_HAS_ASMR_bdpm": (6, 0, "Amélioration du service médical rendu ({4}) : {5}"),
}
"""Tables of the French drug database: columns, the one that holds the drug's CIS code, and a row as text."""
_BY_NAME = {name.lower(): name for name in BDPM_TABLES}


def read_bdpm(files: Sequence[SourceFile]) -> Iterator[Record | Rejected]:
    """BDPM: tab-separated tables without a header; a document is what they say of one drug, by its CIS code.

    The tables are joined in memory (some tens of megabytes).
    """
    order = list(BDPM_TABLES)
    drugs: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files, key=lambda file: order.index(_table(file) or order[-1])):
        for row in _bdpm_rows(file):
            if isinstance(row, Rejected):
                yield row
            else:
                drugs[row[0]].append(row[1])
    for cis in sorted(drugs):
        yield Record(cis, "\n".join(drugs[cis]))


def _table(file: SourceFile) -> str | None:
    """The table that a file holds, by its name, or None."""
    return _BY_NAME.get(file.path.name.split(".")[0].lower())


def _bdpm_rows(file: SourceFile) -> Iterator[tuple[str, str] | Rejected]:
    """CIS code and text of each row."""
    table = _table(file)
    if table is None:
        yield Rejected(file.where, 0, f"its name is not that of a table of BDPM: {', '.join(BDPM_TABLES)}")
        return
    columns, cis, template = BDPM_TABLES[table]
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            values = [value.strip() for value in line.rstrip("\n").split("\t")]
            if is_blank(line):
                continue
            if len(values) < columns:
                yield Rejected(file.where, number, f"{counted(len(values), 'column')}, not {columns}")
            else:
                yield values[cis], template.format(*values)
