"""The report's languages, English and French: texts by key, and the format of numbers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from ...core.errors import UserError

LANGUAGES = ("en", "fr")
TEXTS_FILES = tuple(Path(__file__).with_name(f"{name}.yaml") for name in ("texts", "answer_texts", "heldout_texts"))
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
    """Text whose lines break nowhere before a French colon, semicolon, question or exclamation mark, nor within «»."""
    if language != "fr":
        return text
    text = re.sub(r" (?=[;?!])", THIN_NO_BREAK, text)
    return re.sub(r" (?=[:»%])|(?<=«) ", NO_BREAK, text)


def format_text(template: str, values: Mapping[str, object], language: str) -> str:
    """`template.format(**values)`, with numbers in the language's format, a real minus sign and its typography."""
    return typographic((_French() if language == "fr" else _English()).vformat(template, (), values), language)


def format_number(value: float, format_spec: str, language: str) -> str:
    """A number in a language's format: decimal comma and thin spaces in French, a real minus sign in both."""
    text = format(value, format_spec).replace("-", "−")
    if language == "fr":
        text = text.replace(",", THIN_NO_BREAK).replace(".", ",")
    return text


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


class _English(Formatter):
    language = "en"

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, int | float):
            return format_number(value, format_spec, self.language)
        return self.signed(super().format_field(value, format_spec))

    def signed(self, text: str) -> str:
        """Put a real minus sign before numbers; names such as Llama3.2 stay."""
        return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


class _French(_English):
    language = "fr"

    def signed(self, text: str) -> str:
        return re.sub(r"([+−]\d+)\.(?=\d)", r"\1,", super().signed(text))
