"""The published recipes: which there are, what they say, and that they fit."""

from functools import cache
from typing import cast

import pytest
from omegaconf import DictConfig, OmegaConf

from pdapt.core.errors import UserError
from pdapt.core.memory import fits, gpu_memory
from pdapt.recipes.published_recipes import SFT_SOURCES, SOURCES, names, statement, values
from pdapt.recipes.schema import Recipe, shape_of, world_size
from pdapt.recipes.validate import validate

FITTING = {"0p6b": (48, 16, 8, 4, 1), "1p7b": (48, 16, 8, 4, 1), "4b": (48, 16, 8, 4), "8b": (48, 16, 8, 4)}
NAMES = {
    f"qwen3_{size}_cpt_{gpus}xh100_{layout}": (size, gpus, layout)
    for size, numbers in FITTING.items()
    for gpus in numbers
    for layout in ("paper", "packed")
}
FINE_TUNING = {f"qwen3_{size}_sft_8xh100_packed": size for size in FITTING}


@cache
def schema() -> DictConfig:
    return OmegaConf.structured(Recipe)


def build(name: str) -> Recipe:
    merged = OmegaConf.merge(schema(), OmegaConf.create(values(name)))
    return cast(Recipe, OmegaConf.to_object(merged))


def test_the_published_recipes_are_these() -> None:
    assert names() == [*NAMES, *FINE_TUNING]
    assert (len(NAMES), len(FINE_TUNING)) == (36, 4)


def test_a_recipe_is_valid_and_fits_with_no_more_than_tensor_parallelism(subtests: pytest.Subtests) -> None:
    for name in NAMES:
        with subtests.test(recipe=name):
            size, gpus, layout = NAMES[name]
            recipe = build(name)
            validate(recipe)
            assert (recipe.model.size, recipe.data.layout, world_size(recipe)) == (size, layout, gpus)
            tp, micro = recipe.parallel.tp, recipe.batch.micro_size
            assert (recipe.parallel.pp, recipe.parallel.cp) == (1, 1)
            shape, grads = shape_of(recipe), recipe.optimizer.grads
            spread = {"dp": gpus // tp, "tp": tp, "pp": 1, "cp": 1, "sp": tp > 1}
            assert fits(gpu_memory(shape, **spread, micro_batch=micro, seq_length=2048, grads=grads))


def test_bf16_gradients_are_taken_where_they_are_faster_and_not_elsewhere() -> None:
    kinds = {name: build(name).optimizer.grads for name in NAMES}
    assert kinds["qwen3_8b_cpt_48xh100_packed"] == "bf16"
    assert kinds["qwen3_0p6b_cpt_48xh100_paper"] == "fp32"


def test_the_papers_batch_is_one_override_away(subtests: pytest.Subtests) -> None:
    for name in NAMES:
        with subtests.test(recipe=name):
            recipe = build(name)
            recipe.batch.global_size = 1152
            validate(recipe)


@pytest.mark.parametrize("gpus", [48, 16, 4])
def test_a_run_of_several_nodes_has_the_papers_nodes(gpus: int) -> None:
    recipe = build(f"qwen3_0p6b_cpt_{gpus}xh100_paper")
    assert recipe.parallel.ranks_per_node == 4


def test_the_padded_recipe_says_what_the_paper_does() -> None:
    recipe = build("qwen3_8b_cpt_48xh100_paper")
    assert (recipe.batch.global_size, recipe.steps, recipe.data.seq_length) == (1152, 4320, 2048)
    assert (recipe.optimizer.lr, recipe.optimizer.warmup_steps) == (2e-5, 0)
    assert (recipe.optimizer.beta1, recipe.optimizer.beta2, recipe.optimizer.eps) == (0.9, 0.999, 1e-8)
    assert (recipe.optimizer.weight_decay, recipe.optimizer.clip) == (0.05, 1.0)
    assert (recipe.checkpoint.every, recipe.checkpoint.keep_every, recipe.checkpoint.reshardable) == (720, 720, False)


def test_the_packed_recipe_reads_the_papers_tokens() -> None:
    recipe = build("qwen3_8b_cpt_48xh100_packed")
    a_step = recipe.batch.global_size * 2048
    assert a_step == pytest.approx(1_955_165_272 * 2.53 / 4320, rel=0.031)
    assert recipe.steps * a_step == pytest.approx(2.53 * 1_955_165_272, rel=0.001)
    assert recipe.steps * a_step >= 2.53 * 1_955_165_272 > (recipe.steps - 1) * a_step


def test_tokens_and_epochs_are_stated() -> None:
    assert statement("qwen3_4b_cpt_8xh100_packed") == (
        "packed: 576 x 2,048 slots a step, 1.180 M real tokens, 4,194 steps = 2.53 epochs of PARCOMED's 1.955 G tokens"
    )
    assert statement("qwen3_0p6b_cpt_1xh100_paper") == (
        "paper: 1,152 x 2,048 slots a step, 1.145 M real tokens, 4,320 steps = 2.53 epochs of PARCOMED's 1.955 G "
        "tokens by the paper's account, 2.69 or more by its documents"
    )


def test_every_value_has_a_source(subtests: pytest.Subtests) -> None:
    for name in NAMES:
        with subtests.test(recipe=name):
            stated = {
                f"{key}.{inner}" if inner else key
                for key, value in values(name).items()
                for inner in (value if isinstance(value, dict) else [""])
            }
            assert stated == set(SOURCES)
            assert all(
                text.startswith(("paper", "the paper's published example code", "ours", "as "))
                for text in SOURCES.values()
            )


def test_a_recipe_for_fine_tuning_is_valid_fits_and_has_sources(subtests: pytest.Subtests) -> None:
    for name, size in FINE_TUNING.items():
        with subtests.test(recipe=name):
            recipe = build(name)
            validate(recipe)
            assert (recipe.model.size, world_size(recipe), recipe.data.layout) == (size, 8, "packed")
            assert (recipe.data.seq_length, recipe.batch.global_size) == (4096, 32)
            assert (recipe.optimizer.lr, recipe.optimizer.schedule, recipe.optimizer.min_lr) == (1e-5, "linear", 0)
            assert recipe.optimizer.warmup_steps / recipe.steps == 0.03
            tp, micro, grads = recipe.parallel.tp, recipe.batch.micro_size, recipe.optimizer.grads
            spread = {"dp": 8 // tp, "tp": tp, "pp": 1, "cp": 1, "sp": tp > 1}
            assert fits(gpu_memory(shape_of(recipe), **spread, micro_batch=micro, seq_length=4096, grads=grads))
            stated = {
                f"{key}.{inner}" if inner else key
                for key, value in values(name).items()
                for inner in (value if isinstance(value, dict) else [""])
            }
            assert stated == set(SFT_SOURCES)
            assert "--seq-length 4096 --batch 32 --steps N" in statement(name)


@pytest.mark.parametrize(
    "name", ["qwen3_8b_cpt_1xh100_paper", "qwen3_8b_cpt_48xh100_padded", "qwen3_8b_cpt_2xh100_paper"]
)
def test_what_does_not_fit_or_exist_has_no_name(name: str) -> None:
    for refuse in (values, statement):
        with pytest.raises(UserError, match=r"no recipe is called .*\n.*\n.*\n.*did you mean 'qwen3_"):
            refuse(name)
