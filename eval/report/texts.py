"""The report's languages, English and French: texts by key, and the format of numbers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from ...core.errors import UserError
from ...core.remarks.remark import Remark
from ..tasks.all_tasks import ALL_GROUPS

LANGUAGES = ("en", "fr")
TEXTS = ("texts", "answer_texts", "heldout_texts", "remark_texts", "clinical/clinical_texts")
TEXTS_FILES = tuple(Path(__file__).parent / f"{name}.yaml" for name in TEXTS)
NO_BREAK, THIN_NO_BREAK = "\u00a0", "\u202f"


def check_language(language: str) -> None:
    """Check that the report has texts in a language.

    Raises:
        UserError: it has not.
    """
    if language not in LANGUAGES:
        raise UserError(
            f"{language!r} is not a language of the report", where="--language", allowed=", ".join(LANGUAGES)
        )


def read_texts(language: str) -> dict[str, str]:
    """Key -> text of the report's pages."""
    texts: dict[str, str] = {}
    for path in TEXTS_FILES:
        texts |= {key: words[language] for key, words in yaml.safe_load(path.read_text(encoding="utf-8")).items()}
    return texts


def typographic(text: str, language: str) -> str:
    """Text whose lines break nowhere before a percent sign.

    Nor before a French colon, semicolon, question or exclamation mark, nor within «». Values
    that are filled in may be listed as English does, without the space.
    """
    text = re.sub(r"(?<=\d) (?=%)", NO_BREAK, text)
    if language != "fr":
        return text
    text = re.sub(r"(?:(?<=[^\s]) ?|^ )(?=;\s)| (?=[;?!])", THIN_NO_BREAK, text)
    return re.sub(r"(?<=\w)(?=:\s)| (?=[:»%])|(?<=«) ", NO_BREAK, text)


def reference(text: str, language: str) -> str:
    """A place in the paper, such as `section 6, Tables 4-6`, in a language."""
    if language != "fr":
        return text
    text = re.sub(r"\bTable\b", "tableau", re.sub(r"\bTables\b", "tableaux", text))
    return text.replace("Figure", "figure")


def format_text(template: str, values: Mapping[str, object], language: str) -> str:
    """`template.format(**values)`, with numbers in the language's format, a real minus sign and its typography."""
    return typographic((_French() if language == "fr" else _English()).vformat(template, (), values), language)


def format_number(value: float, format_spec: str, language: str) -> str:
    """A number in a language's format: decimal comma and thin spaces in French, a real minus sign in both."""
    text = format(value, format_spec).replace("-", "−")
    if language == "fr":
        text = text.replace(",", THIN_NO_BREAK).replace(".", ",")
    return text


def decimals(text: str, language: str) -> str:
    """A text of numbers with a language's decimal mark."""
    return re.sub(r"(?<=\d)\.(?=\d)", ",", text) if language == "fr" else text


@dataclass(frozen=True)
class Words:
    """A language and its texts."""

    language: str
    texts: dict[str, str]

    @staticmethod
    def read(language: str) -> "Words":
        """The texts of a language."""
        return Words(language, read_texts(language))

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key, with values filled in."""
        return format_text(self.texts[key], values, self.language)

    def group(self, group: str) -> str:
        """A group of tasks as a heading has it; one that is not ours by its name."""
        return self(group) if group in ALL_GROUPS else group

    def area(self, group: str) -> str:
        """A group of tasks as a sentence has it."""
        return self(f"area_{group}") if group in ALL_GROUPS else self("area_group", group=group)

    def remark(self, remark: Remark) -> str:
        """A remark of a stage in words.

        Raises:
            UserError: it lacks a value, or has one of another type, since a file was changed by hand.
        """
        try:
            return self(f"remark_{remark.kind}", **remark.values)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"a remark of the kind {remark.kind} has other values: {error}") from None

    def of_english(self, text: str) -> str:
        """The page's words for an English text of ours that a file holds; a text that is not ours stays."""
        key = _keys_of_english().get(text)
        return self(key) if key else text


@cache
def _keys_of_english() -> dict[str, str]:
    return {english: key for key, english in read_texts("en").items()}


class _English(Formatter):
    language = "en"

    def format_field(self, value: Any, format_spec: str) -> str:
        if "|" in format_spec:
            noun = format_spec.split("|")[0 if self.is_singular(value) else 1]
            return f"{format_number(value, ',d', self.language)} {noun}"
        if isinstance(value, int | float):
            return format_number(value, format_spec, self.language)
        return self.signed(super().format_field(value, format_spec))

    def is_singular(self, count: int) -> bool:
        """Whether a noun after a number is in the singular."""
        return count == 1

    def signed(self, text: str) -> str:
        """Put a real minus sign before numbers; names such as Llama3.2 stay."""
        return re.sub(r"(?<![\w.-])-(?=\d)", "−", text)


class _French(_English):
    language = "fr"

    def is_singular(self, count: int) -> bool:
        return abs(count) < 2

    def signed(self, text: str) -> str:
        """Numbers in words that a list of them is made of, such as `8B 3.93`; names such as Qwen3-0.6B stay."""
        return re.sub(r"(?<![\w.])([+−]?\d+)\.(?=\d+(?![\w.]*\w))", r"\1,", super().signed(text))
