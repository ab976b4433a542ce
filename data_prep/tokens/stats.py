"""Counts of a tokens folder in a layout: slots, real tokens, padding, epochs, tokens a word."""

from pathlib import Path
from typing import Any

from .index import read_lengths
from .layouts import check_layout, figures
from .tokens_record import read_record

SUMMED = ("documents", "words", "tokens", "sequences", "slots", "real_tokens", "padding")


def layout_stats(
    tokens: Path, layout: str, seq_length: int, *, batch: int | None = None, steps: int | None = None
) -> dict[str, Any]:
    """Count what a layout makes of each data set.

    Args:
        tokens: the tokens stage's folder.
        layout: one of LAYOUTS.
        seq_length: slots of a row.
        batch: sequences a step.
        steps: of a run.

    Returns:
        `layout`, `seq_length`; `datasets`, one object for each data set and split (`prefix`, `split`, `source`,
        `document_type`, `commercial`, `documents`, `words`, `tokens`, `tokens_per_word`, `sequences`, `slots`,
        `real_tokens`, `padding`, `fill`); `splits`, their sums; `left_out`, documents by reason that are in neither;
        and with `batch` and `steps`, `epochs`: how often such
        a run reads the training documents.

    Raises:
        UserError: there is no tokens folder, or the layout cannot be.
    """
    check_layout(layout, seq_length)
    record = read_record(tokens)
    datasets = [
        _dataset(tokens, split, name, entry, layout=layout, seq_length=seq_length)
        for split, entries in record["splits"].items()
        for name, entry in entries.items()
    ]
    splits = {split: _sum([row for row in datasets if row["split"] == split]) for split in record["splits"]}
    stats: dict[str, Any] = {"layout": layout, "seq_length": seq_length, "datasets": datasets, "splits": splits}
    stats["left_out"] = left_out(record)
    if batch is not None and steps is not None:
        stats |= {"batch": batch, "steps": steps, "epochs": epochs(splits["train"]["sequences"], batch, steps)}
    return stats


def left_out(record: dict[str, Any]) -> dict[str, int]:
    """How many documents a tokens folder leaves out, by reason; `record` is its `tokens.json`."""
    counts = {f"of publishers' {split} parts": documents for split, documents in record.get("withheld", {}).items()}
    counts["copies of training texts"] = record.get("training_duplicates", {})
    counts["copies of held-out or left-out texts"] = record["dropped_duplicates"]
    if "empty" in record:  # of earlier versions, which counted them; now they are rejected
        counts["without a word"] = record["empty"]
    return {reason: sum(documents.values()) for reason, documents in counts.items()}


def epochs(sequences: int, batch: int, steps: int) -> float:
    """How often a run of `steps` steps of `batch` sequences reads `sequences` sequences."""
    return batch * steps / sequences if sequences else float("inf")


def _dataset(
    tokens: Path, split: str, name: str, entry: dict[str, Any], *, layout: str, seq_length: int
) -> dict[str, Any]:
    counts = figures(layout, read_lengths(tokens / entry["prefix"]), seq_length)
    return {
        "name": name,
        "split": split,
        **entry,
        "prefix": str(tokens / entry["prefix"]),
        "sequences": counts.sequences,
        "slots": counts.slots,
        "real_tokens": counts.real_tokens,
        "padding": counts.slots - counts.real_tokens,
        **_ratios(entry["tokens"], entry["words"], counts.real_tokens, counts.slots),
    }


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    total = {name: sum(row[name] for row in rows) for name in SUMMED}
    return total | _ratios(total["tokens"], total["words"], total["real_tokens"], total["slots"])


def _ratios(tokens: int, words: int, real_tokens: int, slots: int) -> dict[str, float]:
    return {"tokens_per_word": tokens / words if words else 0.0, "fill": real_tokens / slots if slots else 0.0}


def overall(stats: dict[str, Any]) -> dict[str, Any]:
    """Sums over both splits."""
    return _sum(stats["datasets"])
