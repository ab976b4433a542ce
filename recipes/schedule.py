"""The learning rate's schedule: checks of its keys, and Megatron's arguments for it.

The rate of step n is Megatron's rate after n - 1 steps, so the first step of a warm-up has the rate 0.
"""

from ..core.errors import UserError, check_known
from ..core.log import counted
from .schema import Recipe, Schedule


def check_schedule(recipe: Recipe) -> None:
    """Check the schedule against the number of steps.

    Raises:
        UserError: there is no such schedule, or its parts do not fit into the steps, or conflict with each other.
    """
    chosen, steps = recipe.optimizer, recipe.steps
    check_known(chosen.schedule, Schedule, "schedule", "optimizer.schedule")
    _in("lr", chosen.lr, 0 < chosen.lr < 1, "between 0 and 1")
    if chosen.schedule == Schedule.CONSTANT:
        falling = "|".join(name for name in Schedule if name is not Schedule.CONSTANT)
        fix = f"leave it out, or set optimizer.schedule={falling}"
        allowed = "none with a constant rate, which does not fall"
        for name, stated in (("min_lr", chosen.min_lr != 0), ("decay_steps", chosen.decay_steps is not None)):
            _in(name, getattr(chosen, name), not stated, allowed, fix=fix)
    else:
        _in("min_lr", chosen.min_lr, 0 <= chosen.min_lr <= chosen.lr, f"0 to optimizer.lr, {chosen.lr:g}")
        _check_decay(recipe)
    warmup = chosen.warmup_steps
    if not 0 <= warmup < steps:
        raise UserError(
            f"optimizer.warmup_steps is {warmup:,} of {counted(steps, 'step')}",
            where="optimizer.warmup_steps",
            allowed=f"0 to {steps - 1}",
        )


def _check_decay(recipe: Recipe) -> None:
    chosen, left = recipe.optimizer, recipe.steps - recipe.optimizer.warmup_steps
    decay = chosen.decay_steps
    if chosen.schedule == Schedule.WSD:
        allowed = f"1 to {left}: the last steps of {recipe.steps}, less the warm-up"
        _in("decay_steps", decay, decay is not None and 1 <= decay <= left, allowed)
    elif decay is not None:
        _in("decay_steps", decay, decay > chosen.warmup_steps, f"more than the {chosen.warmup_steps} of the warm-up")


def _in(name: str, value: float | None, fine: bool, allowed: str, *, fix: str = "") -> None:
    """Raise a UserError on an optimizer's key unless its value is fine."""
    if not fine:
        name = f"optimizer.{name}"
        raise UserError(f"{name} is {'not given' if value is None else value}", where=name, allowed=allowed, fix=fix)


def schedule_args(recipe: Recipe) -> list[str]:
    """Megatron's arguments for the learning rate."""
    chosen = recipe.optimizer
    constant, wsd = chosen.schedule == Schedule.CONSTANT, chosen.schedule == Schedule.WSD
    decay = recipe.steps if constant or wsd else chosen.decay_steps or recipe.steps
    flags = [
        "--lr", chosen.lr,
        "--min-lr", chosen.lr if constant else chosen.min_lr,
        "--lr-decay-style", "WSD" if wsd else chosen.schedule,
        "--lr-decay-iters", decay,
        "--lr-warmup-iters", chosen.warmup_steps,
    ]  # fmt: skip
    if wsd:
        flags += ["--lr-wsd-decay-style", "linear", "--lr-wsd-decay-iters", chosen.decay_steps]
    return [str(flag) for flag in flags]
