"""Announcements before a run starts: where in the data it begins, and what a validation reads."""

from pathlib import Path

from ..core import log
from ..core.checkpoint import read_hashes_record, read_provenance
from ..core.log import counted
from ..core.manifest import fingerprint
from ..recipes.load import complete_data, to_dict
from ..recipes.schema import Recipe
from .blend import valid_batches, valid_sequences


def announce_weights(recipe: Recipe, tokens: Path, weights: Path) -> None:
    """Say where in the data a run begins if it starts from another run's weights.

    Raises:
        UserError: the record of the weights' hashes is damaged.
    """
    record, held, seed = read_hashes_record(weights), read_provenance(weights), recipe.seed
    if record is None or held is None:
        return
    log.info(
        f"train: weights of {weights}, a new optimizer; the data begins at its first sequence, in the order of seed "
        f"{seed}"
    )
    before, now = held.object("recipe").values, to_dict(recipe)
    same = complete_data(before.get("data")) == now["data"] and before.get("seed") == now["seed"]
    if same and held.object("inputs").values.get("tokens") == fingerprint(tokens):
        log.warn(
            "train: those weights have already been trained on the same sequences in the same order, for "
            f"{counted(record.step, 'step')}: seed={seed + 1} gives another order"
        )


def announce_validation(recipe: Recipe, tokens: Path) -> None:
    """Say how many of the validation sequences each validation reads."""
    there, chosen = valid_sequences(tokens, recipe.data), recipe.validation.batches
    read = min(there, valid_batches(recipe, there) * recipe.batch.global_size)
    log.info(f"train: each validation reads {read:,} of {counted(there, 'sequence')}, each once")
    asked = 0 if isinstance(chosen, str) else chosen * recipe.batch.global_size
    if asked > there:
        log.warn(
            f"train: validation.batches={chosen} asks for {counted(asked, 'sequence')}, {asked / there:.2f} times the "
            "validation sets: each sequence is read once"
        )
