"""JSON files that hold a hash of their own contents: the files that record other files' hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_object, write_json
from .jsonio import JsonObject

SHA256 = "sha256"
"""Key of a file's own hash, which `digest` makes of the JSON of all other keys."""


class ChangedError(UserError):
    """A file of hashes was changed after it was written."""


def digest(value: Any) -> str:
    """Compute the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_hashed(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object and its own hash, completely or not at all."""
    value = json.loads(json.dumps(value))  # as a reader will see it: keys are text
    write_json(path, value | {SHA256: digest(value)})


def read_hashed(path: Path, *, nan: bool = False) -> JsonObject:
    """Read what `write_hashed` wrote, or an earlier version wrote without a hash; `nan` as in `read_json`.

    Raises:
        UserError: as in `read_object`.
        ChangedError: its content does not match its hash.
    """
    record = read_object(path, nan=nan)
    values = dict(record.values)
    if SHA256 in values and values.pop(SHA256) != digest(values):
        raise ChangedError(
            f"{path.name} was changed after it was written: it does not match its own SHA-256",
            where=str(path),
            fix=f"make or copy it again; if you changed it on purpose, remove its line {SHA256}",
        )
    return record
