"""The card beside a merged model, and mergekit's configuration that gives the model."""

from collections.abc import Mapping
from pathlib import Path

from ..core.files import write_text
from .methods import Average, Merge

CONFIG_NAME = "mergekit_config.yml"
CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags:
- merge
- mergekit
---
# {name}

{what}.{scale} The tokenizer and the generation settings are those of {first}, byte for byte.

| parent | SHA-256 |
|---|---|
{parents}

Each SHA-256 stands for all files of the parent: it is the one that `manifest.json` records under `inputs`.

## Configuration

`{config_name}`, to be run by mergekit in a folder that holds the parents as {places}:

```yaml
{config}```
"""
SCALE = " t = 0 is the base and t = 1 the tuned model."


def describe(
    plan: Merge | Average, prints: Mapping[str, str], dtype: str, *, folder: Path, name: str, settings: str
) -> None:
    """Write card and configuration.

    The configuration has names instead of paths: it can be run in a folder that holds the parents under these names.

    Args:
        plan: the merge: parents and method.
        prints: parent -> SHA-256.
        dtype: type of the weights, in safetensors' spelling.
        folder: folder of the merged model.
        name: its name.
        settings: role of the parent whose tokenizer and generation settings the result has.
    """
    config = plan.mergekit([f"./{role}" for role in plan.roles], dtype).to_yaml() + "\n"
    write_text(folder / CONFIG_NAME, config)
    card = CARD.format(
        name=name,
        what=plan,
        scale=SCALE if isinstance(plan, Merge) else "",
        first=settings,
        parents="\n".join(f"| {role} | `{prints[role]}` |" for role in plan.roles),
        config_name=CONFIG_NAME,
        places=", ".join(f"`./{role}`" for role in plan.roles),
        config=config,
    )
    write_text(folder / "README.md", card)
