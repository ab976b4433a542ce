"""Which of the tokens' data sets a run reads, and in what proportion."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.log import counted
from ..data_prep.tokens.index import Fitted, fit_conversations, lengths_in_rows, read_lengths
from ..data_prep.tokens.layouts import Layout, Lengths, check_conversations, figures
from ..data_prep.tokens.tokens_record import DataSet, read_record
from ..recipes.schema import BlendEdition, Data, Part, Recipe

Blend = tuple[list[str], list[float] | None]
"""Prefixes and weights, as Megatron takes them; without weights, each sequence is read once."""
SHOWN = 30
"""How many data sets a message names."""


@dataclass(frozen=True)
class Member:
    """A data set of a blend.

    Attributes:
        name: its name in `tokens.json`.
        prefix: path of its files, without their endings.
        sequences: number in an epoch; with `concat`, not a whole number.
        tokens: real tokens in an epoch.
        share: its share of a run's sequences.
        samples: sequences that a run draws from it, before Megatron rounds.
    """

    name: str
    prefix: str
    sequences: float
    tokens: int
    share: float = 0.0
    samples: float = 0.0

    @property
    def epochs(self) -> float:
        """How often the run reads it."""
        return self.samples / self.sequences


def train_blend(tokens: Path, data: Data, samples: int) -> list[Member]:
    """The training data sets, with the sequences that a run of `samples` draws from each.

    A part's weight is its share of the real tokens, and is shared among its data sets by their sizes; without weights
    all are read equally often. What `max_epochs` takes from a data set goes to the others, in their proportion.

    Args:
        tokens: the tokens stage's folder.
        data: the recipe's.
        samples: sequences of the whole run.

    Raises:
        UserError: a part matches nothing that has training documents, or the caps leave too little.
    """
    members: list[Member] = []
    shares, caps = [], []
    for part, entries in zip(data.blend, _matched(tokens, data, "train"), strict=True):
        mine = [_member(name, tokens, entry, data) for name, entry in entries]
        size = sum(member.tokens for member in mine)
        # Weights count tokens and shares count sequences: a part with more tokens in a sequence needs fewer of them.
        each = 1.0 if part.weight is None else part.weight / size
        shares += [member.sequences * each for member in mine]
        caps += [np.inf if part.max_epochs is None else part.max_epochs * member.sequences for member in mine]
        members += mine
    parts = _within(np.array(shares), np.array(caps), samples, [member.name for member in members])
    return [
        replace(member, share=part, samples=samples * part)
        for member, part in zip(members, parts.tolist(), strict=True)
    ]


def epoch(tokens: Path, data: Data) -> float:
    """Count the sequences in an epoch of all training sets that the recipe's blend names.

    Raises:
        UserError: it names none that is there.
    """
    parts = _matched(tokens, data, "train")
    return sum(_member(name, tokens, entry, data).sequences for part in parts for name, entry in part)


def as_megatron(members: list[Member]) -> Blend:
    """The members' prefixes and shares, which do not depend on the length of the run unless a cap binds."""
    return [member.prefix for member in members], [member.share for member in members]


def surplus(datasets: int, samples: int) -> float:
    """Samples that each of a blend's training sets prepares beyond its share, as a fraction of that share.

    Megatron rounds the shares of n data sets up, so up to n samples more are drawn in all, and a data set of weight w
    gives up to w * (samples + n) + 1. Its own surplus of 0.005 is too little for many sets and few samples.
    """
    return max(0.005, 2 * (datasets + 1) / max(samples, 1))


def valid_blend(tokens: Path, data: Data) -> Blend:
    """The validation sets of the data sets that the recipe trains on, each sequence once.

    Raises:
        UserError: none of them has validation documents.
    """
    return [str(tokens / entry.prefix) for entry in _valid_entries(tokens, data)], None


def _valid_entries(tokens: Path, data: Data) -> list[DataSet]:
    return [entry for part in _matched(tokens, data, "valid") for _, entry in part]


def valid_sequences(tokens: Path, data: Data) -> int:
    """Count the sequences of all validation sets; with `concat`, also the last of each set, which is padded."""
    return sum(_valid_sequences(tokens, entry, data) for entry in _valid_entries(tokens, data))


