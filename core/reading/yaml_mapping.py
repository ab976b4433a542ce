"""YAML files that hold a mapping, read strictly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, first_line
from ..files import read_bytes
from ..jsonio import MAX_DEPTH

_BEGIN = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_END = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
RefuseTag = Callable[[yaml.TagToken], None]


def read_mapping(path: Path, limit: int, *, ours: bool = False, refuse_tag: RefuseTag | None = None) -> dict[str, Any]:
    """Read the mapping that a YAML file holds.

    Args:
        path: the file.
        limit: largest size in bytes.
        ours: whether the file belongs to the project: then libyaml reads it, which is fast.
        refuse_tag: raises for a tag, such as `!name`; by default YAML's own tags are read, and others are invalid.

    Raises:
        UserError: the file does not hold a mapping; it has a key twice, of which YAML would keep the last; or it is
            refused by `check_tokens`.
    """
    where, loader = str(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader) if ours else yaml.SafeLoader
    try:
        text = read_bytes(path, limit).decode("utf-8-sig")
        check_tokens(text, where, loader=loader, refuse_tag=refuse_tag)
        _check_keys(yaml.compose(text, loader), where)
        value = yaml.load(text, loader)  # noqa: S506
    except UserError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise UserError(f"not valid YAML: {first_line(error)}", where=where) from None
    if not isinstance(value, dict):
        raise UserError("the file is not a mapping of keys to values", where=where)
    return value


def check_tokens(
    text: str, where: str, *, kind: str = "file", loader: Any = yaml.SafeLoader, refuse_tag: RefuseTag | None = None
) -> None:
    """Check YAML before it is loaded, which neither its depth nor what its aliases stand for would bound.

    Args:
        text: the YAML.
        where: where it comes from.
        kind: what errors call it.
        loader: a class of PyYAML.
        refuse_tag: see `read_mapping`.

    Raises:
        UserError: lists and mappings are nested deeper than JSON's may be (PyYAML's time grows with the square of the
            depth, and far deeper libyaml ends the process), or there are aliases, a few lines of which can expand to
            terabytes.
        yaml.YAMLError: the text is not YAML.
    """
    depth = 0
    for token in yaml.scan(text, loader):
        depth += isinstance(token, _BEGIN) - isinstance(token, _END)
        if depth > MAX_DEPTH:
            raise UserError(f"the {kind} is nested more than {MAX_DEPTH} deep", where=where, fix="write it flatter")
        if isinstance(token, yaml.AliasToken):
            raise UserError(f"the {kind} has YAML aliases (*name)", where=where, fix="write the values out")
        if isinstance(token, yaml.TagToken) and refuse_tag:
            refuse_tag(token)


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
