"""A source in parts: each pass over a part is a task of its own, and what the parts give is joined between passes.

A part is some of the source's files, one after the other, or a part of one. Joined in their order, the parts give
the documents, the facts and the counts of the source in one piece, to the byte.
"""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import atomic_path, remove
from ..clean.boilerplate import Boilerplate, RepeatedLines
from ..clean.profiles import profile_of
from ..clean.source_cleaning import CleaningCounts, clean_source, finish_source, look_at, search_in
from ..clean.source_facts import SourceFacts, SourceLook, SourceSearch
from ..documents.faults import read_faults, write_faults
from ..documents.reading import read_items, units
from ..documents.store import join_documents, read_counts, read_rejected, write_documents, write_rejected
from ..documents.streams import SourceFile
from ..documents.survey import Survey
from ..licences.editions import Edition
from .rows import Cleaning, Rows, UnreadableError
from .spans import divided

OF_SOURCE = ("profile", "version", "steps", "cut_words_not_looked_for", "boilerplate")
"""Effects of cleaning that each part counts for the whole source."""


class Pass(StrEnum):
    """A pass over a source.

    Attributes:
        LOOK: its documents are read and begun, and the lines and words that they share are counted.
        SEARCH: words that line ends cut are looked for, and lines counted again.
        FINISH: the documents are cleaned by these facts, and written.
    """

    LOOK = "look"
    SEARCH = "search"
    FINISH = "finish"


@dataclass(frozen=True)
class Part:
    """A part of a source.

    Attributes:
        survey: the source with these files alone.
        number: its place among the source's parts.
        folder: of the source's parts.
        edition: which documents are taken; None for all.
        profile: name of the profile that they are cleaned by.
        masked: kinds of personal data that are masked.
    """

    survey: Survey
    number: int
    folder: Path
    edition: Edition | None
    profile: str
    masked: tuple[str, ...]

    def file(self, kind: str) -> Path:
        """One of its files: of documents that wait, of what a pass gave, of documents, rejected ones or faults."""
        return self.folder / f"{self.number:05d}.{kind}"

    def faults(self) -> list[UserError]:
        """Faults of its files that cannot be read."""
        return read_faults(self.file("faults"))


