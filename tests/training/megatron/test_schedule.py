"""Schedules of the learning rate: Megatron's own scheduler, given a recipe's arguments, against the formulas."""

import math
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from megatron_parser import megatron_parser

from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.recipes.schedule import schedule_args
from pdapt.recipes.schema import Recipe
from pdapt.training import extend_run
from pdapt.training.blend import Member
from pdapt.training.extend_run import check_longer

LR, STEPS, WARMUP = 1e-3, 40, 5


def rates(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate of each step, as Megatron's trainer makes its scheduler of its arguments."""
    from megatron.training import training

    given = megatron_parser().parse_args(schedule_args(recipe))
    args = Namespace(**vars(given))
    args.train_iters, args.global_batch_size = recipe.steps, recipe.batch.global_size
    args.start_weight_decay = args.end_weight_decay = 0.05
    monkeypatch.setattr(training, "get_args", lambda: args)
    group: dict[str, float] = {}
    scheduler = training.get_optimizer_param_scheduler(SimpleNamespace(param_groups=[group]))
    found = []
    for _ in range(recipe.steps):
        found.append(group["lr"])
        scheduler.step(increment=recipe.batch.global_size)
    return found


def warm(rate: Callable[[int], float], warmup: int = WARMUP) -> Callable[[int], float]:
    """Formulas are of the steps that are done."""
    return lambda done: LR * done / warmup if done <= warmup else rate(done)


def half_cosine(begin: int, end: int, low: float) -> Callable[[int], float]:
    return lambda done: (
        low if done > end else low + (LR - low) * 0.5 * (1 + math.cos(math.pi * (done - begin) / (end - begin)))
    )


def line(begin: int, end: int, low: float) -> Callable[[int], float]:
    return lambda done: low if done > end else LR + (low - LR) * max(0, done - begin) / (end - begin)


@pytest.mark.parametrize(
    ("overrides", "formula"),
    [
        (["optimizer.warmup_steps=0"], lambda _: LR),
        ([], warm(lambda _: LR)),
        (["optimizer.schedule=linear"], warm(line(WARMUP, STEPS, 0.0))),
        (["optimizer.schedule=linear", "optimizer.decay_steps=20", "optimizer.min_lr=1e-4"], warm(line(5, 20, 1e-4))),
        (["optimizer.schedule=cosine", "optimizer.min_lr=1e-5"], warm(half_cosine(WARMUP, STEPS, 1e-5))),
        (["optimizer.schedule=cosine", "optimizer.decay_steps=30"], warm(half_cosine(WARMUP, 30, 0.0))),
        (["optimizer.schedule=cosine", "optimizer.decay_steps=80"], warm(half_cosine(WARMUP, 80, 0.0))),
        (["optimizer.schedule=wsd", "optimizer.decay_steps=10"], warm(line(30, STEPS, 0.0))),
        (["optimizer.schedule=wsd", "optimizer.decay_steps=35", "optimizer.min_lr=1e-4"], warm(line(5, STEPS, 1e-4))),
    ],
)
def test_each_steps_rate_is_the_formulas(
    overrides: list[str], formula: Callable[[int], float], recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pdapt"])
    whole = [f"optimizer.lr={LR}", f"steps={STEPS}", f"optimizer.warmup_steps={WARMUP}", *overrides]
    found = rates(load(str(recipe_file), whole), monkeypatch)
    assert found == pytest.approx([formula(done) for done in range(STEPS)], rel=1e-12, abs=1e-18)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.schedule=cosin"], r"no schedule is called 'cosin'(.|\n)*did you mean 'cosine'"),
        (["optimizer.min_lr=1e-5"], "optimizer.min_lr is 1e-05(.|\n)*none with a constant rate"),
        (["optimizer.decay_steps=5"], "optimizer.decay_steps is 5(.|\n)*none with a constant rate"),
        (["optimizer.schedule=wsd"], "optimizer.decay_steps is not given(.|\n)*1 to 10"),
        (["optimizer.schedule=wsd", "optimizer.warmup_steps=4", "optimizer.decay_steps=7"], "is 7(.|\n)*1 to 6"),
        (["optimizer.schedule=linear", "optimizer.warmup_steps=4", "optimizer.decay_steps=4"], "more than the 4"),
        (["optimizer.schedule=linear", "optimizer.min_lr=1"], "optimizer.min_lr is 1.0(.|\n)*0 to optimizer.lr, 0.001"),
        (["optimizer.schedule=linear", "optimizer.min_lr=-1e-9"], "optimizer.min_lr is -1e-09"),
        (["optimizer.warmup_steps=10"], "optimizer.warmup_steps is 10 of 10 steps"),
    ],
)
def test_parts_of_a_schedule_that_do_not_go_together_are_refused(
    overrides: list[str], message: str, recipe_file: Path
) -> None:
    with pytest.raises(UserError, match=message):
        load(str(recipe_file), overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], None),
        (["data.layout=paper", "steps=500"], None),
        (["optimizer.schedule=cosine"], "with optimizer.schedule=cosine the learning rate of each step depends"),
        (["data.blend=[{sources: [soins], max_epochs: 2}, {}]", "steps=80"], "data.blend.max_epochs is reached"),
        (
            ["data.layout=concat", "steps=500"],
            "shuffles all epochs of a data set together, and more than one is read of soins, ville",
        ),
        (["data.layout=concat", "steps=11"], None),
    ],
)
def test_a_run_is_made_longer_only_where_what_is_done_would_have_been_the_same(
    overrides: list[str], message: str | None, recipe_file: Path, tokens: Path
) -> None:
    recipe = load(str(recipe_file), ["steps=40", *overrides])
    if message is None:
        check_longer(recipe, tokens, 10)
        return
    with pytest.raises(UserError, match=message):
        check_longer(recipe, tokens, 10)


@pytest.mark.parametrize(("tokens_there", "again"), [(81, False), (80, True)])
def test_one_epoch_is_enough_for_all_labels_too(
    tokens_there: int, again: bool, recipe_file: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten sequences of eight tokens need 81: the last one's last label is a token of its own."""
    member = Member("soins", "soins", sequences=tokens_there / 8, tokens=tokens_there, share=1.0)
    monkeypatch.setattr(extend_run, "train_blend", lambda *_: [member])
    recipe = load(str(recipe_file), ["data.layout=concat", "steps=10", "batch.global_size=1", "batch.micro_size=1"])
    with pytest.raises(UserError, match="more than one is read of soins") if again else nullcontext():
        check_longer(recipe, tokens, 5)
