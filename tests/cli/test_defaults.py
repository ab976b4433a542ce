"""Defaults that a verb's options repeat, so that its help loads nothing, are those of the stage."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest

from pdapt.cli.run import run
from pdapt.cli.tokens import build as tokens_build
from pdapt.data_prep.tokens.build import Options
from pdapt.launch.request import Reading, Request

VERBS = [(run, Request), (run, Reading), (tokens_build, Options)]


@pytest.mark.parametrize(("verb", "stage"), VERBS, ids=[stage.__name__ for _, stage in VERBS])
def test_a_verb_and_its_stage_have_the_same_defaults(verb: Callable[..., None], stage: type[Any]) -> None:
    parameters = inspect.signature(verb).parameters
    shared = {
        field.name: (parameters[field.name].default, field.default)
        for field in fields(stage)
        if field.name in parameters and field.default is not MISSING
    }
    assert shared
    assert {name: values for name, values in shared.items() if values[0] != values[1]} == {}
