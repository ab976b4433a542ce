"""The topics of 300 sample documents as whoever read them labelled them, and as the terms have them."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LABELS = Path(__file__).parent / "labels.tsv"


@dataclass(frozen=True)
class Labelled:
    """A labelled document: its hash, source and part (`tune` or `held_out`), its topic, and a second one that fits."""

    sha256: str
    source: str
    part: str
    topic: str
    second: str


def labelled() -> list[Labelled]:
    """The labelled documents; their texts are not kept."""
    lines = LABELS.read_text(encoding="utf-8").splitlines()
    return [Labelled(*line.split("\t")) for line in lines[1:]]


def drawn(texts: dict[str, list[str]]) -> list[str]:
    """Hashes of the 30 texts of each source that are labelled: those with the lowest SHA-256 of a seed and the text."""
    hashes = []
    for source in texts.values():
        ranked = sorted(set(source), key=lambda text: hashlib.sha256(f"0\n{text}".encode()).digest())
        hashes += [hashlib.sha256(text.encode()).hexdigest() for text in ranked[:30]]
    return hashes


@dataclass(frozen=True)
class Measured:
    """Documents by their label and by what they were taken for, and how many were taken for their second topic."""

    pairs: Counter[tuple[str, str]]
    seconds: int

    @property
    def documents(self) -> int:
        return self.pairs.total()

    @property
    def right(self) -> int:
        return sum(count for (label, taken), count in self.pairs.items() if label == taken)

    @property
    def labels(self) -> list[str]:
        return sorted({label for label, _ in self.pairs})

    def of(self, topic: str) -> tuple[int, int, int]:
        """Documents of a topic, documents that were taken for it, and those of them that are of it."""
        labels = sum(count for (label, _), count in self.pairs.items() if label == topic)
        taken = sum(count for (_, taken), count in self.pairs.items() if taken == topic)
        return labels, taken, self.pairs[topic, topic]

    def f1(self, topic: str) -> float:
        """Harmonic mean of precision and recall: 2 right / (labelled + taken)."""
        labels, taken, right = self.of(topic)
        return 2 * right / (labels + taken)

    @property
    def macro_f1(self) -> float:
        """Mean of the F1 of all topics that documents are labelled with, `none` among them."""
        return sum(map(self.f1, self.labels)) / len(self.labels)


def measure(topics: dict[str, str], part: str) -> Measured:
    """Compare the topics of texts, by their hashes, with the labels of a part."""
    rows = [row for row in labelled() if row.part == part]
    pairs = Counter((row.topic, topics[row.sha256]) for row in rows)
    seconds = sum(topics[row.sha256] == row.second for row in rows)
    return Measured(pairs, seconds)


def page(measured: Measured) -> str:
    """The tables of docs/topics.md."""
    lines = [
        "| topic | labelled | taken for it | right | F1 | the others were taken for |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for topic in measured.labels:
        labels, taken, right = measured.of(topic)
        wrong = {other: count for (label, other), count in measured.pairs.items() if label == topic != other}
        others = ", ".join(
            f"{other} {count}" for other, count in sorted(wrong.items(), key=lambda each: (-each[1], each[0]))
        )
        lines.append(f"| {topic} | {labels} | {taken} | {right} | {measured.f1(topic):.2f} | {others} |")
    return "\n".join(lines)
