"""The options of a recipe that NeMo 2 has nothing for, each with its reason."""

from ...data_prep.tokens.layouts import Layout
from ...recipes.refusals import Refusal, refuse
from ...recipes.schema import Guard, Log, Recipe, Schedule

_ROWS = (
    "NeMo 2's PreTrainingDataModule joins documents and cuts them at the row's end: they see each other, and no row is "
    "packed by best fit or padded"
)
_ELSEWHERE = "use `pdapt train` with engine=megatron or engine=nemo"
REFUSED = {
    "data.layout": Refusal(lambda recipe: recipe.data.layout != Layout.CONCAT, _ROWS, "concat"),
    "data.document_masks": Refusal(lambda recipe: recipe.data.document_masks is not False, _ROWS, "false"),
    "model.fp8": Refusal(
        lambda recipe: recipe.model.fp8, "NeMo's plugins of FP8 need a GPU, and were not tried", "false"
    ),
    "parallel.fsdp": Refusal(
        lambda recipe: recipe.parallel.fsdp, "NeMo's sharded weights need a GPU, and were not tried", "false"
    ),
    "optimizer.schedule": Refusal(
        lambda recipe: recipe.optimizer.schedule not in (Schedule.CONSTANT, Schedule.COSINE),
        "NeMo's linear decline after a warm-up takes shares of the run, not steps",
        f"{Schedule.CONSTANT}, {Schedule.COSINE}",
    ),
    "validation.batches": Refusal(
        lambda recipe: isinstance(recipe.validation.batches, str),
        "NeMo's validation takes a number of batches, and goes on from one to the next",
        "a number",
    ),
    "checkpoint.keep_every": Refusal(
        lambda recipe: recipe.checkpoint.keep_every not in (None, recipe.checkpoint.every),
        "NeMo's ModelCheckpoint keeps the best, or all",
        "as checkpoint.every, or none",
    ),
    "guard": Refusal(lambda recipe: recipe.guard != Guard(), "NeMo's loop has no guards", "its defaults"),
    "log": Refusal(
        lambda recipe: recipe.log != Log(),
        "NeMo has loggers of its own: set them in the recipe's `log`",
        "its defaults",
    ),
    "megatron": Refusal(
        lambda recipe: bool(recipe.megatron),
        "these are arguments of Megatron-LM's command line: set NeMo's fields in what is returned",
        "nothing",
    ),
}
"""Option -> why a recipe for NeMo 2 refuses it."""


def check_options(recipe: Recipe) -> None:
    """Check that NeMo 2 has something for each option of a recipe.

    Raises:
        UserError: it does not; the option is named.
    """
    refuse(recipe, REFUSED, trainer="a recipe for NeMo 2", instead=_ELSEWHERE)
