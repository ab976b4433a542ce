"""Recognition of a registered source by the files that are there: their names, and what their first characters hold."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from functools import cache
from pathlib import Path

from ...core.errors import UserError
from ..documents.streams import marked, open_bytes, packing_of
from .definition import Definition, Signature
from .registry import definitions, key_of
from .rules import is_export

HEAD = 2**16
"""Bytes of a file that are looked at, once unpacked."""
LOOKED_AT = 50
"""Files of a pattern that are looked at: a source's are alike."""
PACKING = re.compile(r"(?:\.(?:gz|gzip|zst|zstd|xz|bz2))+$")

Files = Sequence[tuple[Path, str]]
"""Files, each with its name below the folder."""


def recognised(files: Files, name: str) -> list[Definition]:
    """The registered sources that files may be of: none, one, or several between which they leave a doubt.

    Args:
        files: of one folder, by their names below the folder that holds it; or a file given by itself.
        name: of the folder. It alone never makes files a source's. Among the exports that circulate with a document a
            line, which have the same form, it decides which one this is, unless the texts contradict it.
    """
    names = {path: PACKING.sub("", relative.lower()) for path, relative in files}
    heads: dict[Path, str] = {}
    matching = [
        each for each in definitions().values() if any(_fits(signature, names, heads) for signature in each.signatures)
    ]
    named = definitions().get(key_of(name))
    return [named] if not matching and named and exports(files) else matching


def exports(files: Files) -> list[str]:
    """Names of the files that are called as the export is which circulates, a document a line."""
    return [name for _, name in files if is_export(PACKING.sub("", name.lower()))]


def _fits(signature: Signature, names: dict[Path, str], heads: dict[Path, str]) -> bool:
    """Whether there are files of a signature, and what it wants beside them."""
    if any(not _named(pattern, names) for pattern in signature.beside) or _named(signature.without, names):
        return False
    candidates = _named(signature.names, names)[:LOOKED_AT]
    return any(_holds(signature, _head(path, heads)) for path in candidates)


def _named(patterns: str | tuple[str, ...], names: dict[Path, str]) -> list[Path]:
    """The files whose path, or its last part, fits a pattern."""
    fits = _pattern((patterns,) if isinstance(patterns, str) else patterns)
    return [path for path, name in names.items() if fits.match(name) or fits.match(name.rpartition("/")[2])]


@cache
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern.lower()) for pattern in patterns) or r"(?!)")


def _holds(signature: Signature, head: str) -> bool:
    """Whether each expression is found often enough in a file's first characters."""
    return all(_times(re.finditer(expression, head), signature.times) for expression in signature.holds)


def _times(matches: Iterator[re.Match[str]], times: int) -> bool:
    return sum(1 for _, _ in zip(matches, range(times), strict=False)) == times


def _head(path: Path, heads: dict[Path, str]) -> str:
    """The first characters of a file, unpacked; empty where it cannot be unpacked, which its reader will say."""
    if path not in heads:
        try:
            heads[path] = _read_head(path)
        except UserError:
            heads[path] = ""
    return heads[path]


def _read_head(path: Path) -> str:
    with open_bytes(path) as stream:
        raw = stream.read(HEAD)
    packing = packing_of(raw)
    if packing:
        with open_bytes(path, packing) as stream:
            raw = stream.read(HEAD)
    return raw.decode(marked(raw) or "utf-8", "replace")
