"""The paper's claims: each statement that its tables can decide, and whether it follows from them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ..report.texts import format_text, reference, typographic
from . import appendix_claims, corpus_claims, result_claims
from .tables import Tables, summary

CLAIMS_FILE = Path(__file__).with_name("claims.yaml")
CHECKS = corpus_claims.CHECKS | result_claims.CHECKS | appendix_claims.CHECKS


@dataclass(frozen=True)
class Claim:
    """A statement of the paper in our words, its section, whether it follows, and the computed values."""

    id: str
    section: str
    text: str
    holds: bool
    computed: str


def claims(tables: Tables, language: str = "en") -> list[Claim]:
    """All statements, in the order of the paper."""
    return [_claim(words, tables, language) for words in _words()["claims"]]


@dataclass(frozen=True)
class UndecidableClaim:
    """A statement of the paper in our words, its section, and why the tables cannot decide it."""

    section: str
    text: str
    why: str


def undecidable_claims(language: str = "en") -> list[UndecidableClaim]:
    """Statements that the tables cannot decide, in the order of the paper."""
    return [
        UndecidableClaim(
            reference(words["section"], language),
            *(typographic(words[key][language], language) for key in ("text", "why")),
        )
        for words in _words()["beyond"]
    ]


def claims_json(tables: Tables, language: str) -> dict[str, Any]:
    """All values computed from the tables, as JSON values."""
    computed = summary(tables) | {"claims": [asdict(claim) for claim in claims(tables, language)]}
    return computed | {"beyond_the_tables": [asdict(claim) for claim in undecidable_claims(language)]}


def _words() -> dict[str, Any]:
    return yaml.safe_load(CLAIMS_FILE.read_text(encoding="utf-8"))


def _claim(words: dict[str, Any], tables: Tables, language: str) -> Claim:
    finding = CHECKS[words["id"]](tables)
    return Claim(
        id=words["id"],
        section=reference(words["section"], language),
        text=typographic(words["text"][language], language),
        holds=finding.holds,
        computed=format_text(words["computed"][language], finding.values, language),
    )