def parts_of_source(
    survey: Survey, folder: Path, *, edition: Edition | None, cleaning: Cleaning, most: int
) -> list[Part]:
    """Divide a source.

    Args:
        survey: the source.
        folder: for the parts' files.
        edition: which documents are taken.
        cleaning: what is done to them.
        most: parts, at most; files that are read together are in one, and so are a file that `divided` leaves in one
            piece, which is said where it is larger than a part, and a data set of the Hub.
    """
    groups = _pieces(survey, most)
    sizes = [1 + sum(file.size for file in group) for group in groups]
    total, before = sum(sizes), 0
    files: dict[int, list[Any]] = {}
    for group, size in zip(groups, sizes, strict=True):
        files.setdefault((2 * before + size) * most // (2 * total), []).extend(group)
        before += size
    surveys = [replace(survey, files=each, left_out=Counter()) for each in files.values()] or [survey]
    name = cleaning.profile.name
    return [
        Part(each, number, folder, edition=edition, profile=name, masked=cleaning.masked)
        for number, each in enumerate(surveys)
    ]


def _pieces(survey: Survey, most: int) -> list[tuple[SourceFile, ...]]:
    """The source's files, those that are read together in one, and files that are larger than a part in several."""
    total, pieces = max(1, sum(file.size for file in survey.files)), []
    for unit in units(survey.files):
        shares = -(-sum(file.size for file in unit) * most // total)
        try:
            parts = divided(unit[0], shares) if len(unit) == 1 else []
        except UserError:
            parts = [*unit]  # its reader will report the fault, with those of all other files
        pieces += [(part,) for part in parts] or [unit]
        if shares > 1 and len(parts) < 2:
            kind = " ".join(filter(None, [unit[0].packing, unit[0].format]))
            name = f"{survey.source.name}/{unit[0].name}"
            log.info(f"corpus: {name} ({kind}) is not divided, and larger than other parts")
    return pieces


def run_pass(step: Pass, part: Part) -> None:
    """Run one pass over a part; its results are in files, and a pass that was ended half-way leaves none."""
    remove(part.file("faults"))
    part = replace(part, survey=replace(part.survey, left_out=Counter()))  # an earlier pass may have counted in it
    try:
        {Pass.LOOK: _look, Pass.SEARCH: _search, Pass.FINISH: _finish}[step](part)
    except UnreadableError as error:
        write_faults(part.file("faults"), error.faults)


def _look(part: Part) -> None:
    profile = profile_of(part.profile)
    if not profile.from_source:
        return
    faults: list[UserError] = []
    look = look_at(read_items(part.survey, faults), profile, part.file("waiting"))
    if faults:
        raise UnreadableError(faults)
    _write(part.file("look"), _look_values(look) | {"left_out": part.survey.left_out})


def _search(part: Part) -> None:
    if profile_of(part.profile).from_source:
        search = search_in(part.file("waiting"), _read_look(part.folder / "look"))
        lines = _line_values(search.lines) if search.lines.only else {}
        values = {"whole_words": sorted(search.whole_words), "not_looked_for": search.not_looked_for, "lines": lines}
        _write(part.file("search"), values)


def _finish(part: Part) -> None:
    profile = profile_of(part.profile)
    faults: list[UserError] = []
    cleaned = CleaningCounts.of(profile)
    if profile.from_source:
        part.survey.left_out.update(_read(part.file("look"))["left_out"])
        items = finish_source(part.file("waiting"), profile, _read_facts(part.folder / "facts"), cleaned)
    else:
        items = clean_source(read_items(part.survey, faults), profile, part.file("waiting"), cleaned)
    rows = Rows.of(part.survey, part.edition, Cleaning(profile, part.masked), part.file("rejected"))
    with closing(rows.screened(items, cleaned, faults)) as drained:
        write_documents(part.file("documents"), drained, rows.counts)


def join_pass(step: Pass, parts: Sequence[Part]) -> None:
    """Join what a pass gave, for the next pass; not of the last one, which `join_parts` joins."""
    folder = parts[0].folder
    if step is Pass.FINISH or not profile_of(parts[0].profile).from_source:
        return
    if step is Pass.LOOK:
        look = SourceLook()
        for part in parts:
            look.merge(_read_look(part.file("look")))
        _write(folder / "look", _look_values(look))
        return
    search = SourceSearch(_read_look(folder / "look"))
    for part in parts:
        values = _read(part.file("search"))
        search.merge(values["whole_words"], values["not_looked_for"], _lines(values["lines"]))
    facts = search.facts()
    boilerplate = {"furniture": facts.boilerplate.furniture, "edges": facts.boilerplate.edges}
    values = {"words": sorted(facts.words), "boilerplate": boilerplate, "not_looked_for": facts.not_looked_for}
    _write(folder / "facts", values)


def join_parts(parts: Sequence[Part], documents: Path, rejected: Path) -> None:
    """Join a source's parts to its documents, with the counts of all of it, and to its rejected documents."""
    counts: dict[str, Any] = {}
    for part in parts:
        _add(counts, read_counts(part.file("documents")))
    screened = counts["screened"]
    for kind, files in screened.items():
        order = (lambda item: (-item[1], item[0])) if kind == "languages" else None
        screened[kind] = dict(sorted(files.items(), key=order))
    every = [each for part in parts if part.file("rejected").exists() for each in read_rejected(part.file("rejected"))]
    if every:
        write_rejected(rejected, every)
    join_documents(documents, [part.file("documents") for part in parts], counts)


def _add(counts: dict[str, Any], more: dict[str, Any], same: Sequence[str] = ()) -> None:
    """Add counts to others, kind by kind, however deep they are, except those that are the `same` in each part."""
    for kind, value in more.items():
        if kind not in counts:
            counts[kind] = value
        elif kind in same:
            continue
        elif isinstance(value, dict):
            _add(counts[kind], value, OF_SOURCE if kind == "cleaning" else ())
        else:
            counts[kind] += value


def _line_values(lines: RepeatedLines) -> dict[str, Any]:
    return {"documents": lines.documents, "lines": lines.lines, "edges": lines.edges, "exact": lines.exact}


def _lines(values: dict[str, Any]) -> RepeatedLines:
    if not values:
        return RepeatedLines()
    lines, edges = Counter(values["lines"]), Counter(values["edges"])
    return RepeatedLines(values["documents"], lines, edges, values["exact"])


def _look_values(look: SourceLook) -> dict[str, Any]:
    return {"lines": _line_values(look.lines), "cut_words": list(look.cut_words), "overflows": look.overflows}


def _read_look(path: Path) -> SourceLook:
    values = _read(path)
    return SourceLook(_lines(values["lines"]), dict.fromkeys(values["cut_words"]), values["overflows"])


def _read_facts(path: Path) -> SourceFacts:
    values = _read(path)
    return SourceFacts(frozenset(values["words"]), Boilerplate(**values["boilerplate"]), values["not_looked_for"])


def _write(path: Path, value: Any) -> None:
    """Write JSON with its keys in their order, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False))  # `json.dump` would encode piece by piece, ten times slower


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
