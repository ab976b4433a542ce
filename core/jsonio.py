"""Strict, bounded and typed reading of JSON from files that others may have written.

Every JSON text that the project reads goes through `parse_json`, and every value whose type matters through
`JsonObject`: whatever the bytes are, a mistake in a file is a `UserError` that names the file and the key.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import UserError

MAX_BYTES = 64 * 2**20
"""Largest length of a JSON text. The largest in practice are tokenizers of 30 MB."""
MAX_VALUES = 4_000_000
"""Largest number of values in a JSON text: an empty object takes 3 bytes of a file and 70 of memory."""
MAX_DEPTH = 100
"""Deepest nesting of containers. Readers of a value are recursive; files in practice do not exceed 20."""
INT64_MAX = 2**63 - 1
CONTAINERS = (dict, list)
HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Possible half of a surrogate pair, escaped; it may also follow another backslash, and be no escape."""


def parse_json(data: bytes | str, where: str, *, nan: bool = False) -> Any:
    """Parse a JSON text.

    Args:
        data: the text; bytes are UTF-8.
        where: file, and line where there are several, for the message.
        nan: whether NaN and infinities, which JSON lacks and Python writes, are allowed.

    Raises:
        UserError: it is not JSON, holds an object with a key twice, half of a surrogate pair or a number with more
            digits than Python converts, or exceeds the limits of length, depth or number of values.
    """
    text = _decoded(data, where)
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise UserError(f"the JSON holds more than {MAX_VALUES:,} values", where=where)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=None if nan else _no_constant)
    except RecursionError:
        raise UserError(f"the JSON is nested more than {MAX_DEPTH} deep", where=where) from None
    except ValueError as error:  # json's own error is one; a number with too many digits raises another
        raise UserError(f"not valid JSON: {error}", where=where) from None
    _check_depth(text, value, where)
    _check_surrogates(text, value, where)
    return value


def _decoded(data: bytes | str, where: str) -> str:
    if len(data) > MAX_BYTES:
        raise UserError(f"the JSON has {len(data):,} bytes", where=where, allowed=f"up to {MAX_BYTES:,}")
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"not valid JSON: not UTF-8 at byte {error.start}", where=where) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in value if names.count(name) > 1)
        raise ValueError(f"the key {shorten(twice)} appears twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _check_depth(text: str, value: Any, where: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return  # most texts, at no cost
    level, depth = [value], 0
    while level := [item for item in level if type(item) in CONTAINERS]:  # half a million in a tokenizer
        depth += 1
        if depth > MAX_DEPTH:
            raise UserError(f"the JSON is nested more than {MAX_DEPTH} deep", where=where)
        level = [item for container in level for item in _children(container)]


def _children(container: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(container.values() if isinstance(container, dict) else container)


def _check_surrogates(text: str, value: Any, where: str) -> None:
    if HALF.search(text) is None:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError("the JSON holds half of a surrogate pair, which is not text", where=where) from None


def shorten(value: Any) -> str:
    """Format a value for a message: as JSON if it is short, else its beginning or its kind."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    text = value if isinstance(value, str) else str(value)
    return repr(text[:60] + "…") if len(text) > 60 else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class JsonObject:
    """A JSON object whose values are read by key and type.

    A key whose value is null counts as absent, as in Hugging Face's configurations.

    Attributes:
        values: what was parsed.
        where: file, line and keys that lead here, for messages.

    Raises:
        UserError: by the constructor, `values` is not an object; by each method, the key is absent and has no default,
            or its value is of another type or out of range.
    """

    values: dict[str, Any]
    where: str

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise UserError(f"{shorten(self.values)} is not a JSON object", where=self.where)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def integer(self, key: str, default: int | None = None, *, minimum: int = 0, maximum: int = INT64_MAX) -> int:
        """The whole number of a key, from `minimum` to `maximum`; neither `3.0` nor `true` is a whole number."""
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            upto = f" to {maximum:,}" if maximum < INT64_MAX else ""
            self._refuse(key, value, f"a whole number from {minimum:,}{upto}")
        return value

    def number(self, key: str, default: float | None = None, *, nan: bool = False) -> float:
        """The number of a key; `nan` allows numbers that are not finite."""
        value = self._get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            self._refuse(key, value, "a number")
        if abs(value) > INT64_MAX if isinstance(value, int) else not nan and not math.isfinite(value):
            self._refuse(key, value, "a finite number")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """The string of a key."""
        return self._typed(key, default, str, "a string")

    def flag(self, key: str, default: bool | None = None) -> bool:
        """The truth value of a key."""
        return self._typed(key, default, bool, "true or false")

    def list(self, key: str) -> list[Any]:
        """The list of a key."""
        return self._typed(key, None, list, "a list")

    def texts(self, key: str) -> "dict[str, str]":
        """The object of a key whose values are strings, such as hashes by file."""
        member = self.object(key)
        return {name: member.text(name) for name in member.values}

    def object(self, key: str) -> "JsonObject":
        """The object of a key."""
        return JsonObject(self._typed(key, None, dict, "an object"), f"{self.where}: {key}")

    def objects(self, key: str) -> "dict[str, JsonObject]":
        """The object of a key whose values are objects."""
        member = self.object(key)
        return {name: member.object(name) for name in member.values}

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        value = default if value is None else value
        if value is None:
            raise UserError(f"{key} is missing", where=self.where)
        return value

    def _typed(self, key: str, default: Any, kind: type, allowed: str) -> Any:
        value = self._get(key, default)
        if not isinstance(value, kind):
            self._refuse(key, value, allowed)
        return value

    def _refuse(self, key: str, value: Any, allowed: str) -> NoReturn:
        raise UserError(f"{key} is {shorten(value)}", where=self.where, allowed=allowed)
