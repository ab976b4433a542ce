"""Which of the tokens' sources a run reads, and in what proportion."""

from fnmatch import fnmatchcase
from pathlib import Path

from ..core.errors import UserError
from ..core.files import read_json

Blend = tuple[list[str], list[float]]


def blend(tokens: Path, split: str, patterns: list[str]) -> Blend:
    """File prefixes of a split and their weights (tokens), one for each chosen source that has documents there.

    Args:
        tokens: the tokens stage's folder.
        split: `train` or `valid`.
        patterns: glob patterns of source names.

    Raises:
        UserError: no source matches, or none has tokens there.
    """
    sources = read_json(tokens / "tokens.json")["splits"][split]
    chosen = {name: source for name, source in sources.items() if any(fnmatchcase(name, p) for p in patterns)}
    if not chosen:
        raise UserError(
            f"no source has tokens for {split} and matches {patterns}",
            where="data.sources",
            allowed=", ".join(sources),
            mend="name other sources, or give more text to `pdapt tokens build`",
        )
    prefixes = [str(tokens / source["prefix"]) for source in chosen.values()]
    return prefixes, [float(source["tokens"]) for source in chosen.values()]
