"""Whether two tokenizers give every id the same meaning, whoever wrote their files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import read_object
from ..core.jsonio import JsonObject
from ..core.qwen3 import END_OF_DOCUMENT

TOKENIZER = "tokenizer.json"
LISTED = 3
"""How many tokens that differ a message names."""


@dataclass(frozen=True)
class Vocabulary:
    """The content of a `tokenizer.json` of byte-level BPE, apart from its spelling.

    Attributes:
        path: the file.
        words: token of the model's vocabulary -> id.
        added: token that was added to it -> id.
        merges: pairs of tokens, in their order.
        steps: the other parts that decide which ids a text becomes: normalizer and pre-tokenizer.
    """

    path: Path
    words: dict[str, int]
    added: dict[str, int]
    merges: list[tuple[str, ...]]
    steps: dict[str, Any]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of every token."""
        return self.words | self.added

    @property
    def eod(self) -> int | None:
        """Id that ends a document."""
        return self.ids.get(END_OF_DOCUMENT)


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read a folder's `tokenizer.json`.

    Raises:
        UserError: it is missing, or is not one of byte-level BPE.
    """
    path = folder / TOKENIZER
    tokenizer = read_object(path)
    model = tokenizer.object("model")
    if model.text("type", "") != "BPE":
        raise UserError(f"{TOKENIZER} does not contain a BPE model", where=str(path), fix="give a Qwen3 tokenizer")
    vocabulary = model.object("vocab")
    return Vocabulary(
        path,
        words={token: vocabulary.integer(token) for token in vocabulary.values},
        added=dict(_added(tokenizer)),
        merges=[_pair(merge, path) for merge in model.list("merges")],
        steps={name: tokenizer.values.get(name) for name in ("normalizer", "pre_tokenizer")},
    )


def _added(tokenizer: JsonObject) -> list[tuple[str, int]]:
    if "added_tokens" not in tokenizer:
        return []
    entries = [JsonObject(entry, tokenizer.where) for entry in tokenizer.list("added_tokens")]
    return [(entry.text("content"), entry.integer("id")) for entry in entries]


def _pair(merge: Any, path: Path) -> tuple[str, ...]:
    """A merge, which older releases spell as one string."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise UserError("a merge is not a pair of tokens", where=str(path), fix="fetch the tokenizer again")
    return tuple(parts)


def differences(ours: Vocabulary, theirs: Vocabulary) -> list[str]:
    """List how the ids of two tokenizers differ; empty where each means the same in both."""
    differing = _ids(ours.ids, theirs.ids)
    if ours.merges != theirs.merges:
        at = next(
            (n for n, pair in enumerate(zip(ours.merges, theirs.merges, strict=False)) if pair[0] != pair[1]), None
        )
        counts = f"{len(ours.merges):,} and {len(theirs.merges):,}"
        differing.append(
            f"the merges differ: {counts}" if at is None else f"the merges differ from number {at + 1:,} on"
        )
    return differing


def _ids(ours: dict[str, int], theirs: dict[str, int]) -> list[str]:
    differing = [token for token in {**ours, **theirs} if ours.get(token) != theirs.get(token)]
    if not differing:
        return []
    shown = [f"{token!r} is {_id(ours, token)} and {_id(theirs, token)}" for token in differing[:LISTED]]
    more = f" and {len(differing) - LISTED:,} more" if len(differing) > LISTED else ""
    return [f"{', '.join(shown)}{more}"]


def _id(ids: dict[str, int], token: str) -> str:
    return f"{ids[token]:,}" if token in ids else "absent"
