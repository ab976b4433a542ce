"""The terms that stand for topics: a YAML file that comes with the project, or one of the user's."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError, check_known
from ...core.reading.yaml_mapping import read_mapping
from .folding import folded, words_of

TERMS = Path(__file__).parent / "specialities.yaml"
"""The medical specialities that come with the project."""
NONE = "none"
"""Topic of a document whose words speak for none."""
LARGEST = 2**20
"""Bytes of a file of terms."""
TOPIC = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
KEYS = {"icd10", "decisive", "terms", "hints"}
POINTS = {"decisive": 3, "terms": 2, "hints": 1}
"""Key of a topic -> what a term below it counts, each time."""
SHORTEST = 3
"""Letters that a term with a `*` has beside it."""


@dataclass(frozen=True)
class Term:
    """A word, or words in a row, that speak for a topic.

    Attributes:
        words: each folded (see `folding.folded`); one that ends, or begins, with `*` stands for all that begin, or end,
            like it.
        points: what it counts each time.
    """

    words: tuple[str, ...]
    points: int


@dataclass(frozen=True)
class Topic:
    """A topic, and the terms that speak for it."""

    name: str
    terms: tuple[Term, ...]


def read_terms(path: Path = TERMS) -> tuple[Topic, ...]:
    """Read the topics of a file, in its order.

    Raises:
        UserError: it is no YAML, or a topic has no terms, a key that is not known, or a term that cannot be one or is
            there twice.
    """
    values = read_mapping(path, LARGEST, ours=path == TERMS)
    if not values:
        raise UserError("the file names no topic", where=str(path), allowed="cardiology: {terms: [infarctus, …]}")
    return tuple(_topic(name, value, str(path)) for name, value in values.items())


def check_topic(name: Any, where: str) -> str:
    """A topic's name.

    Raises:
        UserError: it cannot be one.
    """
    if not isinstance(name, str) or not TOPIC.fullmatch(name):
        allowed = "a to z, 0 to 9, '_' and '-', up to 40 of them"
        raise UserError(f"{str(name)[:60]!r} cannot be a topic's name", where=where, allowed=allowed)
    return name


def _topic(name: Any, value: Any, where: str) -> Topic:
    check_topic(name, where)
    if name == NONE:
        raise UserError(f"{NONE!r} is the topic of documents that have none", where=where, fix="choose another name")
    where = f"{where}: {name}"
    if not isinstance(value, dict):
        raise UserError("the topic is not a mapping", where=where, allowed=", ".join(sorted(KEYS)))
    for key in value:
        check_known(str(key), sorted(KEYS), "key of a topic", where)
    terms: dict[tuple[str, ...], Term] = {}
    for key, points in POINTS.items():
        for written in _texts(value.get(key, []), f"{where}.{key}"):
            words = _words(written, f"{where}.{key}")
            if words in terms:
                fix = "remove one: case, accents and the plural make no difference"
                raise UserError(f"the term {written!r} appears twice", where=f"{where}.{key}", fix=fix)
            terms[words] = Term(words, points)
    if not terms:
        raise UserError("the topic has no terms", where=where, allowed="terms: [infarctus, …]")
    return Topic(name, tuple(terms.values()))


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        fix = "quote those that YAML takes for something else: '*ite', 'non', '112'"
        raise UserError("not a list of terms", where=where, allowed="a list of texts", fix=fix)
    return value


def _words(written: str, where: str) -> tuple[str, ...]:
    """A term's words, folded."""
    words = []
    for part in written.split():
        inner = part.strip("*")
        begins, ends = part.startswith("*"), part.endswith("*")
        if words_of(inner) != [inner.lower()] or len(part) - len(inner) != begins + ends or (begins and ends):
            allowed = "words of letters and digits, each with one '*' at its end or beginning, or none"
            fix = "a hyphen or an apostrophe parts words: 'anti tnf', 'fond d oeil'"
            raise UserError(f"{written[:60]!r} cannot be a term", where=where, allowed=allowed, fix=fix)
        if (begins or ends) and len(inner) < SHORTEST:
            raise UserError(
                f"{written[:60]!r} would match too much", where=where, allowed=f"{SHORTEST} letters or more"
            )
        # The plural's end is part of what a word begins with: `corps*` is no `corp*`.
        words.append("*" * begins + folded(inner, plural=not (begins or ends)) + "*" * ends)
    if not words:
        raise UserError("a term is empty", where=where, allowed="a word or several")
    return tuple(words)
