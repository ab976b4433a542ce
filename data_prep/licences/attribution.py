"""Credits of a corpus: title, authors, source, licence with its address, and the changes made, as CC BY asks."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...core.errors import UserError
from ...core.files import sha256, write_text
from ...core.log import counted
from ...core.manifest import Manifest
from ..documents.store import read_documents
from ..sources.definition import Definition
from ..sources.registry import definitions
from .report import corpus_files

COLUMNS = ("title", "authors", "subset", "url", "doi", "licence", "licence_url", "licence_evidence", "changes_made")
BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
CLEANED = re.compile(r"cleaned(?: \([^)]*\))?: ([^;]*)")
CHANGED = re.compile(r"(\w+) \d+")
HEAD = """\
Credits
=======

The texts of this corpus come from the sources below. Each was changed as said under it; nobody who is named here
endorses the changes, the corpus, or what is made of it.
"""


class Credit(NamedTuple):
    """Credit for the documents that share it, in the order of the columns, without the changes."""

    title: str
    authors: str
    subset: str
    url: str
    doi: str
    licence: str
    licence_url: str
    licence_evidence: str


def write_attribution(corpus: Path, out: Path) -> dict[str, Any]:
    """Write the credits of a corpus into one text file, sources and documents in the order of their names.

    A document that states title or authors is credited by itself; the others of a source together, by the source's
    citation.

    Args:
        corpus: a corpus stage's folder.
        out: the file.

    Returns:
        Counts: `credits` (entries), `documents`, `without_licence` (documents of which no licence is known).

    Raises:
        UserError: the folder is not a corpus, or there is another file at `out`.
    """
    files = corpus_files(corpus)
    known = _definitions(corpus)
    counts: Counter[str] = Counter(credits=0, documents=0, without_licence=0)
    parts = [HEAD, *(_section(name, path, known.get(name), counts) for name, path in files.items())]
    text = "\n".join(parts)
    _write_once(out, text)
    return {"file": str(out), **counts}


def _write_once(out: Path, text: str) -> None:
    """Write a file, unless it is there already.

    Raises:
        UserError: there is another.
    """
    if out.exists() and (not out.is_file() or sha256(out) != hashlib.sha256(text.encode()).hexdigest()):
        raise UserError(f"there is something else at {out}", where="--out", fix="remove it, or choose another file")
    write_text(out, text)


def _definitions(corpus: Path) -> dict[str, Definition]:
    """Source -> its definition, of those that are registered, as the corpus's manifest names them."""
    sources = Manifest.read(corpus).config.get("sources", [])
    formats = {each["name"]: each.get("format") for each in sources if isinstance(each, dict) and "name" in each}
    return {name: definitions()[key] for name, key in formats.items() if key in definitions()}


def _section(name: str, path: Path, definition: Definition | None, counts: Counter[str]) -> str:
    """The credits of one source."""
    credited: Counter[Credit] = Counter()
    changes: set[str] = set()
    versions: set[str] = set()
    for *facts, made in read_documents(path, COLUMNS):
        credit = Credit(*(BLANKS.sub(" ", fact).strip() for fact in facts))
        credited[credit if credit.title or credit.authors else credit._replace(subset="", url="", doi="")] += 1
        changes.update(kind for cleaned in CLEANED.findall(made) for kind in CHANGED.findall(cleaned))
        versions.update(re.findall(r"pdapt ([^\s:]+):", made))
    counts["documents"] += credited.total()
    counts["credits"] += len(credited)
    counts["without_licence"] += sum(count for credit, count in credited.items() if not credit.licence)
    title = definition.name if definition else name
    head = [title, "-" * len(title), *_about(definition), _changes(definition, changes, versions)]
    return "\n".join(["", *head, "", *_entries(credited), ""])


def _about(definition: Definition | None) -> list[str]:
    if definition is None:
        return []
    return [f"Source: {', '.join(definition.endpoints)}", f"Cite: {BLANKS.sub(' ', definition.citation).strip()}"]


def _changes(definition: Definition | None, kinds: Iterable[str], versions: Iterable[str]) -> str:
    """Sentence on the changes to a source's texts."""
    taken = f"taken from the published files ({definition.text}); " if definition else ""
    cleaned = ", ".join(kind.replace("_", " ") for kind in sorted(kinds))
    by = f" by pdapt {', '.join(sorted(versions))}" if versions else ""
    return f"Changes: {taken}{f'characters cleaned ({cleaned})' if cleaned else 'no character changed'}{by}"


def _entries(credited: Counter[Credit]) -> Iterator[str]:
    """A line for each credit, in order."""
    for credit, count in sorted(credited.items()):
        untitled = _untitled(credit) if credit.authors else counted(count, "document")
        work = f'"{credit.title}"' if credit.title else untitled
        by = f", {credit.authors}" if credit.authors else ""
        doi = f", https://doi.org/{credit.doi}" if credit.doi and credit.doi not in credit.url else ""
        place = f", {credit.url}" if credit.url else ""
        licence = credit.licence or f"no licence is known ({credit.licence_evidence or 'none is stated'})"
        address = f" ({credit.licence_url})" if credit.licence_url not in ("", credit.licence) else ""
        yield f"- {work}{by}{place}{doi}. Licence: {licence}{address}."


def _untitled(credit: Credit) -> str:
    return f"an untitled text of {credit.subset}" if credit.subset else "an untitled text"