def _valid_sequences(tokens: Path, entry: DataSet, data: Data) -> int:
    lengths = _lengths(tokens, entry, data)
    if data.layout != Layout.CONCAT:
        return figures(data.layout, lengths, data.seq_length).sequences
    return -(-(int(lengths.sum(dtype=np.int64)) - 1) // data.seq_length)  # the last token is only a label


def valid_batches(recipe: Recipe, sequences: int) -> int:
    """Global batches that a validation reads, given the number of validation sequences: none is read twice."""
    there = -(-sequences // recipe.batch.global_size)
    chosen = recipe.validation.batches
    return there if isinstance(chosen, str) else min(chosen, there)


def _matched(tokens: Path, data: Data, split: str) -> list[list[tuple[str, DataSet]]]:
    """List the data sets of each part; each belongs to the first part that matches. Only training needs every part."""
    record = read_record(tokens)
    if record.conversations:
        check_conversations(data.layout, "data.layout")
    entries: dict[str, DataSet] = record.splits[split]
    left, parts = dict(entries), []
    for number, part in enumerate(data.blend):
        matching = [(name, entry) for name, entry in left.items() if _matches(part, entry)]
        left = {name: entry for name, entry in left.items() if name not in dict(matching)}
        if not matching and split == "train":
            _nothing(f"data.blend[{number}]", part, split, entries)
        parts.append(matching)
    if not any(parts):
        _nothing("data.blend", data.blend[0], split, entries)
    return parts


def _nothing(where: str, part: Part, split: str, entries: dict[str, DataSet]) -> None:
    fix = "choose others, or give more text to `pdapt tokens build`"
    by_topic = part.topics != Part().topics
    if by_topic and not any(entry.topic for entry in entries.values()):
        fix = "build the tokens by topic: `pdapt corpus topics CORPUS --out FILE`, `pdapt tokens build --topics FILE`"
    known = [_shown(name, entry, by_topic) for name, entry in entries.items()]
    rest = [f"and {len(known) - SHOWN} more"] if len(known) > SHOWN else []
    if by_topic and rest:
        rest.append("of the topics " + ", ".join(sorted({entry.topic or "no topic" for entry in entries.values()})))
    raise UserError(
        f"no data set is left that has tokens for {split} and matches sources {part.sources}, document types "
        f"{part.document_types}"
        + (f", topics {part.topics}" if by_topic else "")
        + (f", edition {part.edition}" if part.edition else ""),
        where=where,
        allowed=", ".join([*known[:SHOWN], *rest]) + "; each belongs to the first part that matches it",
        fix=fix,
    )


def _shown(name: str, entry: DataSet, by_topic: bool) -> str:
    """A data set's name, and what of it parts choose by."""
    facts = [entry.document_type or "no type", *([entry.topic or "no topic"] if by_topic else [])]
    return f"{name} ({', '.join(facts)})"


def _matches(part: Part, entry: DataSet) -> bool:
    return (
        any(fnmatchcase(name, pattern) for name in _source_names(entry) for pattern in part.sources)
        and any(fnmatchcase(entry.document_type, pattern) for pattern in part.document_types)
        and any(fnmatchcase(entry.topic, pattern) for pattern in part.topics)
        and (part.edition != BlendEdition.COMMERCIAL or entry.commercial is True)
    )


def _source_names(entry: DataSet) -> list[str]:
    """List the names of a data set's source: the one it was given, its part, or both."""
    source, part = entry.source, entry.part
    return [source, part, f"{source}.{part}"] if part else [source]


def _lengths(tokens: Path, entry: DataSet, data: Data) -> Lengths:
    """Tokens of each document of a data set; of a conversation, those that a row takes."""
    return lengths_in_rows(tokens / entry.prefix, data.seq_length, conversations=entry.answers is not None)


def _member(name: str, tokens: Path, entry: DataSet, data: Data) -> Member:
    """Describe a data set by its sequences and real tokens in an epoch, before any are drawn.

    Raises:
        UserError: no conversation of it has an answer within the length of a sequence.
    """
    lengths, prefix = _lengths(tokens, entry, data), tokens / entry.prefix
    if data.layout == Layout.CONCAT:
        size = int(lengths.sum(dtype=np.int64))
        return Member(name, str(prefix), size / data.seq_length, size)
    if not lengths.any():
        raise UserError(
            f"no conversation of {name} has an answer among its first {data.seq_length:,} tokens",
            where="data.seq_length",
            fix=f"take longer sequences: the conversations have up to {int(read_lengths(prefix).max()):,} tokens",
        )
    counts = figures(data.layout, lengths, data.seq_length)
    return Member(name, str(prefix), counts.sequences, counts.real_tokens)


def cut_conversations(tokens: Path, data: Data) -> list[Fitted]:
    """The conversations of each training set that the blend names, as rows take them; empty for documents."""
    entries = [entry for part in _matched(tokens, data, "train") for _, entry in part]
    return [fit_conversations(tokens / entry.prefix, data.seq_length) for entry in entries if entry.answers is not None]


def _within(shares: Any, caps: Any, samples: int, names: list[str]) -> Any:
    """Divide `samples` by the shares, none of them above its cap."""
    if caps.sum() < samples:
        raise UserError(
            f"the run needs {counted(samples, 'sequence')}, but max_epochs allows only {caps.sum():,.0f}",
            where="data.blend.max_epochs",
            allowed=", ".join(f"{name}: {cap:.0f}" for name, cap in zip(names, caps, strict=True)),
            fix="raise or drop max_epochs, add data sets, or take fewer steps",
        )
    parts = shares / shares.sum()
    drawn = samples * parts
    if not (drawn > caps * (1 + 1e-9)).any():
        return parts
    capped = np.zeros(len(drawn), bool)
    while (drawn > caps * (1 + 1e-9)).any():
        capped |= drawn > caps
        rest = samples - caps[capped].sum()
        drawn = np.where(capped, caps, rest * shares / shares[~capped].sum() if not capped.all() else caps)
    return drawn / samples
