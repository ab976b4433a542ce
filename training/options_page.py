"""Writes docs/options.md: each option of a recipe beside the Megatron arguments it becomes.

`python -m pdapt.training.options_page > docs/options.md`. What an option decides is taken from its comment in
`schema.py`, the source of a published value from `published_recipes.py`; the arguments are found by changing the
option. Only what the code does not contain is written down, in `options_page_names.py`.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args, get_origin

from ..core.qwen3 import END_OF_DOCUMENT_ID, Qwen3Config
from ..data_prep.tokens.layouts import Layout
from ..recipes import schema
from ..recipes.megatron_args import Places, megatron_args
from ..recipes.published_recipes import SOURCES
from ..recipes.refusals import NEMO_REFUSES
from .options_page_names import (
    BRIDGE,
    DECIDES,
    INTRO,
    NEMO_INTRO,
    NOT_RUN,
    PASSED_ON,
    READ_BY,
    REQUIRED,
    SET,
    SET_INTRO,
    STARTED,
)

SECTIONS = {item.name: inspect.getdoc(item.type) or "" for item in fields(schema.Recipe) if is_dataclass(item.type)}
"""Section of a recipe -> what it is about, from its class's docstring."""


@dataclass(frozen=True)
class Option:
    """A leaf of the schema.

    Attributes:
        name: dotted name; `[]` where it is repeated.
        kind: its type.
        default: the default as a recipe would write it.
        decides: the comment on the option.
    """

    name: str
    kind: Any
    default: str
    decides: str


def options(parent: type = schema.Recipe, prefix: str = "") -> Iterator[Option]:
    """Yield every leaf of the schema, in its order."""
    comments = _comments(parent)
    for item in fields(parent):
        name = prefix + item.name
        kinds = (item.type, *get_args(item.type))
        inner = next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)
        if inner is not None:
            yield from options(inner, name + ("[]." if get_origin(item.type) is list else "."))
            continue
        default = item.default if item.default_factory is MISSING else item.default_factory()
        decides = comments.get(item.name) or DECIDES.get(name, "")
        yield Option(name, item.type, _shown(default), decides)


