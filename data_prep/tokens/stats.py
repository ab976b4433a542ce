"""Counts of a tokens folder in a layout: slots, real tokens, padding, epochs, tokens a word."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .index import Fitted, fit_conversations, read_lengths
from .layouts import check_conversations, check_layout, figures
from .tokens_record import SPLITS, DataSet, TokensRecord, read_record


@dataclass(frozen=True)
class LayoutCounts:
    """Counts of data sets in a layout; `sequences`, `slots` and `real_tokens` as in `layouts.Figures`."""

    documents: int
    words: int
    tokens: int
    sequences: int
    slots: int
    real_tokens: int

    @property
    def padding(self) -> int:
        """Slots without a token."""
        return self.slots - self.real_tokens

    @property
    def tokens_per_word(self) -> float:
        """Tokens a word; 0 where there is none."""
        return self.tokens / self.words if self.words else 0.0

    @property
    def fill(self) -> float:
        """Share of the slots that hold a token."""
        return self.real_tokens / self.slots if self.slots else 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"padding": self.padding, "tokens_per_word": self.tokens_per_word, "fill": self.fill}


@dataclass(frozen=True)
class DataSetStats:
    """A data set of a split in a layout; `prefix` is of its files."""

    name: str
    split: str
    prefix: Path
    data_set: DataSet
    counts: LayoutCounts

    def to_json(self) -> dict[str, Any]:
        """As one flat object."""
        stated = self.data_set.to_json() | {"prefix": str(self.prefix)}
        return {"name": self.name, "split": self.split, **stated, **self.counts.to_json()}


@dataclass(frozen=True)
class AnswerCounts:
    """Counts of conversations in rows of a length.

    Attributes:
        tokens: tokens of answers, before any cut.
        cut: conversations that are longer than a row, and cut at its end.
        lost: tokens of answers behind the cuts.
        left_out: conversations without an answer before the cut.
    """

    tokens: int
    cut: int
    lost: int
    left_out: int


@dataclass(frozen=True)
class LayoutStats:
    """A tokens folder in a layout.

    Attributes:
        layout, seq_length: the layout, and slots of a row.
        datasets: every data set of both splits.
        left_out: documents that are in none of them, by reason.
        batch, steps: sequences a step and steps of a run, where one was asked about.
        answers: of conversations; None of documents.
    """

    layout: str
    seq_length: int
    datasets: list[DataSetStats]
    left_out: dict[str, int]
    batch: int | None = None
    steps: int | None = None
    answers: AnswerCounts | None = None

    @property
    def splits(self) -> dict[str, LayoutCounts]:
        """The sums of each split."""
        return {split: _sum(row.counts for row in self.datasets if row.split == split) for split in SPLITS}

    @property
    def overall(self) -> LayoutCounts:
        """The sums over both splits."""
        return _sum(row.counts for row in self.datasets)

    @property
    def epochs(self) -> float | None:
        """How often the run reads the training documents."""
        if self.batch is None or self.steps is None:
            return None
        sequences = self.splits["train"].sequences
        return self.batch * self.steps / sequences if sequences else float("inf")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        values = {
            "layout": self.layout,
            "seq_length": self.seq_length,
            "datasets": [row.to_json() for row in self.datasets],
            "splits": {split: counts.to_json() for split, counts in self.splits.items()},
            "left_out": self.left_out,
        }
        if self.answers is not None:
            values["answers"] = asdict(self.answers)
        run = {"batch": self.batch, "steps": self.steps, "epochs": self.epochs}
        return values if self.epochs is None else values | run


def layout_stats(
    tokens: Path, layout: str, seq_length: int, *, batch: int | None = None, steps: int | None = None
) -> LayoutStats:
    """Count what a layout makes of each data set.

    Args:
        tokens: the tokens stage's folder.
        layout: a name of `Layout`.
        seq_length: slots of a row.
        batch: sequences a step.
        steps: of a run.

    Raises:
        UserError: there is no tokens folder, or the layout cannot be.
    """
    check_layout(layout, seq_length)
    record = read_record(tokens)
    if record.conversations:
        check_conversations(layout, "--layout")
    fitted = {
        entry.prefix: fit_conversations(tokens / entry.prefix, seq_length)
        for entries in record.splits.values()
        for entry in entries.values()
        if entry.answers is not None
    }
    datasets = [
        DataSetStats(
            name,
            split,
            tokens / entry.prefix,
            entry,
            counts=_counts(tokens, entry, layout, seq_length, fitted=fitted.get(entry.prefix)),
        )
        for split, entries in record.splits.items()
        for name, entry in entries.items()
    ]
    cut = _answers(record, list(fitted.values())) if record.conversations else None
    return LayoutStats(layout, seq_length, datasets, left_out(record), batch=batch, steps=steps, answers=cut)


def _answers(record: TokensRecord, fitted: list[Fitted]) -> AnswerCounts:
    tokens = [entry.answers or 0 for entries in record.splits.values() for entry in entries.values()]
    names = ("cut", "lost", "left_out")
    return AnswerCounts(sum(tokens), **{name: sum(getattr(each, name) for each in fitted) for name in names})


def left_out(record: TokensRecord) -> dict[str, int]:
    """How many documents a tokens folder leaves out, by reason."""
    counts = {f"of publishers' {split} parts": documents for split, documents in record.withheld.items()}
    counts["copies of training texts"] = record.training_duplicates
    counts["copies of held-out or left-out texts"] = record.dropped_duplicates
    if record.empty is not None:
        counts["without a word"] = record.empty
    return {reason: sum(documents.values()) for reason, documents in counts.items()}


def _counts(tokens: Path, entry: DataSet, layout: str, seq_length: int, *, fitted: Fitted | None) -> LayoutCounts:
    lengths = fitted.lengths if fitted else read_lengths(tokens / entry.prefix)
    counts = figures(layout, lengths, seq_length)
    return LayoutCounts(
        documents=entry.documents,
        words=entry.words,
        tokens=entry.tokens,
        sequences=counts.sequences,
        slots=counts.slots,
        real_tokens=counts.real_tokens,
    )


def _sum(rows: Iterable[LayoutCounts]) -> LayoutCounts:
    every = list(rows)
    return LayoutCounts(**{item.name: sum(getattr(row, item.name) for row in every) for item in fields(LayoutCounts)})
