"""Definition of a source, as it states itself, and a strict way from YAML's values to it."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ...core.errors import UserError, check_known, nearest
from .collection import Collection

DocumentType = Literal[
    "Scientific",
    "Clinical",
    "Medication",
    "Encyclopedic",
    "Educational",
    "Question Answering",
    "Regulation",
    "Dialogue",
    "Other medical",
]
"""Kinds of text, as Table 1 of the paper names them."""


@dataclass(frozen=True)
class Licence:
    """The terms that a source is published under.

    Attributes:
        name: the licence's name, or what stands in for one.
        spdx: its SPDX identifier; empty where SPDX lists none.
        commercial: whether it allows commercial use; None where that depends on the document, or is disputed.
        evidence: where it is stated.
        url: its text.
        conflict: what contradicts it.
        conflict_of: the documents that this is about: all of them, those that state no licence, or those that state
            one which excludes commercial use.
    """

    name: str
    commercial: bool | None
    evidence: tuple[str, ...]
    spdx: str = ""
    url: str = ""
    conflict: str = ""
    conflict_of: Literal["all", "unlicensed", "non-commercial"] = "all"


@dataclass(frozen=True)
class FileRule:
    """Files of a source, and how they are read, or why they are not.

    Attributes:
        names: patterns of their names below the source's folder, such as `*.txt` or `French/*`; case does not count.
        format: how they are read, a key of `options.OPTIONS`; empty where they are not.
        holds: what they hold where they are left unread, such as annotations.
        encoding: of files without a byte order mark that are not UTF-8.
        options: of the format; an instance of its class in `options.OPTIONS`.
    """

    names: tuple[str, ...]
    format: str = ""
    holds: str = ""
    encoding: str = ""
    options: Any = None


@dataclass(frozen=True)
class Signature:
    """Files that tell a source from others, whatever their folder is called.

    Attributes:
        names: patterns of their names below the source's folder; case does not count.
        holds: regular expressions, each of which is found in the first characters of one of them.
        times: how often each is found there at least.
        beside: patterns of names, of each of which there is a file beside them.
        without: patterns of names of which there is no file.
    """

    names: tuple[str, ...]
    holds: tuple[str, ...] = ()
    times: int = 1
    beside: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Definition:
    """A source.

    Attributes:
        key: its name on the command line, in capitals.
        name: its full name.
        document_type: the kind of text.
        edition: the edition of the paper's corpus that it is in: `commercial`, or only `research`.
        documents: documents in Table 1 of the paper; None for a source that is not in it.
        words: words in Table 1 of the paper.
        endpoints: where it is published.
        native_format: what it is published as.
        text: how a document's text is obtained.
        licence: its licence.
        citation: what to cite.
        files: its files; the first rule that a name fits counts.
        signatures: each of them tells that files are this source's; none where only `--format` can.
        access: what is needed to obtain it beside a connection; empty where nothing is.
        collect: how it is collected; None where no program can.
        joined: whether its files are read together: an index, and full texts that belong to its entries.
        copies: keys of sources whose texts it holds too: of two alike, theirs is kept.
        language: of its texts, an ISO 639-1 code.
        notes: what a reader of its texts should know.
    """

    key: str
    name: str
    document_type: DocumentType
    edition: Literal["commercial", "research"]
    endpoints: tuple[str, ...]
    native_format: str
    text: str
    licence: Licence
    citation: str
    files: tuple[FileRule, ...]
    signatures: tuple[Signature, ...] = ()
    documents: int | None = None
    words: int | None = None
    access: str = ""
    collect: Collection | None = None
    joined: bool = False
    copies: tuple[str, ...] = ()
    language: str = "fr"
    notes: tuple[str, ...] = field(default=())


def build[T](kind: type[T], value: Any, where: str, key: str = "") -> T:
    """An instance of a dataclass made from YAML's values.

    Args:
        kind: the dataclass.
        value: a mapping of its fields' names.
        where: the file, for the message.
        key: where in the file, for the message.

    Raises:
        UserError: a key is unknown, missing or of another type.
    """
    if not isinstance(value, dict):
        raise _wrong(key, value, "a mapping of keys to values", where)
    known = {each.name: each for each in fields(kind)}  # pyright: ignore[reportArgumentType]
    for name in value:
        if name not in known:
            fix = nearest(str(name), list(known))
            raise UserError(f"unknown key {_under(key, name)!r}", where=where, allowed=", ".join(known), fix=fix)
    missing = [name for name, each in known.items() if name not in value and each.default is MISSING]
    if missing:
        raise UserError(f"the key {_under(key, missing[0])!r} is missing", where=where)
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], each, where, _under(key, name)) for name, each in value.items()})


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    if kind is Any:
        return value
    if is_dataclass(kind):
        return build(kind, value, where, key)  # pyright: ignore[reportArgumentType]
    convert = _CONTAINERS.get(get_origin(kind))
    if convert:
        return convert(kind, value, where, key)
    if type(value) is not kind:
        raise _wrong(key, value, _TYPES[kind], where)
    return value


def _tuple(kind: Any, value: Any, where: str, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(key, value, "a list", where)
    return tuple(_value(get_args(kind)[0], each, where, f"{key}[{place}]") for place, each in enumerate(value))


def _literal(kind: Any, value: Any, where: str, key: str) -> Any:
    check_known(str(value), get_args(kind), key, where)
    return value


def _optional(kind: Any, value: Any, where: str, key: str) -> Any:
    return None if value is None else _value(get_args(kind)[0], value, where, key)


_TYPES = {str: "text", int: "a whole number", float: "a number with a point", bool: "true or false"}
_CONTAINERS: dict[Any, Callable[[Any, Any, str, str], Any]] = {tuple: _tuple, Literal: _literal, UnionType: _optional}


def _under(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _wrong(key: str, value: Any, allowed: str, where: str) -> UserError:
    return UserError(f"{key or 'the file'} is {str(value)[:60]!r}", where=where, allowed=allowed)
