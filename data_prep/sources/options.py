"""Options of the formats in which sources are published; a source's definition sets them for its files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NoOptions:
    """Options of a format that has none."""


@dataclass(frozen=True)
class Language:
    """Options of a format whose files hold several languages.

    Attributes:
        language: the one that is read, an ISO 639-1 code.
    """

    language: str = "fr"


@dataclass(frozen=True)
class Words:
    """Options of a format with a word a line, its values between tabs.

    Attributes:
        sentence: column of the sentence's number, counted from 0.
        word: column of the word.
        columns: columns that a line has at least.
    """

    sentence: int = 0
    word: int = 2
    columns: int = 5


@dataclass(frozen=True)
class Prose:
    """Options of a table whose cells are codes, dates and names, and among them texts.

    Attributes:
        words: words that a cell has at least to be a text.
    """

    words: int = 4


OPTIONS: dict[str, type] = {
    **dict.fromkeys(("text", "lines", "parquet", "brat", "moses", "sentences"), NoOptions),
    **dict.fromkeys(("pdf", "html", "tei", "xmi", "gsc", "solr", "istex", "opendatasoft", "mediawiki"), NoOptions),
    **dict.fromkeys(("bdpm", "e3c", "frenchmedmcqa", "instructions", "mqc"), NoOptions),
    **dict.fromkeys(("tmx", "bioc", "translations"), Language),
    "conll": Words,
    "prose_table": Prose,
}
"""Format of a source's files -> its options."""
