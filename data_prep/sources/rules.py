"""Which rule of a source a file falls under, by its name."""

from fnmatch import fnmatchcase

from .definition import Definition, FileRule
from .registry import registry

ANNOTATIONS = "annotations"
"""Content of files that annotate a text. They stay apart from it."""


def rule_for(definition: Definition, name: str, *, alone: bool) -> FileRule | None:
    """The rule that a file falls under, or None.

    Args:
        definition: its source.
        name: its path below the source's folder, without the endings of what it is packed in.
        alone: whether the user named the file itself: then a name that fits no rule is read by the source's first.
    """
    lower = name.lower()
    everywhere = (registry().lists, registry().export)
    match = next((rule for rule in (*everywhere, *definition.files) if _fits(rule, lower)), None)
    if alone and match is None:
        return next(rule for rule in definition.files if rule.format)
    return match


def is_export(name: str) -> bool:
    """Whether a file is called as the export is which circulates with a document a line.

    Args:
        name: its path below the source's folder, without the endings of what it is packed in.
    """
    return _fits(registry().export, name.lower())


def _fits(rule: FileRule, name: str) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatchcase(name, pattern) or fnmatchcase(last, pattern) for pattern in map(str.lower, rule.names))
