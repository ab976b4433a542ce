"""Examples of the personal data in a corpus, with the words around them, for a person to judge what the forms find."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..documents.store import document_files, read_documents
from .masking import findings_in
from .personal import KINDS, Finding

AROUND = 40
"""Characters shown before and after."""
SEED = 0
"""Seed of the draw: the same corpus shows the same examples."""


@dataclass(frozen=True)
class Sample:
    """A finding with its surroundings.

    Attributes:
        kind: one of KINDS.
        doc_id: of the document.
        before: characters before it.
        text: the finding itself.
        after: characters after it.
    """

    kind: str
    doc_id: str
    before: str
    text: str
    after: str


@dataclass
class PersonalData:
    """Personal data in a corpus.

    Attributes:
        counts: kind -> source -> how often.
        samples: of each kind some, drawn from all of them.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    samples: list[Sample] = field(default_factory=list)


def personal_data(folder: Path, size: int) -> PersonalData:
    """Count the personal data of a corpus, and draw some of each kind.

    Args:
        folder: of a corpus.
        size: how many of each kind are drawn.

    Raises:
        UserError: there is no corpus, or it is damaged.
    """
    draw, data, seen = np.random.default_rng(SEED), PersonalData(), Counter[str]()
    drawn: dict[str, list[Sample]] = {kind: [] for kind in KINDS}
    for source, path in document_files(folder).items():
        for doc_id, text in read_documents(path, ("doc_id", "text")):
            whole = text.encode()
            for finding in findings_in(whole):
                seen[finding.kind] += 1
                data.counts[finding.kind][source] = data.counts[finding.kind].get(source, 0) + 1
                place = _place(draw, seen[finding.kind], size)
                if place < size:
                    sample = _sample(finding, doc_id, whole)
                    drawn[finding.kind][place : place + 1] = [sample]
    data.samples = [sample for kind in KINDS for sample in drawn[kind]]
    return data


def _place(draw: np.random.Generator, number: int, size: int) -> int:
    """Place among the drawn of the finding of this number; `size` or more for none (reservoir sampling)."""
    return number - 1 if number <= size else int(draw.integers(number))


def _sample(finding: Finding, doc_id: str, text: bytes) -> Sample:
    before = text[max(0, finding.begin - 4 * AROUND) : finding.begin].decode("utf-8", "ignore")
    after = text[finding.end : finding.end + 4 * AROUND].decode("utf-8", "ignore")
    return Sample(
        kind=finding.kind,
        doc_id=doc_id,
        before=before[-AROUND:],
        text=text[finding.begin : finding.end].decode(),
        after=after[:AROUND],
    )
