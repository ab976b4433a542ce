"""The registry: the sources that come with the project, and those that a file of the user's defines."""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ...core.errors import UserError, check_known, nearest
from ...core.files import sha256
from ...core.reading.yaml_mapping import read_mapping
from .definition import Definition, FileRule, build
from .options import OPTIONS

FOLDER = Path(__file__).parent
REGISTRY = FOLDER / "registry.yaml"
ENDINGS = (".yaml", ".yml")
"""Endings of a file that defines a source."""
LARGEST = 2**15
"""Bytes of a definition's file."""
KEY = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Registry:
    """Rules that hold for all sources.

    Attributes:
        max_rejected: share of a source's documents that may be damaged, where the user names none.
        export: how the one-line-a-document export is read.
        lists: what a collection keeps beside the files that are read.
    """

    max_rejected: float
    export: FileRule
    lists: FileRule


@cache
def registry() -> Registry:
    """Rules that hold for all sources."""
    loaded = build(Registry, _mapping(REGISTRY), str(REGISTRY))
    return replace(loaded, export=_with_options(loaded.export, str(REGISTRY)))


@cache
def definitions() -> dict[str, Definition]:
    """Key -> source, in the order of Table 1: the commercial edition first, and in each those with most words.

    Raises:
        UserError: a source's file does not state what it must.
    """
    loaded = [read_definition(path) for path in FOLDER.glob("*/*.yaml")]
    loaded.sort(key=lambda each: (each.edition, -(each.words or 0), each.key))
    return {each.key: each for each in loaded}


@cache
def releases() -> dict[str, Definition]:
    """Key -> published corpus of the registered sources, which is read like a source but is not one."""
    read = (read_definition(path) for path in sorted(FOLDER.glob("*.yaml")) if path != REGISTRY)
    return {each.key: each for each in read}


def is_source(name: str) -> bool:
    """Whether a name is a registered source's or a release's, or the path of a file that defines one."""
    return is_file(name) or key_of(name) in definitions() | releases()


def is_file(name: str) -> bool:
    """Whether a name is the path of a file that defines a source."""
    return name.endswith(ENDINGS)


def find_source(name: str) -> Definition:
    """The source of a name, whose case does not count, or the one that a file defines.

    Raises:
        UserError: there is none; the nearest name is given.
    """
    if is_file(name):
        return read_definition(Path(name))
    key = key_of(name)
    known = definitions() | releases()
    check_known(key, known, "source", "SOURCE")
    return known[key]


def identity_of(format: str | None) -> str | None:
    """A format as a manifest names it: for a source that a file defines, its key and the SHA-256 of the file."""
    if format is None or not is_file(format):
        return format
    return f"{read_definition(Path(format)).key} {sha256(Path(format))}"


def key_of(name: str) -> str:
    """A source's key from a name in whatever case, with blanks or hyphens."""
    return re.sub(r"[\s-]", "_", name.strip()).upper()


def read_definition(path: Path) -> Definition:
    """The source that a file defines.

    Raises:
        UserError: it is no YAML, or does not state what a source must.
    """
    where = str(path)
    loaded = build(Definition, _mapping(path), where)
    if not KEY.fullmatch(loaded.key):
        raise UserError(f"{loaded.key!r} cannot be a source's key", where=where, allowed="A to Z, 0 to 9 and '_'")
    if not loaded.files:
        raise UserError("the source names no files", where=where, allowed="files: [{names: ['*.txt'], format: text}]")
    for number, step in enumerate(loaded.collect.steps if loaded.collect else ()):
        schemes = [scheme for scheme in vars(step).values() if scheme is not None]
        if len(schemes) != 1:
            allowed = "one of " + ", ".join(vars(step))
            raise UserError(f"collect.steps[{number}] has {len(schemes)} schemes", where=where, allowed=allowed)
    _check_signatures(loaded, where)
    return replace(loaded, files=tuple(_with_options(rule, where) for rule in loaded.files))


def _check_signatures(definition: Definition, where: str) -> None:
    """Check that the regular expressions of a source's signatures are some."""
    for expression in (each for signature in definition.signatures for each in signature.holds):
        try:
            re.compile(expression)
        except (re.error, RecursionError, OverflowError) as error:
            message = f"{expression[:60]!r} is not a regular expression: {error}"
            raise UserError(message, where=f"{where}: signatures") from None


def _with_options(rule: FileRule, where: str) -> FileRule:
    """A rule with its format's options as an instance of their class."""
    if bool(rule.format) == bool(rule.holds):
        fix = "'format' says how the files are read, 'holds' what they hold that is not read"
        raise UserError(f"the files {', '.join(rule.names)} need a format, or what they hold", where=where, fix=fix)
    if not rule.format:
        return rule
    if rule.format not in OPTIONS:
        fix = nearest(rule.format, list(OPTIONS))
        raise UserError(f"no format is called {rule.format!r}", where=where, allowed=", ".join(OPTIONS), fix=fix)
    return replace(rule, options=build(OPTIONS[rule.format], rule.options or {}, where, "options"))


def _mapping(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds."""
    return read_mapping(path, LARGEST, ours=FOLDER in path.parents)
