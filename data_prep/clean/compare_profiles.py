"""Comparison of one document under two profiles, and the values that each changes."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import write_text
from ..documents.discover import discover
from ..documents.reading import find_documents, read_source
from ..documents.record import Record
from .profiles import Profile, profile_of, run_steps
from .source_facts import NO_FACTS, find_facts
from .value_check import changed_values

TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
NOT_IN_BOTH = re.compile(r"[^a-z]+")
"""Characters that are ignored in aligning lines: all but the letters that every profile keeps."""
SHOWN = 10
"""Documents that a message names."""


@dataclass(frozen=True)
class Part:
    """A stretch of a line: `same` is whether the other profile has it, too."""

    text: str
    same: bool


@dataclass(frozen=True)
class Line:
    """A line under both profiles; a side has no part where it lacks the line."""

    left: tuple[Part, ...]
    right: tuple[Part, ...]

    @property
    def same(self) -> bool:
        """Whether both sides are alike."""
        return all(part.same for part in (*self.left, *self.right))


@dataclass(frozen=True)
class Side:
    """A document under one profile.

    Attributes:
        profile: the profile.
        text: the document after it.
        changes: what it changed, by kind.
        changed_values: values that differ from the original document's, by kind.
    """

    profile: Profile
    text: str
    changes: Counter[str]
    changed_values: Counter[str]


@dataclass(frozen=True)
class Comparison:
    """A document under two profiles."""

    document: str
    left: Side
    right: Side

    def as_json(self) -> dict[str, Any]:
        """Both sides, for `--json`."""
        sides = [
            {
                "profile": side.profile.name,
                "version": side.profile.version,
                "text": side.text,
                "changes": side.changes,
                "changed_values": side.changed_values,
            }
            for side in (self.left, self.right)
        ]
        return {"document": self.document, "sides": sides}

    def lines(self) -> Iterator[Line]:
        """Its lines, aligned."""
        left, right = self.left.text.split("\n"), self.right.text.split("\n")
        matcher = SequenceMatcher(None, _keys(left), _keys(right), autojunk=False)
        for _, begin, end, other_begin, other_end in matcher.get_opcodes():
            for first, second in zip_longest(left[begin:end], right[other_begin:other_end]):
                if first or second:
                    yield _line(first, second)


def compare_profiles(document: str, profiles: Sequence[str], source: Path | None = None) -> Comparison:
    """Clean one document with two profiles.

    Args:
        document: `FILE`, or `FILE#LINE` of a file of several documents.
        profiles: names of two profiles.
        source: file or folder of the documents' source, for the lines that repeat in it and the words that it holds;
            by default the document's own file.

    Raises:
        UserError: there is no such document or profile, or not two profiles.
    """
    if len(profiles) != 2:
        raise UserError(f"{len(profiles)} profiles are given", where="--profile", allowed="two, to be compared")
    first, second = map(profile_of, profiles)
    path, _, number = (document, "", "") if Path(document).exists() else document.rpartition("#")
    name, text = _find(Path(path or document), number)
    place = source or Path(path or document)
    return Comparison(name, *(_side(profile, text, place) for profile in (first, second)))


def _find(path: Path, number: str) -> tuple[str, str]:
    """Key and text of a document of a file.

    Raises:
        UserError: the file has none of that number, or several and no number is given.
    """
    keys: list[str] = []
    first = ""
    for record in _records(path):
        if record.key.rpartition("#")[2] == number:
            return record.key, record.text
        first = first or record.text
        keys.append(record.key)
    if len(keys) == 1 and not number:
        return keys[0], first
    what = f"no document {number!r}" if number else f"{len(keys):,} documents, of which one is to be chosen"
    more = ", …" if len(keys) > SHOWN else ""
    names = ", ".join(f"{path}#{key.rpartition('#')[2]}" for key in keys[:SHOWN])
    raise UserError(f"{path} has {what}", where="DOC", allowed=names + more, fix=f"name it as {path}#LINE")


def _records(path: Path) -> Iterator[Record]:
    """The documents of a place, without those that cannot be read."""
    for survey in find_documents(discover([str(path)])):
        yield from (item for item in read_source(survey, []) if isinstance(item, Record))


def _side(profile: Profile, text: str, place: Path) -> Side:
    facts = NO_FACTS
    if profile.from_source:
        facts = find_facts(
            lambda: (run_steps(profile.before_source, record.text, Counter()) for record in _records(place))
        )
    changes: Counter[str] = Counter()
    cleaned = run_steps(profile.steps, text, changes, facts)
    return Side(profile, cleaned, changes, changed_values(text, cleaned, facts.boilerplate))


def _keys(lines: Sequence[str]) -> list[str]:
    return [NOT_IN_BOTH.sub("", line.lower()) for line in lines]


def _line(left: str | None, right: str | None) -> Line:
    """Two lines and where they differ."""
    if left is None or right is None:
        return Line(*(() if line is None else (Part(line, same=False),) for line in (left, right)))
    if left == right:
        return Line((Part(left, same=True),), (Part(right, same=True),))
    before, after = TOKEN.findall(left), TOKEN.findall(right)
    parts: tuple[list[Part], list[Part]] = [], []
    for kind, begin, end, other_begin, other_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for side, tokens in zip(parts, (before[begin:end], after[other_begin:other_end]), strict=True):
            if tokens:
                side.append(Part("".join(tokens), same=kind == "equal"))
    return Line(tuple(parts[0]), tuple(parts[1]))


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the comparison as one HTML file that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    write_text(path, environment.get_template("compare_profiles.html.jinja").render(comparison=comparison) + "\n")
