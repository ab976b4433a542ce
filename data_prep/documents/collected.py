"""Collected folders: whether a collection came to its end, as its journal says."""

from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_lines
from ...core.jsonio import JsonObject, parse_json
from .folders import JOURNAL_FILE


def tell_unfinished(folder: Path) -> str:
    """A sentence on a folder that holds a part of what its source publishes; empty where it is whole, or not collected.

    Raises:
        UserError: the journal is damaged.
    """
    journal = folder / JOURNAL_FILE
    if not journal.is_file():
        return ""
    lines = [line for line in read_lines(journal) if line[1].endswith(b"\n")]  # a killed run leaves half a line
    if not lines:
        raise UserError(
            "the journal is empty", where=str(journal), fix="collect the source again, or remove the journal"
        )
    first, last = (JsonObject(parse_json(line, where), where) for where, line in (lines[0], lines[-1]))
    if "counts" not in last:
        return "its collection is unfinished; the same `pdapt corpus collect` continues it"
    limit = first.integer("limit", 0) if "limit" in first else 0
    return f"it was collected with --limit {limit}, for a first look" if limit else ""
