"""Recipes: precedence, and the messages a mistake gets."""

from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.qwen3 import SIZES
from pdapt.recipes.load import from_dict, load, names, to_dict, to_yaml
from pdapt.recipes.schema import data_parallel, shape_of, world_size

BIG = "qwen3_8b_cpt_48xh100"


@pytest.mark.parametrize("name", names())
def test_every_recipe_builds_and_reads_back(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    copy = tmp_path / "copy.yaml"
    copy.write_text(to_yaml(recipe))
    assert load(str(copy)) == recipe
    assert from_dict(to_dict(recipe)) == recipe


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {size: 0p6b}\nbatch: {global_size: 8}\nsteps: 3\noptimizer: {lr: 1e-4}\n")
    recipe = load(str(path), ["steps=4"])
    assert (recipe.steps, recipe.optimizer.lr, recipe.optimizer.beta2) == (4, 1e-4, 0.999)


def test_the_paper_run_is_spread_over_48_gpus() -> None:
    recipe = load(BIG)
    assert (world_size(recipe), data_parallel(recipe)) == (48, 48)
    assert shape_of(recipe) == SIZES["8b"]
    # 2.53 epochs of PARCOMED: 576 x 2,048 packed tokens a step over 1,955,165,272 tokens.
    assert recipe.steps * 576 * 2048 / 1_955_165_272 == pytest.approx(2.53, abs=0.005)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr=1e-5", "unknown key 'optimiser'.*\n.*\n.*\n.*did you mean 'optimizer'"),
        ("optimizer.learning=1e-5", "unknown key 'optimizer.learning'"),
        ("batch.global_sise=4", "did you mean 'global_size'"),
        ("steps=many", "steps"),
        ("steps", "not key=value"),
        ("steps=0", "steps is 0"),
        ("optimizer.lr=2", "optimizer.lr is 2"),
        ("model.size=9b", "model.size is '9b'"),
        ("model.precision=fp8", "allowed: bf16 or fp32"),
        ("parallel.tp=5", "TP 5 x PP 1 = 5 does not divide the world of 48"),
        ("parallel.tp=16", "parallel.tp = 16 does not divide the model's 8 key/value heads"),
        ("parallel.pp=8", "parallel.pp = 8 does not divide the model's 36 layers"),
        ("batch.micro_size=5", "DP 48 x micro-batch 5 = 240 does not divide the global batch of 576"),
        ("data.seq_length=40000", "the model's positions end at 32768"),
        ("batch.global_size=500", "to mend it: batch.global_size=480"),
        ("data.blend=[]", "data.blend is empty"),
        ("data.blend=[{weight: 1}, {}]", "1 of 2 parts have a weight"),
        ("data.blend=[{weight: 0}]", r"data\.blend\[0\]\.weight is 0"),
        ("data.blend=[{max_epochs: -1}]", r"data\.blend\[0\]\.max_epochs is -1"),
        ("data.blend=[{edition: comercial}]", "did you mean 'commercial'"),
        ("data.blend=[{source: [a]}]", "unknown key .*\n.*\n.*\n.*did you mean 'sources'"),
        ("data.layout=pack", "no layout is called 'pack'.*did you mean 'packed'"),
        ("data.document_masks=false", "packed documents are told apart by masks"),
        ("data.seq_length=0", "data.seq_length"),
    ],
)
def test_a_mistake_gets_a_message_that_says_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        load(BIG, [override])


def test_packed_pipelines_take_one_sequence_at_once() -> None:
    with pytest.raises(UserError, match="pipeline stages exchange unflattened"):
        load(BIG, ["parallel.pp=2", "batch.micro_size=2"])


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match=f"did you mean '{BIG}'"):
        load("qwen3_8b_cpt_48xh10")


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not valid YAML"), ("- 1\n", "not a mapping"), ("steps: 1\n", "batch.global_size")]
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load(str(path))
    assert "broken.yaml" in str(error.value)
