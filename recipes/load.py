"""Reading a recipe: defaults, then the YAML file or published recipe, then `key=value` from the command line."""

import re
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from ..core.errors import UserError, nearest
from . import h100
from .schema import Recipe
from .validate import validate

FOLDER = Path(__file__).parent / "configs"


def names() -> list[str]:
    """The recipes that come with the project."""
    return [*h100.names(), *sorted(path.stem for path in FOLDER.glob("*.yaml"))]


def _read(recipe: str) -> DictConfig:
    """What a recipe given by name or by path says.

    Raises:
        UserError: neither is there, or the file is no recipe.
    """
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return _read_yaml(path)
        raise UserError(f"no such recipe file: {recipe}", where="RECIPE", mend="check the path")
    if recipe in h100.names():
        return OmegaConf.create(h100.values(recipe))
    if recipe in names():
        return _read_yaml(FOLDER / f"{recipe}.yaml")
    raise UserError(
        f"no recipe is called {recipe!r}",
        where="RECIPE",
        allowed=f"a YAML file, or one of {', '.join(names())}",
        mend=nearest(recipe, names()),
    )


def load(recipe: str, overrides: list[str] | None = None, *, fitting: bool = True) -> Recipe:
    """Read, merge and check a recipe.

    Args:
        recipe: a name from `names()`, or the path of a YAML file.
        overrides: `key=value` items, dotted keys.
        fitting: whether it has to fit into its machine's memory, as it is.

    Raises:
        UserError: an unknown key (the nearest valid one is named), a wrong type, a missing value, or values that do
            not go together.
    """
    return resolve(_read(recipe), overrides or [], recipe, fitting=fitting)


def resolve(values: DictConfig, overrides: list[str], where: str, *, fitting: bool = True) -> Recipe:
    """Merge and check a recipe whose values are there already.

    Args:
        values, overrides, where: see `merge`.
        fitting: see `load`.

    Raises:
        UserError: see `load`.
    """
    value = merge(values, overrides, where)
    validate(value, fitting=fitting)
    return value


def merge(values: DictConfig, overrides: list[str], where: str) -> Recipe:
    """Merge a recipe; its keys and types are checked, and not yet whether they go together.

    Args:
        values: nested keys of `schema.Recipe`.
        overrides: see `load`.
        where: what errors call the values.

    Raises:
        UserError: an unknown key, a wrong type or a missing value.
    """
    config = _merge(OmegaConf.structured(Recipe), values, where)
    for item in overrides:
        if "=" not in item:
            raise UserError(
                f"{item!r} is not key=value", where="command line", allowed="for instance optimizer.lr=1e-5"
            )
        config = _merge(config, OmegaConf.from_dotlist([_quote_times(item)]), f"command line: {item}")
    try:
        return cast(Recipe, OmegaConf.to_object(config))
    except MissingMandatoryValue as error:
        raise UserError(
            f"the recipe does not say {error.full_key}", where=where, mend=f"add {error.full_key}"
        ) from None


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as JSON values."""
    return asdict(recipe)


def from_dict(value: dict[str, Any]) -> Recipe:
    """Read back what `to_dict` gave."""
    return cast(Recipe, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Recipe), OmegaConf.create(value))))


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load` reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(to_dict(recipe)))


def _read_yaml(path: Path) -> DictConfig:
    import yaml

    try:
        value = OmegaConf.load(StringIO(_quote_times(path.read_text(encoding="utf-8"))))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"the recipe is not valid YAML: {error}", where=str(path)) from None
    if not isinstance(value, DictConfig):
        raise UserError("the recipe is not a mapping of keys to values", where=str(path))
    return value


def _quote_times(text: str) -> str:
    """Put quotes around values such as 20:00:00: YAML reads them as numbers to base 60, and Slurm those as minutes."""
    return re.sub(r"(?m)(^|=|[:,\[-]\s+|\[)(\d+(?::\d+)+)(?=\s*(?:$|[,\]}]|\s#))", r"\1'\2'", text)


def _merge(config: Any, layer: DictConfig, where: str) -> Any:
    try:
        return OmegaConf.merge(config, layer)
    except ConfigKeyError as error:
        known = [item.name for item in fields(cast(Any, error.object_type))]
        mend = nearest(str(error.key), known)
        raise UserError(f"unknown key {error.full_key!r}", where=where, allowed=", ".join(known), mend=mend) from None
    except (ValidationError, OmegaConfBaseException) as error:
        raise UserError(f"{error.full_key or 'the recipe'}: {str(error).splitlines()[0]}", where=where) from None
