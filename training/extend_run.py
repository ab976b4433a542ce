"""Whether a run can be extended and still equal, bit for bit, a run that was planned that long from its beginning."""

from collections.abc import Iterator
from math import ceil
from pathlib import Path

from ..core.errors import UserError
from ..core.log import counted
from ..data_prep.tokens.layouts import Layout
from ..recipes.schema import Recipe, Schedule
from .blend import Member, surplus, train_blend


def check_longer(recipe: Recipe, tokens: Path, before: int) -> None:
    """Check that the longer run would have begun with the steps that are done.

    Args:
        recipe: of the longer run.
        tokens: the tokens stage's folder.
        before: steps that the run was planned for.

    Raises:
        UserError: it would not have; the message says why.
    """
    reasons = list(_reasons(recipe, tokens, before))
    if reasons:
        raise UserError(
            f"the run was planned for {counted(before, 'step')} and cannot be extended to {recipe.steps:,}: "
            f"{'; '.join(reasons)}",
            where="steps",
            allowed=f"steps={before}; more only if neither the learning rate nor the order of the data depends on it",
            fix="start a new run from this one's weights: --base RUN with another --out",
        )


def _reasons(recipe: Recipe, tokens: Path, before: int) -> Iterator[str]:
    schedule = recipe.optimizer.schedule
    if schedule != Schedule.CONSTANT:
        yield f"with optimizer.schedule={schedule} the learning rate of each step depends on the number of steps"
    batch = recipe.batch.global_size
    old, new = (train_blend(tokens, recipe.data, steps * batch) for steps in (before, recipe.steps))
    if [member.share for member in old] != [member.share for member in new]:
        yield "data.blend.max_epochs is reached, so a longer run would blend the data differently from its first step"
    if recipe.data.layout == Layout.CONCAT:
        again = [member.name for member in new if _needed(member, new, recipe.steps * batch) > member.tokens]
        if again:
            names = ", ".join(again)
            yield f"data.layout=concat shuffles all epochs of a data set together, and more than one is read of {names}"


def _needed(member: Member, members: list[Member], samples: int) -> int:
    """Tokens of a data set that Megatron prepares for a run, as `BlendedMegatronDatasetBuilder` counts them."""
    size = samples
    if len(members) > 1:
        size = ceil(ceil(samples * member.share) * (1 + surplus(len(members), samples)))
    return ceil(size * member.tokens / member.sequences) + 1
