"""Reading a recipe: defaults, then the YAML file or published recipe, then `key=value` from the command line."""

from dataclasses import asdict
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ..core.errors import UserError, nearest
from . import published_recipes
from .choose_again import valid_choice
from .overrides import merge_layer, override_layer, read_layer, set_by
from .schema import Part, Recipe
from .validate import validate

FOLDER = Path(__file__).parent / "configs"


def names() -> list[str]:
    """The recipes that come with the project."""
    return [*published_recipes.names(), *sorted(path.stem for path in FOLDER.glob("*.yaml"))]


def _read(recipe: str, *, allow_env: bool) -> DictConfig:
    """Read the values of a recipe that is given by name or by path.

    Raises:
        UserError: neither is there, or the file is not a recipe.
    """
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return read_layer(path, allow_env=allow_env)
        raise UserError(f"no such recipe file: {recipe}", where="RECIPE", fix="check the path")
    if recipe in published_recipes.names():
        return OmegaConf.create(published_recipes.values(recipe))
    if recipe in names():
        return read_layer(FOLDER / f"{recipe}.yaml")
    raise UserError(
        f"no recipe is called {recipe!r}",
        where="RECIPE",
        allowed=f"a YAML file, or one of {', '.join(names())}",
        fix=nearest(recipe, names()),
    )


def load(recipe: str, overrides: list[str] | None = None, *, fitting: bool = True, allow_env: bool = False) -> Recipe:
    """Read, merge and check a recipe.

    If overrides conflict with a published recipe's micro-batch or gradients, these are chosen again, unless they are
    set, too (`choose_again.py`).

    Args:
        recipe: a name from `names()`, or the path of a YAML file.
        overrides: `key=value` items, dotted keys.
        fitting: whether the recipe has to fit into its machine's memory.
        allow_env: whether values may be taken from elsewhere, such as `${oc.env:NAME}`.

    Raises:
        UserError: an unknown key (the message names the nearest valid one), a wrong type, a missing value, or values
            that conflict.
    """
    values, given = _read(recipe, allow_env=allow_env), overrides or []
    if fitting and given and recipe in published_recipes.names():
        merged = merge(values, given, recipe, allow_env=allow_env)
        return valid_choice(merged, set_by(given, allow_env=allow_env))
    return resolve(values, given, recipe, fitting=fitting, allow_env=allow_env)


def resolve(
    values: DictConfig, overrides: list[str], where: str, *, fitting: bool = True, allow_env: bool = False
) -> Recipe:
    """Merge and check a recipe whose values have been read.

    Args:
        values, overrides, where: see `merge`.
        fitting, allow_env: see `load`.

    Raises:
        UserError: see `load`.
    """
    value = merge(values, overrides, where, allow_env=allow_env)
    validate(value, fitting=fitting)
    return value


def merge(values: DictConfig, overrides: list[str], where: str, *, allow_env: bool = False) -> Recipe:
    """Merge a recipe, and check its keys and types, but not yet whether its values are consistent.

    Args:
        values: nested keys of `schema.Recipe`.
        overrides, allow_env: see `load`.
        where: how errors name the source of the values.

    Raises:
        UserError: an unknown key, a wrong type or a missing value.
    """
    config = merge_layer(_defaults(), values, where)
    for item in overrides:
        config = merge_layer(config, override_layer(item, allow_env=allow_env), f"command line: {item}")
    try:
        return cast(Recipe, OmegaConf.to_object(config))
    except MissingMandatoryValue as error:
        raise UserError(
            f"the recipe has no value for {error.full_key}", where=where, fix=f"add {error.full_key}"
        ) from None
    except OmegaConfBaseException as error:  # a value that --allow-env permits is missing, or of another type
        raise UserError(f"{error.full_key or 'the recipe'}: {str(error).splitlines()[0]}", where=where) from None


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as JSON values, with the members of enums as plain strings."""
    return asdict(recipe, dict_factory=_plain)


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, StrEnum) else value for name, value in pairs}


def complete_data(data: Any) -> Any:
    """Complete a recorded recipe's `data` by the defaults of those keys of a blend's parts that its release lacked.

    Args:
        data: the recorded value, which may be damaged.
    """
    if not isinstance(data, dict) or not isinstance(data.get("blend"), list):
        return data
    known = asdict(Part())
    return data | {"blend": [known | part if isinstance(part, dict) else part for part in data["blend"]]}


def from_dict(value: dict[str, Any]) -> Recipe:
    """Read back what `to_dict` returned."""
    return cast(Recipe, OmegaConf.to_object(OmegaConf.merge(_defaults(), OmegaConf.create(value))))


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load` reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(to_dict(recipe)))


@cache
def _defaults() -> DictConfig:
    """The schema with its defaults, which `OmegaConf.merge` does not change. Making it takes 18 ms."""
    return OmegaConf.structured(Recipe)
