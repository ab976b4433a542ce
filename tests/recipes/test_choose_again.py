"""A published recipe that a key of the user's has changed chooses micro-batch and gradients again, and says so."""

import pytest

from pdapt.core.errors import UserError
from pdapt.core.gpus import GIB
from pdapt.recipes.load import load
from pdapt.recipes.memory import of_gpu

NAME = "qwen3_8b_cpt_48xh100_packed"


def test_a_longer_sequence_takes_a_smaller_micro_batch_and_the_allowed_memory_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = load(NAME, ["data.seq_length=4096"])
    said = capsys.readouterr().err
    assert (load(NAME).batch.micro_size, recipe.batch.micro_size, recipe.optimizer.grads) == (2, 1, "bf16")
    assert of_gpu(recipe).total <= 0.9 * recipe.machine.gpu_gib * GIB
    assert "batch.micro_size is 1 instead of 2, which you have not set" in said
    assert f"allowed: {0.9 * recipe.machine.gpu_gib:.1f} GiB (90% of {recipe.machine.gpu_gib:g})" in said


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("qwen3_4b_cpt_48xh100_packed", "optimizer.grads=fp32", "batch.micro_size is 3 instead of 4"),
        ("qwen3_1p7b_cpt_48xh100_paper", "model.precision=fp32", "optimizer.grads is fp32 instead of bf16"),
        (NAME, "parallel.pp=2", "batch.micro_size is 1 instead of 2"),
        ("qwen3_4b_cpt_8xh100_packed", "batch.global_size=24", "batch.micro_size is 3 instead of 4"),
    ],
)
def test_what_another_key_leaves_no_room_for_is_chosen_again(
    name: str, override: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    load(name, [override])
    assert said in capsys.readouterr().err


def test_what_the_user_has_set_stays_and_what_fits_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"allowed: 71\.2 GiB"):
        load(NAME, ["data.seq_length=4096", "batch.micro_size=2"])
    with pytest.raises(UserError, match="grads=bf16 with model"):
        load(NAME, ["model.precision=fp32", "optimizer.grads=bf16"])
    kept = load("qwen3_4b_cpt_4xh100_packed", ["batch.micro_size=2", "optimizer.grads=fp32"])
    assert (kept.batch.micro_size, kept.optimizer.grads) == (2, "fp32")
    load(NAME, ["optimizer.lr=1e-5"])
    assert capsys.readouterr().err == ""


def test_an_error_that_no_choice_mends_is_that_of_the_recipe_as_it_is() -> None:
    with pytest.raises(UserError, match="DP 40 x micro-batch 2 = 80 does not divide the global batch of 576"):
        load(NAME, ["parallel.nodes=10"])


def test_without_a_check_of_memory_nothing_is_chosen_again() -> None:
    """The planner searches itself."""
    assert load(NAME, ["data.seq_length=4096"], fitting=False).batch.micro_size == 2
