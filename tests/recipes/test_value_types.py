"""A value of a wrong type is refused by its dotted key, with what is allowed there."""

from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.launch.slurm_site import SlurmSite
from pdapt.recipes.load import load
from pdapt.recipes.schema import Recipe
from pdapt.recipes.value_types import check_types

RECIPE = "qwen3_tiny_cpt_2xcpu"
PART = "sources, document_types, topics, edition, weight, max_epochs"


@pytest.mark.parametrize(
    ("override", "message", "allowed"),
    [
        (
            "data.blend=[{sources: '*', weight: 1}]",
            'data.blend[0].sources is "*"',
            "a list in brackets, each element text",
        ),
        ("data.blend=x", 'data.blend is "x"', f"a list in brackets, each element a mapping of {PART}"),
        ("data.blend=[{}, 1]", "data.blend[1] is 1", f"a mapping of {PART}"),
        ("data.blend=[{weight: a}]", 'data.blend[0].weight is "a"', "a number or null"),
        ("parallel=[1]", "parallel is [1]", "a mapping of nodes, ranks_per_node, tp, pp, cp, sp, fsdp"),
        ("steps={a: 1}", 'steps is {"a": 1}', "a whole number"),
        ("steps=null", "steps is null", "a whole number"),
        ("model.fp8=maybe", 'model.fp8 is "maybe"', "true or false"),
        ("validation.batches=[2]", "validation.batches is [2]", "a whole number or text"),
        ("data.layout=[packed]", 'data.layout is ["packed"]', "text"),
        ("megatron=1", "megatron is 1", "a mapping of names to values"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_is_allowed(override: str, message: str, allowed: str) -> None:
    with pytest.raises(UserError) as refusal:
        load(RECIPE, [override])
    assert (refusal.value.what, refusal.value.allowed) == (message, allowed)
    assert refusal.value.where == f"command line: {override}"


@pytest.mark.parametrize("override", ["steps='7'", "optimizer.lr='1e-5'", "model.fp8=no", "validation.batches=all"])
def test_what_can_be_converted_is_taken(override: str) -> None:
    assert load(RECIPE, [override])


@dataclass
class Inner:
    """A part of a schema."""

    names: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, float] | None = None


@dataclass
class Outer:
    """A schema."""

    inner: Inner | None = None
    items: list[int] = field(default_factory=list)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"inner": {"rates": {"a": 1, "b": []}}}, "inner.rates.b"),
        ({"inner": {"names": []}}, "inner.names"),
        ({"items": [1, None]}, "items[1]"),
        ({"items": None}, "items"),
    ],
)
def test_the_place_is_named_at_any_depth(values: dict[Any, Any], name: str) -> None:
    with pytest.raises(UserError, match="^" + name.replace("[", r"\[").replace(".", r"\.") + " is "):
        check_types(Outer, values, "here")


@pytest.mark.parametrize(
    "values",
    [
        {"inner": None},
        {"inner": {"rates": None, "names": {"a": [1], "b": None}}},
        {"items": ["${oc.env:N}", "???"]},
        {"unknown": 1},
    ],
)
def test_what_the_schema_allows_and_what_is_no_value_yet_is_let_through(values: dict[Any, Any]) -> None:
    check_types(Outer, values, "here")


@pytest.mark.parametrize("schema", [Recipe, SlurmSite])
def test_every_type_of_a_schema_has_words(schema: type) -> None:
    for field_ in fields(schema):
        with pytest.raises(UserError) as refusal:
            check_types(schema, {field_.name: [[]]}, "here")
        assert refusal.value.allowed
