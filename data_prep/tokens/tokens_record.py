"""The record of a tokens folder, `tokens.json`: its data sets, and what the trainer and the statistics read of it."""

from pathlib import Path, PurePosixPath
from typing import Any

from ...core.errors import UserError
from ...core.files import read_object
from ...core.jsonio import JsonObject

RECORD = "tokens.json"
LARGEST_ID = 2**31 - 1
"""Ids are stored as int32."""


def read_record(tokens: Path) -> dict[str, Any]:
    """Read and check the record of a tokens folder.

    Args:
        tokens: the tokens stage's folder.

    Returns:
        Its values. `splits` maps `train` and `valid` to data sets by name, each with `prefix` (of its files, in the
        folder), `source`, `document_type`, `commercial`, `documents`, `tokens`, `words` and, where this version made
        it, `licences` (documents by licence).

    Raises:
        UserError: there is none, or a value that is read of it is missing, of another type or out of range, or a prefix
            leads out of the folder.
    """
    record = read_object(tokens / RECORD)
    record.integer("eod_id", maximum=LARGEST_ID)
    record.integer("vocabulary_size", minimum=1, maximum=LARGEST_ID)
    for split in ("train", "valid"):
        for entry in record.object("splits").objects(split).values():
            _check_entry(entry)
    counted = [record.object("dropped_duplicates")]
    if "empty" in record:  # earlier versions counted texts without a word, which are rejected now
        counted.append(record.object("empty"))
    if "withheld" in record:  # records of version 0.1 have neither this nor training_duplicates
        counted += [record.object("training_duplicates"), *record.objects("withheld").values()]
    for counts in counted:
        for name in counts.values:
            counts.integer(name)
    return record.values


def _check_entry(entry: JsonObject) -> None:
    for name in ("documents", "tokens", "words"):
        entry.integer(name)
    entry.text("source"), entry.text("document_type"), entry.text("part", "")
    if "commercial" in entry:
        entry.flag("commercial")
    prefix = PurePosixPath(entry.text("prefix"))
    if prefix.is_absolute() or ".." in prefix.parts or not prefix.name or "\0" in str(prefix):
        raise UserError(f"the data set's files are outside the folder: {str(prefix)[:60]!r}", where=entry.where)
