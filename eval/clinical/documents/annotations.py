"""Annotated texts in the forms that they are published in: BRAT's standoff, UIMA's XMI, and the XML of Mantra GSC."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ....core.errors import UserError
from ....core.files import read_bytes

MOST_BYTES = 20_000_000
"""Bytes of a file of one document, or of one set."""
_MENTION = re.compile(r"(T\d{1,9})\t(\S+) (\d{1,9} \d{1,9}(?:;\d{1,9} \d{1,9})*)\t(.*)")
_NOTE = re.compile(r"#\d+\t(\S+) (T\d{1,9})\t(.*)")
_FIELD = re.compile(r'"([^"]*)"')
GROUPS = {"ANAT", "CHEM", "DEVI", "DISO", "GEOG", "LIVB", "OBJC", "PHEN", "PHYS", "PROC"}
"""UMLS's semantic groups in QUAERO and Mantra GSC."""


@dataclass(frozen=True)
class Mention:
    """A mention of an entity: characters `start` to `end` of a text, its label, and notes on it (kind -> value)."""

    start: int
    end: int
    label: str
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnnotatedText:
    """A text with its mentions, in its order; `split` is the publisher's, or empty.

    `discontinuous` counts mentions in several pieces, which are not contiguous and are left out.
    """

    id: str
    text: str
    mentions: tuple[Mention, ...]
    split: str = ""
    discontinuous: int = 0


def read_brat(text_file: Path) -> AnnotatedText:
    """A `.txt` file with the `.ann` file beside it.

    Raises:
        UserError: a file is missing or not UTF-8, a line is not BRAT's, or a mention is not what its place says.
    """
    ann = text_file.with_suffix(".ann")
    text, lines = _decoded(text_file), _decoded(ann).splitlines()
    mentions: dict[str, Mention] = {}
    discontinuous: set[str] = set()
    for number, line in enumerate(lines, 1):
        where = f"{ann}:{number}"
        if match := _MENTION.fullmatch(line):
            key, label, spans, surface = match.groups()
            if ";" in spans:
                discontinuous.add(key)
                continue
            start, end = map(int, spans.split())
            mentions[key] = _checked(Mention(start, end, label), text, surface, where)
        elif match := _NOTE.fullmatch(line):
            kind, key, value = match.groups()
            if key in mentions:
                mentions[key] = replace(mentions[key], notes=mentions[key].notes | {kind: value})
        elif line.strip() and line[0] not in "REAM*N":
            raise UserError("the line is not an annotation", where=where, allowed="lines of BRAT's standoff format")
    split = next((part for part in reversed(text_file.parts[:-1]) if part in {"train", "dev", "test"}), "")
    return AnnotatedText(
        text_file.stem, text, _in_order(mentions.values()), split=split, discontinuous=len(discontinuous)
    )


def with_groups(text: AnnotatedText) -> AnnotatedText:
    """A text of Mantra GSC in BRAT's form, labelled by concepts there, with its semantic groups as labels.

    A mention of two groups becomes two.

    Raises:
        UserError: the note on a mention names no group.
    """
    mentions = []
    for mention in text.mentions:
        fields = [set(field.split("|")) for field in _FIELD.findall(mention.notes.get("AnnotatorNotes", ""))]
        groups = sorted({group for field in fields if field <= GROUPS for group in field})
        if not groups:
            raise UserError(
                f"no note names the group of {mention.label:.40}", where=text.id, allowed=", ".join(sorted(GROUPS))
            )
        mentions += [replace(mention, label=group) for group in groups]
    return replace(text, mentions=tuple(mentions))


def read_xmi(path: Path, tag: str) -> AnnotatedText:
    """A document of E3C: the text of its view, and the elements of one name, such as `CLINENTITY`, with that label.

    Raises:
        UserError: the file is not XML, has no text, or a mention lies beyond it.
    """
    root = _tree(path)
    texts = [element.get("sofaString") for element in root.iter("{*}Sofa")]
    if len(texts) != 1 or not texts[0]:
        raise UserError(f"the file has {len(texts)} texts", where=str(path), allowed="one, in cas:Sofa")
    mentions = []
    for element in root.iter(f"{{*}}{tag}"):
        where = f"{path}:{element.sourceline}"
        start, end = (_place(element.get(name), where) for name in ("begin", "end"))
        mentions.append(_checked(Mention(start, end, tag), texts[0], None, where))
    return AnnotatedText(path.stem, texts[0], _in_order(mentions))


def read_gsc_units(path: Path) -> Iterator[AnnotatedText]:
    """The units of Mantra GSC's XML.

    Raises:
        UserError: the file is not XML, or a mention is not what its place says.
    """
    for unit in _tree(path).iter("{*}unit"):
        text = "".join(unit.find("{*}text").itertext()) if unit.find("{*}text") is not None else ""
        mentions = []
        for element in unit.iter("{*}e"):
            where = f"{path}:{element.sourceline}"
            start, length = (_place(element.get(name), where) for name in ("offset", "len"))
            mention = Mention(start, start + length, element.get("grp") or "")
            mentions.append(_checked(mention, text, "".join(element.itertext()), where))
        yield AnnotatedText(unit.get("id") or str(unit.sourceline), text, _in_order(mentions))


def passages(text: AnnotatedText) -> Iterator[AnnotatedText]:
    """The lines of a text that are not blank, each with the mentions that lie within it."""
    start = 0
    for number, line in enumerate(text.text.splitlines(keepends=True)):
        end = start + len(line)
        inside = tuple(
            replace(mention, start=mention.start - start, end=mention.end - start)
            for mention in text.mentions
            if start <= mention.start and mention.end <= end
        )
        if line.strip():
            yield AnnotatedText(f"{text.id}#{number}", line.rstrip(), inside, text.split)
        start = end


def _in_order(mentions: Iterable[Mention]) -> tuple[Mention, ...]:
    return tuple(sorted(mentions, key=lambda mention: (mention.start, mention.end)))


def _checked(mention: Mention, text: str, surface: str | None, where: str) -> Mention:
    """A mention that lies within its text, and has the words that its annotation states."""
    words = text[mention.start : mention.end]
    if not words.strip() or mention.end > len(text) or (surface is not None and words.split() != surface.split()):
        raise UserError(
            f"the annotation says {surface or 'a mention'!r:.80}, and the text has {words!r:.80} there",
            where=where,
            fix="fetch text and annotations again: one of them was changed",
        )
    return mention


def _place(value: str | None, where: str) -> int:
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 9:
        raise UserError(f"{value!r:.40} is not a place in a text", where=where, allowed="a number from 0")
    return int(value)


def _decoded(path: Path) -> str:
    try:
        return read_bytes(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("the file is not UTF-8", where=str(path)) from None


def _tree(path: Path) -> etree._Element:
    """The root of an XML file, from a parser that follows nothing and expands nothing."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(read_bytes(path, MOST_BYTES), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UserError(f"the file is not XML: {str(error)[:200]}", where=str(path)) from None
