"""The layers of a recipe as the user writes them: a YAML file, and `key=value` on the command line."""

import io
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ..core.errors import UserError, first_line, nearest
from ..core.files import read_bytes
from ..core.jsonio import shorten
from ..core.reading.yaml_mapping import check_tokens
from .value_types import check_types

MAX_BYTES = 2**16
"""Largest size of a recipe file; the published ones have 2,000 bytes."""
_NOT_YAML = (yaml.YAMLError, OmegaConfBaseException, RecursionError, ValueError, OSError, TypeError, LookupError)
"""Errors of YAML's reader and OmegaConf on text that is not a recipe: wrong dates, long integers, a lone scalar."""


def read_layer(path: Path, *, allow_env: bool = False, kind: str = "recipe") -> DictConfig:
    """Read a recipe file, or another of its kind.

    Args:
        path: the file.
        allow_env: see `check_plain`.
        kind: what errors call the file.

    Raises:
        UserError: the file is not a recipe, or takes a value from elsewhere.
    """
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
        check_tokens(text, str(path), kind=kind)
        value = OmegaConf.load(io.StringIO(_quote_times(text)))
    except UserError:
        raise
    except _NOT_YAML as error:
        raise UserError(f"the {kind} is not valid YAML: {first_line(error)}", where=str(path)) from None
    if not isinstance(value, DictConfig):
        raise UserError(f"the {kind} is not a mapping of keys to values", where=str(path))
    check_plain(value, str(path), allow_env=allow_env)
    return value


def override_layer(item: str, *, allow_env: bool = False) -> DictConfig:
    """Read one `key=value` of the command line.

    Args:
        item: dotted keys, and a value in YAML.
        allow_env: see `check_plain`.

    Raises:
        UserError: it is not `key=value`, or takes a value from elsewhere.
    """
    where = f"command line: {item if len(item) < 200 else item[:200] + '…'}"
    key, equals, text = item.partition("=")
    # OmegaConf takes `\=` for a part of the key, and would read another value than the one that is checked here.
    if not equals or not key.strip() or "\\" in key or len(item) > MAX_BYTES:
        raise UserError(
            f"{shorten(item)} is not key=value", where="command line", allowed="for instance optimizer.lr=1e-5"
        )
    try:
        check_tokens(text, where, kind="value")
        value = OmegaConf.from_dotlist([_quote_times(item)])
    except UserError:
        raise
    except _NOT_YAML as error:
        raise UserError(
            f"the value of {key if len(key) < 200 else shorten(key)} cannot be read: {first_line(error)}",
            where=where,
            fix="close every quote and bracket; in the shell, put the whole key=value in single quotes",
        ) from None
    check_plain(value, where, allow_env=allow_env)
    return value


def merge_layer(config: Any, layer: DictConfig, where: str, *, kind: str = "recipe") -> Any:
    """Merge a layer into a structured configuration.

    Args:
        config: the schema, or its merge with earlier layers; it is not changed.
        layer: keys and values.
        where: where they come from.
        kind: what errors call the whole.

    Raises:
        UserError: an unknown key (the nearest valid one is named), or a value of a wrong type.
    """
    values = cast("dict[Any, Any]", OmegaConf.to_container(layer, resolve=False))
    check_types(cast(type, OmegaConf.get_type(config)), values, where)
    try:
        return OmegaConf.merge(config, layer)
    except ConfigKeyError as error:
        known = [item.name for item in fields(cast(Any, error.object_type))]
        fix = nearest(str(error.key), known)
        raise UserError(f"unknown key {error.full_key!r}", where=where, allowed=", ".join(known), fix=fix) from None
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or f'the {kind}'}: {str(error).splitlines()[0]}", where=where) from None
    except (
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:  # a list or a mapping where the schema has another kind of value
        allowed = "values of the schema's types (docs/options.md); a list is given whole: data.blend=[{...}]"
        raise UserError(f"the values do not fit a {kind}: {error}", where=where, allowed=allowed) from None


def check_plain(layer: DictConfig, where: str, *, allow_env: bool) -> None:
    """Check that all values of a layer are literal: `${oc.env:NAME}` would take one from the environment.

    Args:
        layer: keys and values.
        where: where they come from.
        allow_env: whether the user has allowed values from elsewhere.

    Raises:
        UserError: a value is not literal.
    """
    if allow_env:
        return
    for name, value in _leaves(OmegaConf.to_container(layer, resolve=False), ""):
        if isinstance(value, str) and "${" in value:
            raise UserError(
                f"{name} takes its value from elsewhere: {shorten(value)}",
                where=where,
                allowed="literal values: a run must be the same wherever its recipe is read",
                fix="write the value out, or allow it with --allow-env (`pdapt train`, `pdapt launch`)",
            )


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested mapping -> values; lists stay as they are."""
    dotted: dict[str, Any] = {}
    for name, value in values.items():
        dotted |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return dotted


def set_by(overrides: list[str], *, allow_env: bool = False) -> set[str]:
    """Dotted keys that `key=value` items of the command line set."""
    layers = (override_layer(item, allow_env=allow_env) for item in overrides)
    return {key for layer in layers for key in flat(OmegaConf.to_container(layer, resolve=False))}


def _leaves(value: object, name: str) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        keys: list[tuple[str, object]] = [("a key", key) for key in value]
        return keys + [leaf for key, item in value.items() for leaf in _leaves(item, f"{name}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [leaf for number, item in enumerate(value) for leaf in _leaves(item, f"{name}[{number}]")]
    return [(name, value)]


def _quote_times(text: str) -> str:
    """Quote values such as 20:00:00: YAML would read a number in base 60, and Slurm would read that as minutes."""
    return re.sub(r"(?m)(^|=|[:,\[-]\s+|\[)(\d+(?::\d+)+)(?=\s*(?:$|[,\]}]|\s#))", r"\1'\2'", text)
