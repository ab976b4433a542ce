"""Answers of a source's server: JSON objects; errors are distinguished from pages."""

from collections.abc import Iterator
from typing import Any

from ....documents.faults import FileError
from ....documents.formats import json_items
from ....documents.record import BadDocumentError, Rejected
from ....documents.streams import SourceFile


def answers(file: SourceFile) -> Iterator[dict[str, Any]]:
    """The objects of a file: one, or several after each other or in an array.

    Raises:
        FileError: one is not an object, or is a server's error, which the message quotes.
    """
    for value in json_items(file, _as_object):
        if isinstance(value, Rejected):
            raise FileError(value.reason, where=value.where)
        error = value.get("error")
        if error:
            fix = "fetch it again"
            raise FileError(f"the server's answer is an error: {str(error)[:200]}", where=file.where, fix=fix)
        yield value


def _as_object(value: Any, number: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadDocumentError(f"value {number} is not a JSON object")
    return value


def list_in(value: dict[str, Any], path: tuple[str, ...], file: SourceFile) -> list[Any]:
    """The list at some keys of an answer.

    Raises:
        FileError: there is none.
    """
    inner: Any = value
    for key in path:
        inner = inner.get(key) if isinstance(inner, dict) else None
    if not isinstance(inner, list):
        what = f"the answer has no list {'.'.join(path)}"
        raise FileError(what, where=file.where, allowed="an answer as the server gives it", fix="fetch it again")
    return inner
