"""English and French: words by key, and numbers as each language writes them."""

import re
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from ...core.errors import UserError

LANGUAGES = ("en", "fr")
TEXTS = Path(__file__).with_name("texts.yaml")


def check_language(language: str) -> None:
    """Raise a UserError where a language is not one of ours."""
    if language not in LANGUAGES:
        raise UserError(f"{language!r} is no language of the report", where="--language", allowed=", ".join(LANGUAGES))


def texts(language: str) -> dict[str, str]:
    """Key -> words of the report's pages."""
    return {key: words[language] for key, words in yaml.safe_load(TEXTS.read_text(encoding="utf-8")).items()}


def fill(template: str, values: dict[str, Any], language: str) -> str:
    """`template.format(**values)`, with numbers as the language writes them and a real minus sign."""
    return (_French() if language == "fr" else _English()).vformat(template, (), values)


def number(value: float, format_spec: str, language: str) -> str:
    """One number as the language writes it: decimal comma and thin spaces in French."""
    written = format(value, format_spec).replace("-", "−")
    if language == "fr":
        written = written.replace(",", "\u202f").replace(".", ",")
    return written


class _English(Formatter):
    language = "en"

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, int | float):
            return number(value, format_spec, self.language)
        return self.signed(super().format_field(value, format_spec))

    def signed(self, text: str) -> str:
        """Signed numbers in a list of them; names such as Llama3.2 stay."""
        return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


class _French(_English):
    language = "fr"

    def signed(self, text: str) -> str:
        return re.sub(r"([+−]\d+)\.(?=\d)", r"\1,", super().signed(text))
