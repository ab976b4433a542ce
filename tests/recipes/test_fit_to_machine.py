"""The published recipe, fitted to a base, to the text and to a machine."""

from dataclasses import replace
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.qwen3 import SIZES, Qwen3Config, size_of
from pdapt.core.remarks.remark import RemarkKind
from pdapt.recipes.fit_to_machine import Hardware, fit, published
from pdapt.recipes.load import load
from pdapt.recipes.schema import data_parallel

TINY = Qwen3Config(2, 64, 160, 4, 2, 16, vocab=1024, tied=True, max_positions=512)
CPU = Hardware(gpus=0, gpu_gib=0, cores=2, host_gib=24)
H100S = Hardware(gpus=8, gpu_gib=79.1, cores=96, host_gib=1000)
PARCOMED = 1_955_165_272 / 2048


def fitted(shape: Qwen3Config, text: float, machine: Hardware, *overrides: str, dtype: str = "bfloat16", **kept: Any):
    return fit(published(shape, dtype), list(overrides), text, machine, kept.get("kept"))


@pytest.mark.parametrize("size", SIZES)
def test_on_the_papers_corpus_it_is_the_published_recipe(size: str) -> None:
    """All that the published recipes say, but for the GPUs: optimizer, layout, batch, steps within a thousandth."""
    found, told = fitted(SIZES[size], PARCOMED, H100S).recipe, load(f"qwen3_{size}_cpt_48xh100_packed")
    same = ("lr", "warmup_steps", "beta1", "beta2", "eps", "weight_decay", "clip")
    assert [getattr(found.optimizer, name) for name in same] == [getattr(told.optimizer, name) for name in same]
    assert (found.data, found.batch.global_size) == (told.data, told.batch.global_size)
    assert found.steps == pytest.approx(told.steps, rel=1e-3)
    assert found.checkpoint.every == pytest.approx(told.checkpoint.every, rel=0.03)
    assert (found.parallel.nodes, found.parallel.ranks_per_node) == (1, 8)
    assert found.model.precision == told.model.precision == "bf16"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("train", [3, 40, 741, 7_300, 146_000, 3e6])
def test_little_text_gives_small_batches_and_as_many_epochs(size: str, train: float) -> None:
    found = fitted(SIZES[size], train, H100S).recipe
    batch, steps = found.batch.global_size, found.steps
    assert found.optimizer.lr == 2e-5
    assert found.data.seq_length == 2048
    assert steps * batch / train == pytest.approx(2.53, abs=batch / train)
    assert batch % (data_parallel(found) * found.batch.micro_size) == 0
    assert abs(batch - max(8, min(576, 2.53 * train / 1000))) <= data_parallel(found) / 2
    assert -(-steps // found.checkpoint.every) <= 6


def test_a_base_of_no_published_size_has_no_published_rate_and_not_the_toys() -> None:
    tiny = fitted(TINY, 300, CPU)
    assert (tiny.recipe.optimizer.lr, tiny.recipe.data.seq_length) == (pytest.approx(2e-4), 512)
    assert tiny.notes[0].kind == RemarkKind.RECIPE_SCALED
    half = replace(TINY, hidden=512, heads=8, kv_heads=4, head_dim=64, ffn=1024)
    assert fitted(half, 300, CPU).recipe.optimizer.lr == pytest.approx(4e-5)
    wide = replace(SIZES["8b"], layers=2)
    assert fitted(wide, 300, H100S).recipe.optimizer.lr == 2e-5


def test_a_size_is_told_by_its_shape() -> None:
    for name, shape in SIZES.items():
        assert size_of(replace(shape, max_positions=4096, rope_base=10_000)) == name
        assert size_of(replace(shape, layers=shape.layers - 1)) is None


def test_what_the_user_sets_stays_set_and_the_rest_fits_it() -> None:
    overrides = ("optimizer.lr=1e-5", "batch.global_size=32", "data.seq_length=1024", "checkpoint.every=50")
    found = fitted(SIZES["0p6b"], 5_000, H100S, *overrides).recipe
    assert (found.optimizer.lr, found.batch.global_size, found.data.seq_length) == (1e-5, 32, 1024)
    assert (found.checkpoint.every, found.steps) == (50, round(2.53 * 5_000 / 32))
    steps = fitted(SIZES["0p6b"], 5_000, H100S, "steps=12", "parallel.tp=2", "batch.micro_size=4")
    assert (steps.recipe.steps, steps.recipe.parallel.tp, steps.recipe.batch.micro_size) == (12, 2, 4)


@pytest.mark.parametrize(
    ("size", "machine", "expected"),
    [
        ("0p6b", Hardware(1, 79.1, 16, 128), (1, 1, "fp32")),
        ("8b", H100S, (8, 1, "bf16")),
        ("8b", Hardware(8, 39.4, 64, 1000), (8, 4, "fp32")),
        ("0p6b", CPU, (1, 1, "fp32")),
    ],
)
def test_the_spread_is_the_machines(size: str, machine: Hardware, expected: tuple[int, int, str]) -> None:
    found = fitted(SIZES[size], 7_300, machine).recipe
    assert (found.parallel.ranks_per_node, found.parallel.tp, found.optimizer.grads) == expected


def test_a_model_that_no_spread_fits_is_refused_with_the_machine() -> None:
    with pytest.raises(UserError, match=r"8.19 G parameters does not fit into this machine \(3 GPUs of 79 GiB\)"):
        fitted(SIZES["8b"], 7_300, Hardware(3, 79.1, 9, 500))
    with pytest.raises(UserError, match="no GPU, 2 CPU cores, 24 GiB"):
        fitted(SIZES["8b"], 7_300, CPU)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("parallel.tp=3", "does not divide"),
        ("batch.global_size=0", "batch.global_size is 0"),
        ("steps=0", "steps is 0"),
        ("optimizer.lr=2", "optimizer.lr is 2"),
        ("optimizer.rate=2", "unknown key"),
        ("data.seq_length=100000", "but the model has only"),
    ],
)
def test_an_override_that_cannot_be_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fitted(TINY, 300, CPU, override)


def test_weights_that_training_cannot_save_are_refused() -> None:
    assert fitted(TINY, 300, CPU, dtype="float32").recipe.model.precision == "fp32"
    with pytest.raises(UserError, match="float16"):
        published(TINY, "float16")


def test_a_run_that_has_begun_keeps_its_steps_on_another_machine() -> None:
    first = fitted(SIZES["0p6b"], 7_300, H100S)
    other = fit(published(SIZES["0p6b"], "bfloat16"), [], 9_999, Hardware(3, 79.1, 9, 500), first.kept)
    assert other.kept == first.kept
    assert first.kept["batch.global_size"] % data_parallel(other.recipe) == 0


def test_a_validation_asks_for_no_more_than_there_is() -> None:
    base = published(TINY, "bfloat16")
    assert [fit(base, [], 300, CPU, valid=valid).recipe.validation.batches for valid in (0, 11, 17, 1000)] == [
        1,
        2,
        3,
        4,
    ]
    assert fit(base, ["validation.batches=all"], 300, CPU, valid=11).recipe.validation.batches == "all"
