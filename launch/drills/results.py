"""The results of a run as digests by name: tokens, losses, weights, scores and tables, without times and paths."""

import json
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.files import read_object
from ...core.manifest import Manifest
from ...training.run.journal import JOURNAL_FILE, Event, kept, read

if TYPE_CHECKING:
    from torch import Tensor

Results = dict[str, str]
"""Name of a result -> its SHA-256, or a loss as it was written."""


def read_results(run: Path) -> Results:
    """Read the results of a run of all stages.

    Raises:
        UserError: a file is missing or damaged.
    """
    folders = sorted((run / "hf").iterdir())
    return {
        **{f"tokens {name}": digest for name, digest in Manifest.read(run / "tokens").outputs.items()},
        **read_losses(run / "cpt"),
        **{f"weights {name}": digest for folder in folders for name, digest in _weights(folder)},
        **{f"score {name}": digest for name, digest in _scores(run / "scores")},
        **{f"table {number}": _digest(text) for number, text in enumerate(_tables(run / "report" / "index.html"))},
    }


def read_losses(training: Path) -> Results:
    """Read the losses of each step and each validation that count.

    Raises:
        UserError: the journal is missing or damaged.
    """
    rows = read(training / JOURNAL_FILE)
    losses = {event: kept(rows, event) for event in (Event.STEP, Event.VALIDATION)}
    return {f"loss {event} {step}": repr(row["loss"]) for event, by in losses.items() for step, row in by.items()}


def checkpoint_weights(checkpoint: Path) -> Results:
    """Hash each tensor of a training checkpoint but the optimizer's, whose buffers have padding that nothing writes."""
    from ...conversion.distcp_read import Checkpoint

    stored = Checkpoint(checkpoint)
    names = [name for name in stored.entries if not name.startswith("optimizer.")]
    return {f"weights {checkpoint.name} {name}": _hash(tensor) for name, tensor in stored.read(names).items()}


def _hash(values: "Tensor") -> str:
    import torch

    content = values.contiguous().view(torch.uint8).numpy().tobytes()
    return sha256(f"{values.dtype} {tuple(values.shape)} ".encode() + content).hexdigest()


def _weights(folder: Path) -> Iterator[tuple[str, str]]:
    """Each tensor's name and the SHA-256 of its values."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                yield f"{folder.name} {name}", _hash(file.get_tensor(name))


def _scores(scores: Path) -> Iterator[tuple[str, str]]:
    """lm-eval's results of each model and task, each question's answer, and the comparisons of them."""
    yield "comparisons", _digest(read_object(scores / "scores.json").values)
    for path in sorted(scores.glob("*/*/results.json")):
        name = str(path.parent.relative_to(scores))
        yield name, _digest(read_object(path).object("results").values)
        yield f"{name} answers", sha256((path.parent / "answers.jsonl").read_bytes()).hexdigest()


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _tables(page: Path) -> list[str]:
    parser = _Tables()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.tables


class _Tables(HTMLParser):
    """The text of a page's tables, cell by cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[str] = []
        self._within = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag == "table":
            self.tables.append("")
            self._within = True

    def handle_endtag(self, tag: str) -> None:
        self._within = self._within and tag != "table"

    def handle_data(self, data: str) -> None:
        if self._within and data.strip():
            self.tables[-1] += f"{data.strip()}\n"


def differing(expected: Results, got: Results) -> list[str]:
    """Names of the results that differ, or that only one side has."""
    return sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
