"""Tables and excerpts of predicted speeds in the documentation against what is computed, and the verbs beside them."""

import re

import pytest
from commands import pdapt, pdapt_json

from pdapt.launch.job_time import job_time
from pdapt.launch.planning.speed_tables import COMMAND, DOCS, TABLES, replaced
from pdapt.launch.slurm_site import options_at, read_site
from pdapt.recipes.load import load

NAME = "qwen3_8b_cpt_48xh100_packed"


SLOW = ("batches", "long sequences")
"""A hundred searches, and those of every CP: some 20 s."""


def is_what_is_computed(name: str) -> bool:
    """Whether a table in the docs is what is computed now."""
    page, lines = TABLES[name]
    text = (DOCS / page).read_text(encoding="utf-8")
    return replaced(text, name, lines()) == text


@pytest.mark.slow
def test_the_tables_in_the_docs_are_what_is_computed(subtests: pytest.Subtests) -> None:
    for name in set(TABLES) - set(SLOW):
        with subtests.test(table=name):
            assert is_what_is_computed(name), f"it is not up to date: run {COMMAND}"


@pytest.mark.slow
def test_the_tables_of_batches_and_long_sequences_in_the_docs_are_what_is_computed(subtests: pytest.Subtests) -> None:
    for name in SLOW:
        with subtests.test(table=name):
            assert is_what_is_computed(name), f"it is not up to date: run {COMMAND}"


def test_a_page_without_a_place_for_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for the table 'recipes'"):
        replaced("# Benchmarks\n", "recipes", iter([]))


def test_the_dry_run_in_the_docs_is_what_the_command_prints() -> None:
    shown = re.search(
        rf"\$ pdapt train {NAME} --dry-run\n(.*?)```", (DOCS / "training.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown is not None
    printed = pdapt("train", NAME, "--dry-run").splitlines()
    lines = [line for line in shown[1].splitlines() if line != "..."]
    assert len(lines) > 5
    assert [line for line in lines if line not in printed] == []


def test_dry_run_plan_and_launch_say_the_same_speed() -> None:
    recipe = load(NAME)
    dry, planned = pdapt_json("train", NAME, "--dry-run"), pdapt_json("plan", "recipe", NAME)["chosen"]
    site = read_site("generic")
    options = options_at(site, recipe.job, nodes=12, gpus_per_node=4)
    launched = job_time(recipe, "generic", site, options, tokens=None, gpu=True).run
    assert launched is not None
    assert dry["step_seconds"] == pytest.approx(planned["step_seconds"])
    assert dry["step_seconds"] == pytest.approx(launched.step_seconds)
    assert dry["memory_gib"] == pytest.approx(planned["memory_gib"])
    assert (dry["recipe"]["batch"]["micro_size"], dry["recipe"]["optimizer"]["grads"]) == (
        planned["micro"],
        planned["grads"],
    )
