"""The record of a tokens folder, `tokens.json`: its data sets, and what the trainer and the statistics read of it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.errors import UserError
from ...core.files import read_object
from ...core.jsonio import JsonObject
from .index import DTYPE

RECORD = "tokens.json"
LARGEST_ID = 2**31 - 1
"""Ids are stored as int32."""
SPLITS = ("train", "valid")
COUNTED = ("documents", "tokens", "words")


@dataclass(frozen=True)
class DataSet:
    """A data set of a tokens folder.

    Attributes:
        prefix: path of its files in the folder, without their endings.
        source: the name that the user gave; without one the documents' column `source`, or the file's name.
        part: the value of the documents' column `source`, which divides a source that the user named.
        document_type: type of its documents; empty if none is stated.
        commercial: whether its documents may be used commercially; None if that is not known.
        documents: number of documents.
        tokens: number of tokens.
        words: number of words.
        licences: documents by licence; None in a record of version 0.1.
        topic: topic of all its documents; empty if the tokens are not built by topic, or the topic is not known.
        answers: number of tokens that are learned, for conversations; None for documents, of which all are learned.
    """

    prefix: str
    source: str
    part: str
    document_type: str
    commercial: bool | None
    documents: int
    tokens: int
    words: int
    licences: dict[str, int] | None = None
    topic: str = ""
    answers: int | None = None

    @staticmethod
    def from_json(entry: JsonObject) -> "DataSet":
        """Check and take over JSON values.

        Raises:
            UserError: one is missing, of another type or out of range, or the prefix leads out of the folder.
        """
        return DataSet(
            prefix=_prefix(entry),
            source=entry.text("source"),
            part=entry.text("part", ""),
            document_type=entry.text("document_type"),
            commercial=entry.flag("commercial") if "commercial" in entry else None,
            documents=entry.integer("documents"),
            tokens=entry.integer("tokens"),
            words=entry.integer("words"),
            licences=_counts(entry.object("licences")) if "licences" in entry else None,
            topic=entry.text("topic", ""),
            answers=entry.integer("answers") if "answers" in entry else None,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        unknown = {"licences": None, "topic": "", "answers": None}
        return {name: value for name, value in asdict(self).items() if name not in unknown or value != unknown[name]}


@dataclass(frozen=True)
class TokensRecord:
    """Contents of `tokens.json`.

    Attributes:
        splits: `train` and `valid` -> data sets by name.
        dropped_duplicates: number of dropped copies of held-out or left-out texts, by data set.
        eod_id: id that ends a document.
        vocabulary_size: number of ids.
        tokenizer_sha256: SHA-256 of the tokenizer's file.
        withheld: publishers' split -> number of its documents that are left out, by data set; empty in version 0.1.
        training_duplicates: number of dropped copies of training texts, by data set; empty in version 0.1.
        empty: number of texts without a word, by data set; None in newer records, since such texts are rejected.
    """

    splits: dict[str, dict[str, DataSet]]
    dropped_duplicates: dict[str, int]
    eod_id: int
    vocabulary_size: int
    tokenizer_sha256: str
    withheld: dict[str, dict[str, int]] = field(default_factory=dict)
    training_duplicates: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] | None = None

    @property
    def conversations(self) -> bool:
        """Whether the data sets are conversations, of which the answers alone are learned."""
        return any(entry.answers is not None for entries in self.splits.values() for entry in entries.values())

    @property
    def totals(self) -> dict[str, dict[str, int]]:
        """Split -> documents, tokens and words of all its data sets."""
        return {
            split: {what: sum(getattr(entry, what) for entry in entries.values()) for what in COUNTED}
            for split, entries in self.splits.items()
        }

    def to_json(self) -> dict[str, Any]:
        """As the JSON values that this version writes."""
        return {
            "splits": {
                split: {name: entry.to_json() for name, entry in entries.items()}
                for split, entries in self.splits.items()
            },
            "totals": self.totals,
            "withheld": self.withheld,
            "training_duplicates": self.training_duplicates,
            "dropped_duplicates": self.dropped_duplicates,
            "dtype": DTYPE.name,
            "eod_id": self.eod_id,
            "vocabulary_size": self.vocabulary_size,
            "tokenizer_sha256": self.tokenizer_sha256,
        }


def read_record(tokens: Path) -> TokensRecord:
    """Read and check the record of a tokens folder.

    Args:
        tokens: the tokens stage's folder.

    Raises:
        UserError: there is none, or a value that is read of it is missing, of another type or out of range, or a prefix
            leads out of the folder.
    """
    record = read_object(tokens / RECORD)
    recent = "withheld" in record  # records of version 0.1 have neither this nor training_duplicates
    return TokensRecord(
        splits={
            split: {name: DataSet.from_json(entry) for name, entry in record.object("splits").objects(split).items()}
            for split in SPLITS
        },
        dropped_duplicates=_counts(record.object("dropped_duplicates")),
        eod_id=record.integer("eod_id", maximum=LARGEST_ID),
        vocabulary_size=record.integer("vocabulary_size", minimum=1, maximum=LARGEST_ID),
        tokenizer_sha256=record.text("tokenizer_sha256"),
        withheld={name: _counts(counts) for name, counts in record.objects("withheld").items()} if recent else {},
        training_duplicates=_counts(record.object("training_duplicates")) if recent else {},
        # Earlier versions counted texts without a word, which are rejected now.
        empty=_counts(record.object("empty")) if "empty" in record else None,
    )


def _counts(value: JsonObject) -> dict[str, int]:
    return {name: value.integer(name) for name in value.values}


def _prefix(entry: JsonObject) -> str:
    prefix = PurePosixPath(entry.text("prefix"))
    if prefix.is_absolute() or ".." in prefix.parts or not prefix.name or "\0" in str(prefix):
        raise UserError(f"the data set's files are outside the folder: {str(prefix)[:60]!r}", where=entry.where)
    return entry.text("prefix")
