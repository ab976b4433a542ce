"""Every statement of the paper that its tables can be asked about, and whether it follows from them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ..report.words import fill
from . import appendix_claims as paper_appendix
from . import corpus_claims as paper_corpus
from . import result_claims as paper_results
from .tables import Tables, summary

WORDS = Path(__file__).with_name("claims.yaml")
CHECKS = paper_corpus.CHECKS | paper_results.CHECKS | paper_appendix.CHECKS


@dataclass(frozen=True)
class Claim:
    """A statement of the paper in our words, where it stands, whether it follows, and what was computed."""

    id: str
    section: str
    text: str
    holds: bool
    computed: str


def claims(tables: Tables, language: str = "en") -> list[Claim]:
    """All statements, in the order of the paper."""
    return [_claim(words, tables, language) for words in _words()["claims"]]


def beyond_the_tables(language: str = "en") -> list[dict[str, str]]:
    """Statements that the tables cannot decide: `section`, `text`, `why`."""
    return [
        {"section": words["section"], "text": words["text"][language], "why": words["why"][language]}
        for words in _words()["beyond"]
    ]


def as_object(tables: Tables, language: str) -> dict[str, Any]:
    """All that is computed from the tables, as JSON values."""
    found = summary(tables) | {"claims": [asdict(claim) for claim in claims(tables, language)]}
    return found | {"beyond_the_tables": beyond_the_tables(language)}


def _words() -> dict[str, Any]:
    return yaml.safe_load(WORDS.read_text(encoding="utf-8"))


def _claim(words: dict[str, Any], tables: Tables, language: str) -> Claim:
    finding = CHECKS[words["id"]](tables)
    text = words["text"][language]
    return Claim(
        words["id"], words["section"], text, finding.holds, fill(words["computed"][language], finding.values, language)
    )
