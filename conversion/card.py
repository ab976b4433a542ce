"""The model card that lies beside exported weights: what they are, and where they come from."""

from pathlib import Path
from typing import Any

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
Trained for {step} steps of {sequences} sequences of {length} tokens, at a learning rate of {lr:g}.
"""


STATED = ("recipe", "inputs", "commit", "versions")
"""What a card takes from a seal's provenance."""


def card(checkpoint: Path, seal: dict[str, Any] | None, source: str, dtype: str, inputs: dict[str, str]) -> str:
    """The card's Markdown.

    Args:
        checkpoint: the checkpoint's folder.
        seal: the checkpoint's, where it is a run's.
        source: `parameters` or `master`.
        dtype: of the weights.
        inputs: SHA-256 of the checkpoint and of each file that is taken over.
    """
    rows = {f"{name}, SHA-256": f"`{value}`" for name, value in inputs.items()}
    training = ""
    if seal is not None:
        rows |= _provenance(seal["provenance"])
        recipe = seal["provenance"]["recipe"]
        training = TRAINING.format(
            step=seal["step"],
            sequences=recipe["batch"]["global_size"],
            length=recipe["data"]["seq_length"],
            lr=recipe["optimizer"]["lr"],
        )
    return CARD.format(
        name=f"{checkpoint.parent.parent.name} / {checkpoint.name}",
        checkpoint=checkpoint.name,
        source={"parameters": "parameters", "master": "FP32 master weights"}[source],
        dtype=dtype,
        training=training,
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
    )


def _provenance(value: dict[str, Any]) -> dict[str, str]:
    """Rows of what the run was made of."""
    rows = {f"{name}, SHA-256": f"`{found}`" for name, found in value["inputs"].items() if found}
    rows["commit"] = f"`{value['commit']}`"
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in value["versions"].items())
    return rows
