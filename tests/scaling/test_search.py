"""The search: only what is allowed and fits, the simplest of what is as fast, and why."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.gpus import GIB
from pdapt.core.memory import fits, save_stall_seconds
from pdapt.recipes.filling import Filling
from pdapt.recipes.load import load, to_yaml
from pdapt.recipes.memory import CHUNKS, of_host
from pdapt.recipes.schema import Recipe
from pdapt.recipes.validate import validate
from pdapt.scaling.constants import Constants, read_fit
from pdapt.scaling.predict_run import Site, predict_run, work_of_recipe
from pdapt.scaling.search import Choice, Settings, candidates, explanation, plan

FULL = Filling(1.0, 2000.0, "made up")
EXPECTED = {"0p6b": (6, 8), "1p7b": (6, 8), "4b": (4,), "8b": (2,)}
"""Size -> micro-batches that the shared evidence names, or that divide its packed batch."""


@pytest.fixture(scope="module")
def constants() -> Constants:
    return read_fit().constants


def paper(size: str = "8b", *overrides: str) -> Recipe:
    return load(f"qwen3_{size}_cpt_48xh100_paper", list(overrides))


@pytest.mark.parametrize("size", EXPECTED)
@pytest.mark.parametrize("layout", ["packed", "paper"])
def test_the_four_sizes_are_copied_48_times(size: str, layout: str, constants: Constants) -> None:
    recipe = load(f"qwen3_{size}_cpt_48xh100_{layout}")
    choice, every = plan(recipe, FULL, Site(), constants)
    chosen = choice.settings
    assert (chosen.tp, chosen.pp, chosen.cp, chosen.dp) == (1, 1, 1, 48)
    assert not chosen.recompute
    assert chosen.micro in EXPECTED[size]
    assert choice.run.step_seconds <= 1.01 * every[0].run.step_seconds
    assert all(fits(other.memory, recipe.machine.gpu_gib * GIB) for other in every)
    times = [other.run.step_seconds for other in every]
    assert times == sorted(times)


def test_every_way_is_one_that_a_recipe_may_say() -> None:
    recipe = paper("0p6b", "batch.global_size=96", "batch.micro_size=1")
    found = list(candidates(recipe))
    assert len(found) > 100
    for one in found:
        roomy = replace(one, machine=replace(one.machine, gpu_gib=10_000.0, host_gib=10_000.0))
        validate(roomy)
    assert {Settings.of(one).interleaving for one in found} > {1}
    assert len({str(Settings.of(one)) for one in found}) == len(found)


def test_masked_pipelines_take_one_sequence_and_only_unmasked_windows_use_cp() -> None:
    packed = load("qwen3_8b_cpt_48xh100_packed")
    assert all(one.batch.micro_size == 1 for one in candidates(packed) if one.parallel.pp > 1)
    assert all(one.parallel.cp == 1 for one in candidates(packed))
    windows = load("qwen3_8b_cpt_48xh100_packed", ["data.layout=concat", "data.document_masks=false"])
    assert any(one.parallel.cp == 2 for one in candidates(windows))


def test_less_memory_asks_for_more_ways_to_save_it(constants: Constants) -> None:
    roomy = load("qwen3_8b_cpt_48xh100_packed")
    choice, _ = plan(roomy, FULL, Site(), constants)
    tight = replace(roomy, machine=replace(roomy.machine, gpu_gib=30.0))
    small, _ = plan(tight, FULL, Site(), constants)
    assert small.memory.total <= 0.9 * 30 * GIB < choice.memory.total
    assert small.settings.tp > 1 or small.settings.pp > 1
    assert small.run.step_seconds > choice.run.step_seconds


def test_where_nothing_fits_a_gpu_of_what_the_least_needs_would_do(constants: Constants) -> None:
    """A tenth of a GPU stays free."""
    recipe = paper("8b")

    def planned(gpu_gib: float) -> Choice:
        return plan(replace(recipe, machine=replace(recipe.machine, gpu_gib=gpu_gib)), FULL, Site(), constants)[0]

    with pytest.raises(UserError, match="over 48 GPUs fits: the least needs") as refused:
        planned(5.0)
    needed = float(re.findall(r"the least needs ([\d.]+) GiB", refused.value.what)[0])
    assert planned((needed + 0.1) / 0.9).memory.total / GIB == pytest.approx(needed, abs=0.05)
    with pytest.raises(UserError, match="the least needs"):
        planned((needed - 0.1) / 0.9)


def test_a_setting_to_keep_that_the_search_does_not_try_is_refused(constants: Constants) -> None:
    recipe = paper("0p6b", "batch.global_size=1152", "batch.micro_size=24", "machine.gpu_gib=1000")
    with pytest.raises(UserError, match="no way that keeps grads fp32, micro 24"):
        plan(recipe, FULL, Site(), constants, keep=("grads", "micro"))


def test_a_recipe_that_does_not_fit_as_it_is_is_spread_so_that_it_does(constants: Constants) -> None:
    overrides = ["batch.micro_size=4"]
    with pytest.raises(UserError, match="a GPU would need"):
        load("qwen3_8b_cpt_48xh100_packed", overrides)
    choice, _ = plan(load("qwen3_8b_cpt_48xh100_packed", overrides, fitting=False), FULL, Site(), constants)
    assert choice.settings.micro == 2


def test_what_is_kept_stays(constants: Constants) -> None:
    recipe = load("qwen3_8b_cpt_48xh100_packed")
    choice, every = plan(recipe, FULL, Site(), constants, keep=("grads",))
    assert {other.settings.grads for other in every} == {recipe.optimizer.grads} == {choice.settings.grads}
    with pytest.raises(UserError, match="'grad' is not a setting"):
        plan(recipe, FULL, Site(), constants, keep=("grad",))


def test_selective_recomputation_is_none_of_layers_and_stays(constants: Constants) -> None:
    recipe = load("qwen3_0p6b_cpt_48xh100_packed", ["megatron.recompute-granularity=selective"])
    choice, every = plan(recipe, FULL, Site(), constants, keep=("recompute",))
    assert not any(other.settings.recompute for other in every)
    assert choice.recipe.megatron["recompute-granularity"] == "selective"


def test_the_choice_is_a_recipe_that_loads_again(constants: Constants, tmp_path: Path) -> None:
    choice, every = plan(load("qwen3_4b_cpt_48xh100_packed"), FULL, Site(), constants)
    interleaved = next(other for other in every if other.settings.interleaving > 1 and other.settings.recompute)
    for one in (choice, interleaved):
        path = tmp_path / "chosen.yaml"
        path.write_text(to_yaml(one.recipe))
        assert Settings.of(load(str(path))) == one.settings
    assert interleaved.recipe.megatron[CHUNKS] == interleaved.settings.interleaving


def test_each_setting_is_explained_by_the_best_without_it(constants: Constants) -> None:
    choice, every = plan(load("qwen3_8b_cpt_48xh100_packed"), FULL, Site(), constants)
    lines = explanation(choice, every)
    assert "MFU" in lines[0]
    pipelined = min(other.run.step_seconds for other in every if other.settings.pp != 1)
    line = next(line for line in lines if line.startswith("pp 1"))
    assert f"{pipelined / choice.run.step_seconds - 1:+.1%}" in line


def test_a_run_counts_steps_validation_and_saves(constants: Constants) -> None:
    recipe = paper("8b")
    run = predict_run(recipe, Filling(0.5, 2048.0, "half"), Site(watts=500), constants)
    assert run.tokens_per_second_per_gpu == pytest.approx(0.5 * 1152 * 2048 / run.step_seconds / 48)
    assert run.hours * 3600 > recipe.steps * run.step_seconds
    assert run.hours * 3600 < 1.05 * recipe.steps * run.step_seconds
    assert run.gpu_hours == 48 * run.hours
    assert run.kwh == run.gpu_hours / 2
    flops = float(work_of_recipe(recipe, Filling(0.5, 2048.0, "half"), Site()).flops)
    assert run.mfu == pytest.approx(flops / run.step_seconds / 48 / 989.4e12)


def test_validations_and_saves_add_their_seconds_to_a_run(constants: Constants) -> None:
    """A forward pass is a third of a step; a save halts the ranks as long as the memory's copy takes."""
    overrides = ["steps=1000", "checkpoint.every=300", "checkpoint.keep_every=300", "validation.every=400"]
    filling = Filling(0.5, 2048.0, "half")
    seconds: dict[str, float] = {}
    for batches, every in ((6, 300), (12, 300), (6, 150)):
        given = [*overrides, f"validation.batches={batches}", f"checkpoint.every={every}"]
        run = predict_run(paper("8b", *given), filling, Site(), constants)
        seconds[f"{batches} {every}"] = 3600 * run.hours - 1000 * run.step_seconds
    third = run.step_seconds / 3
    assert seconds["12 300"] - seconds["6 300"] == pytest.approx(2 * 6 * third)  # after steps 400 and 800
    stall = (seconds["6 150"] - seconds["6 300"]) / (7 - 4)  # of 1000 steps the last is saved, too
    assert stall == pytest.approx(save_stall_seconds(of_host(paper("8b")), asynchronous=True))
    assert seconds["6 300"] == pytest.approx(2 * 6 * third + 4 * stall)
