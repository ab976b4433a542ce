"""Checks the types of a schema's values, and refuses others with a message that names the wanted type in words."""

import json
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from omegaconf import BooleanNode, FloatNode, IntegerNode, StringNode
from omegaconf.errors import ValidationError

from ..core.errors import UserError
from ..core.jsonio import shorten

SHOWN = 80
"""How many characters of a wrong value a message shows."""
_SCALARS: dict[type, tuple[Any, str]] = {
    bool: (BooleanNode, "true or false"),
    int: (IntegerNode, "a whole number"),
    float: (FloatNode, "a number"),
    str: (StringNode, "text"),
}
"""Type -> OmegaConf's node, which converts what can be converted, and the type in words."""


def check_types(schema: type, values: dict[Any, Any], where: str, name: str = "") -> None:
    """Check values against a schema; unknown keys are left to the merge.

    Args:
        schema: a dataclass.
        values: values of some of its keys.
        where: where they come from.
        name: dotted key of the mapping, with a dot at its end; empty for the whole file.

    Raises:
        UserError: a value has another type.
    """
    hints = get_type_hints(schema)
    for key, value in values.items():
        if key in hints:
            _check(hints[key], value, where, f"{name}{key}")


def _check(hint: Any, value: Any, where: str, name: str) -> None:
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if isinstance(value, str) and ("${" in value or value == "???"):
        return  # the merge deals with values that are not there yet
    if not any(_fits(kind, value, where, name) for kind in kinds):
        shown = shorten(value) if isinstance(value, str) else json.dumps(value, default=str)[:SHOWN]
        raise UserError(f"{name} is {shown}", where=where, allowed=" or ".join(map(_words, kinds)))


def _fits(kind: Any, value: Any, where: str, name: str) -> bool:
    """Whether a value is of a type; its elements are checked as well, and a wrong one is named by its own key."""
    if kind is Any:
        return True
    if kind is NoneType or value is None:
        return kind is NoneType and value is None
    if is_dataclass(kind) and isinstance(value, dict):
        check_types(cast(type, kind), value, where, f"{name}.")
        return True
    if get_origin(kind) is list and isinstance(value, list):
        for number, item in enumerate(value):
            _check(get_args(kind)[0], item, where, f"{name}[{number}]")
        return True
    if get_origin(kind) is dict and isinstance(value, dict):
        for key, item in value.items():
            _check(get_args(kind)[1], item, where, f"{name}.{key}")
        return True
    return _is_scalar(kind, value)


def _is_scalar(kind: Any, value: Any) -> bool:
    if kind not in _SCALARS:  # a mapping or a list is wanted
        return False
    try:
        _SCALARS[kind][0](value)
    except (ValidationError, OverflowError):
        return False
    return True


def _words(kind: Any) -> str:
    if kind is NoneType:
        return "null"
    if kind in _SCALARS:
        return _SCALARS[kind][1]
    if is_dataclass(kind):
        return f"a mapping of {', '.join(field.name for field in fields(kind))}"
    if get_origin(kind) is list:
        return f"a list in brackets, each element {_words(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return "a mapping of names to values"
    raise TypeError(f"no words for {kind}")
