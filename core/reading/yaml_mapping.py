"""YAML files that hold a mapping, read strictly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, first_line
from ..files import read_bytes

MOST_BRACKETS = 5_000
"""Largest number of brackets in a file: PyYAML's time grows with the square of their nesting."""


def read_mapping(
    path: Path, limit: int, *, ours: bool = False, refuse_tag: Callable[[yaml.TagToken], None] | None = None
) -> dict[str, Any]:
    """Read the mapping that a YAML file holds.

    Args:
        path: the file.
        limit: largest size in bytes.
        ours: whether the file belongs to the project: then libyaml reads it, which is fast, but ends the process if
            brackets are nested too deep.
        refuse_tag: raises for a tag, such as `!name`; by default YAML's own tags are read, and others are invalid.

    Raises:
        UserError: the file does not hold a mapping; it has a key twice, of which YAML would keep the last; or it has
            aliases, a few lines of which can expand to terabytes.
    """
    where, loader = str(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader) if ours else yaml.SafeLoader
    try:
        text = read_bytes(path, limit).decode("utf-8-sig")
        if (brackets := text.count("[") + text.count("{")) > MOST_BRACKETS:
            allowed = f"up to {MOST_BRACKETS:,}"
            raise UserError(
                f"the file has {brackets:,} brackets", where=where, allowed=allowed, fix="write lists as lines"
            )
        for token in yaml.scan(text, loader):
            if isinstance(token, yaml.AliasToken):
                raise UserError("the file has YAML aliases (*name)", where=where, fix="write the values out")
            if isinstance(token, yaml.TagToken) and refuse_tag:
                refuse_tag(token)
        _check_keys(yaml.compose(text, loader), where)
        value = yaml.load(text, loader)  # noqa: S506
    except UserError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise UserError(f"not valid YAML: {first_line(error)}", where=where) from None
    if not isinstance(value, dict):
        raise UserError("the file is not a mapping of keys to values", where=where)
    return value


def _check_keys(node: yaml.Node | None, where: str) -> None:
    """Check that no mapping below a node has a key twice."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, yaml.SequenceNode):
            waiting += each.value
        elif isinstance(each, yaml.MappingNode):
            waiting += [value for _, value in each.value]
            seen: set[Any] = set()
            for key, _ in each.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    line = key.start_mark.line + 1
                    raise UserError(f"the key {key.value[:60]!r} appears twice", where=f"{where}:{line}")
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
