"""The model card written beside exported weights: what they are and where they come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.checkpoint import NEMO2, damaged_hashes_record, read_hashes_record, read_provenance
from ..core.errors import UserError
from ..core.jsonio import JsonObject
from ..core.log import counted

CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags:
- continued-pretraining
---
# {name}

Weights of the Megatron checkpoint `{checkpoint}`, exported by pdapt from its {source} as {dtype}.
{training}
## Where it comes from

| what | value |
|---|---|
{rows}
"""
TRAINING = """
Trained for {steps} of {sequences} of {length} tokens, at a learning rate of {lr:g}.
"""


@dataclass(frozen=True)
class Training:
    """The training that a run's checkpoint comes from, as its record of hashes states it.

    Attributes:
        step: step after which it was saved.
        sequences: sequences per step.
        length: length of a sequence, in tokens.
        lr: learning rate.
        inputs: SHA-256 of the inputs; training from random weights has no `base`.
        commit: Git's name of the code, if it was in a checkout.
        versions: versions of packages.
    """

    step: int
    sequences: int
    length: int
    lr: float
    inputs: dict[str, str]
    commit: str | None
    versions: dict[str, str]


def read_training(checkpoint: Path) -> Training | None:
    """Read the training from a checkpoint's record of hashes; None if it has none.

    Raises:
        UserError: that record is damaged, or lacks values for the card.
    """
    record, provenance = read_hashes_record(checkpoint), read_provenance(checkpoint)
    try:
        return Training(**_stated(provenance), step=record.step) if record and provenance else None
    except UserError as error:
        raise damaged_hashes_record(checkpoint, error) from None


def _stated(provenance: JsonObject) -> dict[str, Any]:
    """The fields of `Training` that a run's provenance states."""
    recipe, inputs = provenance.object("recipe"), provenance.object("inputs")
    return {
        "sequences": recipe.object("batch").integer("global_size"),
        "length": recipe.object("data").integer("seq_length"),
        "lr": recipe.object("optimizer").number("lr"),
        "inputs": {name: inputs.text(name) for name in inputs.values if name in inputs},
        "commit": provenance.text("commit", "") or None,
        "versions": provenance.texts("versions"),
    }


def card(checkpoint: Path, training: Training | None, source: str, dtype: str, inputs: dict[str, str]) -> str:
    """Write the card's Markdown.

    Args:
        checkpoint: the checkpoint's folder.
        training: the training, if the checkpoint is a run's.
        source: `parameters` or `master`.
        dtype: type of the weights.
        inputs: SHA-256 of the checkpoint and of each file that is copied.
    """
    rows = {f"{name}, SHA-256": f"`{value}`" for name, value in inputs.items()}
    sentence = ""
    checkpoint = checkpoint.parent if checkpoint.name == NEMO2 else checkpoint
    if training is not None:
        rows |= _provenance(training)
        steps, sequences = counted(training.step, "step"), counted(training.sequences, "sequence")
        sentence = TRAINING.format(steps=steps, sequences=sequences, length=training.length, lr=training.lr)
    return CARD.format(
        name=f"{checkpoint.parent.parent.name} / {checkpoint.name}",
        checkpoint=checkpoint.name,
        source={"parameters": "parameters", "master": "FP32 master weights"}[source],
        dtype=dtype,
        training=sentence,
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
    )


def _provenance(training: Training) -> dict[str, str]:
    """Rows on the run's inputs and software."""
    rows = {f"{name}, SHA-256": f"`{value}`" for name, value in training.inputs.items()}
    rows["commit"] = f"`{training.commit}`"
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in training.versions.items())
    return rows