def _comments(parent: type) -> dict[str, str]:
    """Field -> comment behind or above it; for a model's shape, what `core/qwen3.py` says of its attributes."""
    if parent is schema.Shape:
        return dict(re.findall(r"^ +(\w+): (.+)\.$", inspect.getdoc(Qwen3Config) or "", re.MULTILINE))
    lines = inspect.getsource(parent).splitlines()
    body = ast.parse("\n".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    comments: dict[str, str] = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above, line = lines[node.lineno - 2].strip(), lines[node.lineno - 1]
            comments[node.target.id] = line.partition("  # ")[2] or (above[2:] if above.startswith("# ") else "")
    return comments


def _shown(value: Any) -> str:
    if value == schema.MISSING:
        return REQUIRED
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


SHAPE = schema.Shape(
    layers=2,
    hidden=96,
    ffn=9,
    heads=14,
    kv_heads=1,
    head_dim=2,
    vocab=9,
    tied=True,
    max_positions=9,
    rope_base=9,
    norm_eps=9,
)
PLAIN = schema.Recipe(
    model=schema.Model(shape=SHAPE, transformer_impl=schema.Layers.TRANSFORMER_ENGINE),
    batch=schema.Batch(global_size=4),
    steps=4,
)
STARTS = [
    PLAIN,
    replace(PLAIN, data=schema.Data(layout=Layout.CONCAT), log=schema.Log(profile=[1, 2])),
    replace(PLAIN, optimizer=schema.Optimizer(schedule=schema.Schedule.COSINE)),
    replace(PLAIN, optimizer=schema.Optimizer(schedule=schema.Schedule.WSD, decay_steps=1)),
]
"""Recipes in which one option is changed: some are read only beside another. None has a published size."""
PLACES = Places(
    checkpoints=Path("OUT/checkpoints"),
    base=Path("BASE"),
    tensorboard=Path("OUT/tensorboard"),
    cache=Path("OUT/cache"),
    achieved=Path("OUT/achieved.json"),
    eod=END_OF_DOCUMENT_ID,
)
OTHER = {bool: [True, False], int: [7], float: [0.25], str: ["other"], list[int]: [[1, 3]], list[str]: [["other"]]}
"""Type -> values that an option of that type is changed to."""
OTHER_OF: dict[str, list[Any]] = {
    "model.size": ["8b"],
    "model.precision": ["fp32"],
    "model.transformer_impl": [schema.Layers.LOCAL],
    "data.layout": [Layout.PAPER],
    "optimizer.grads": ["bf16"],
    "optimizer.schedule": [schema.Schedule.LINEAR, schema.Schedule.WSD],
    "megatron": [],
}


def arguments(recipe: schema.Recipe, *, gpu: bool) -> dict[str, str]:
    """Megatron's arguments for a recipe: name -> value, empty for one without."""
    flags: dict[str, list[str]] = {}
    for text in megatron_args(recipe, PLACES, gpu=gpu):
        if text.startswith("--"):
            flags[text] = []
        else:
            flags[next(reversed(flags))].append(text)
    return {name: " ".join(texts) for name, texts in flags.items()}


def becomes(option: Option) -> list[str]:
    """List the Megatron arguments that change with the option."""
    of_kind = [OTHER[kind] for kind in (option.kind, *get_args(option.kind)) if kind in OTHER]
    names: dict[str, None] = {}
    for start, gpu, value in product(STARTS, (False, True), OTHER_OF.get(option.name, of_kind[0] if of_kind else [])):
        before, after = arguments(start, gpu=gpu), arguments(_changed(start, option.name, value), gpu=gpu)
        names |= {name: None for name in before | after if before.get(name) != after.get(name)}
    return list(names)


def _changed(recipe: schema.Recipe, name: str, value: Any) -> schema.Recipe:
    changed = deepcopy(recipe)
    if name == "model.size":
        changed.model.shape = None
    target: Any = changed
    *parents, last = name.split(".")
    for parent in parents:
        target = getattr(target, parent.removesuffix("[]"))
        target = target[0] if parent.endswith("[]") else target
    setattr(target, last, value)
    return changed


def document() -> str:
    """docs/options.md."""
    every = list(options())
    became = {option.name: becomes(option) for option in every}
    parts = [INTRO.strip()]
    for section in dict.fromkeys(_section(option.name) for option in every):
        rows = [_row(option, became[option.name]) for option in every if _section(option.name) == section]
        heads = ["Option", "Type, default", "Megatron-LM", "Megatron-Bridge", "Decides", "Published"]
        parts += [f"## {section}", SECTIONS.get(section, ""), _table(heads, rows)]
    rows = _set_rows({name for names in became.values() for name in names})
    parts += [SET_INTRO.strip(), _table(["Argument", "GPUs", "CPU", "Why", "Megatron-Bridge"], rows)]
    refused = [[f"`{name}`", refusal.allowed, refusal.reason] for name, refusal in NEMO_REFUSES.items()]
    parts += [PASSED_ON.strip(), NEMO_INTRO.strip(), _table(["Refused", "Allowed", "Why"], refused)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(name: str) -> str:
    return name.partition(".")[0] if "." in name else "top level"


def _row(option: Option, names: list[str]) -> list[str]:
    kind = inspect.formatannotation(option.kind).replace("typing.", "").replace(" | ", " or ").replace("None", "none")
    default = option.default if option.default == REQUIRED else _code([option.default])
    megatron = " ".join(filter(None, ["" if names else "—", READ_BY.get(option.name), _code(names)]))
    decides = option.decides + (" (*not run*)" if option.name in NOT_RUN else "")
    bridge = _code(BRIDGE[option.name].split()) or "none"
    return [f"`{option.name}`", f"{kind}, {default}", megatron, bridge, decides, SOURCES.get(option.name, "")]


def _set_rows(optional: set[str]) -> Iterator[list[str]]:
    """The arguments of a plain recipe that no option sets, and those that a start adds."""
    gpu, cpu = (arguments(PLAIN, gpu=gpu) for gpu in (True, False))
    for name in dict.fromkeys([*gpu, *cpu, *STARTED]):
        if name not in optional:
            why, bridge = SET[name]
            why += " (*not run*)" if name in NOT_RUN else ""
            yield [f"`{name}`", *(_given(flags, name) for flags in (gpu, cpu)), why, _code(bridge.split())]


def _given(flags: dict[str, str], name: str) -> str:
    return (f"`{flags[name]}`" if flags[name] else "set") if name in flags else "—"


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(heads: list[str], rows: Iterator[list[str]] | list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    print(document(), end="")
