"""The model card that lies beside a merged model."""

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

A merge of a tuned language model with the base it was tuned from: {method} at t = {t:g}, where 0 is the base and
1 is the tuned model. The tokenizer and the generation settings are the base's, byte for byte.

| parent | SHA-256 |
|---|---|
| base | `{base}` |
| tuned | `{tuned}` |

Each SHA-256 stands for all files of the parent: it is the one that `manifest.json` records under `inputs`.

## Configuration

`{config_name}`, to be run by mergekit in a folder that holds the parents as `./base` and `./tuned`:

```yaml
{config}```
"""


def model_card(name: str, method: str, t: float, parents: dict[str, str], config: str) -> str:
    """Return the card's Markdown.

    Args:
        name: the merged model's name.
        method: merge method.
        t: interpolation factor.
        parents: `base` and `tuned` -> SHA-256.
        config: text of the mergekit configuration.
    """
    return CARD.format(
        name=name,
        method=method.upper(),
        t=t,
        config_name=CONFIG_NAME,
        config=config,
        base=parents["base"],
        tuned=parents["tuned"],
    )
