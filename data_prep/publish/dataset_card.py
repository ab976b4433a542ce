"""The card of a data set, `README.md`, whose header the Hugging Face Hub reads."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ...core.log import counted
from ...core.manifest import Manifest
from .corpus_statistics import SourceStatistics, by_type
from .croissant import DESCRIPTIONS
from .hub_layout import CONFIG, SPLIT, published_schema
from .table1 import TableRow

SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")),
    *((1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M")),
)
LARGER = "10M<n<100M"
HUB_LICENCES = (
    *("apache-2.0", "cc0-1.0", "etalab-2.0", "gfdl", "mit", "odbl", "pddl"),
    *("cc-by-3.0", "cc-by-sa-3.0", "cc-by-nc-3.0", "cc-by-nc-sa-3.0"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0"),
)
"""Licences that the Hub has a name for, of those that texts are published under."""
CREDITS = "ATTRIBUTION.txt"
NOT_STATED = "not stated"


def licences_of(sources: Mapping[str, SourceStatistics]) -> list[str]:
    """The licences of a corpus, sorted; one that is not known is called so."""
    return sorted({name or NOT_STATED for each in sources.values() for name, _ in each.licences})


def header(title: str, sources: Mapping[str, SourceStatistics]) -> dict[str, Any]:
    """The card's header, as the Hub's documentation names its keys."""
    documents = sum(each.documents for each in sources.values())
    licences = licences_of(sources)
    single = licences[0].lower() if len(licences) == 1 else ""
    licence: dict[str, Any] = {"license": single}
    if single not in HUB_LICENCES:
        licence = {"license": "other", "license_name": "each-document-s-own", "license_link": CREDITS}
    data_files = [{"split": SPLIT, "path": f"{CONFIG}/{SPLIT}-*.parquet"}]
    return {
        "pretty_name": title,
        "language": ["fr"],
        **licence,
        "size_categories": [next((name for limit, name in SIZES if documents < limit), LARGER)],
        "task_categories": ["text-generation"],
        "tags": ["biology", "medical", "croissant"],
        "configs": [{"config_name": CONFIG, "default": True, "data_files": data_files}],
    }


def card(
    title: str,
    description: str,
    sources: Mapping[str, SourceStatistics],
    *,
    rows: Sequence[TableRow],
    manifest: Manifest,
) -> str:
    """The card: header, contents, licences, columns, how the texts were made, and what they must not be used for.

    Args:
        title: of the data set.
        description: a sentence or two.
        sources: name -> statistics.
        rows: of `table1`.
        manifest: the corpus's, with the versions of the packages that made it and what it counted.
    """
    yaml_header = yaml.safe_dump(header(title, sources), allow_unicode=True, sort_keys=False)
    parts = [f"---\n{yaml_header}---\n", f"# {plain(title)}\n", f"{plain(description)}\n"]
    parts += ["## Contents\n", _contents(sources), _types(sources)]
    parts += ["## Licences\n", _licences(sources)]
    parts += ["## Columns\n", _columns()]
    parts += (
        ["## Beside the paper's Table 1\n", _table1(rows)] if any(row.paper_words for row in rows if row.words) else []
    )
    parts += ["## Known limits\n", _limits(sources)]
    made = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    cleaning = MADE.format(cleaning=_cleaning(manifest.counts))
    parts += ["## How it was made\n", f"With `pdapt corpus build` and `pdapt corpus publish` ({made}). {cleaning}\n"]
    return "\n".join(parts)


KEPT = "Cleaning never changes a quantity, unit, comparison, range, formula or French letter"
MADE = (
    "{cleaning}; what it changed is counted "
    f"for each document in `changes_made`. `{CREDITS}` credits the authors, `croissant.json` describes the files, "
    "`index.html` shows the statistics."
)


def _cleaning(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """Statements about a corpus's cleaning, by its counts: the published profiles change values."""
    changed = sum(each.get("cleaning", {}).get("documents_with_changed_values", 0) for each in counts.values())
    return f"Cleaning changed quantities, units or letters in {changed:,} documents" if changed else KEPT


def _contents(sources: Mapping[str, SourceStatistics]) -> str:
    total = SourceStatistics()
    for each in sources.values():
        total.documents, total.words = total.documents + each.documents, total.words + each.words
    rows = [(name, each.documents, each.words) for name, each in sources.items()]
    return table(("source", "documents", "words"), [*rows, ("all", total.documents, total.words)])


def _types(sources: Mapping[str, SourceStatistics]) -> str:
    types = by_type(dict(sources))
    rows = [(name or NOT_STATED, each["documents"], each["words"]) for name, each in types.items()]
    return table(("document type", "documents", "words"), rows)


def _licences(sources: Mapping[str, SourceStatistics]) -> str:
    words = {True: "allowed", False: "not allowed", None: "not known"}
    rows = [
        (name, licence or NOT_STATED, words[commercial], amounts["documents"], amounts["words"])
        for name, each in sources.items()
        for (licence, commercial), amounts in sorted(each.licences.items(), key=str)
    ]
    each_own = (
        "Each document keeps its own licence, with the evidence for it and what contradicts it. "
        f"`{CREDITS}` has the credits.\n"
    )
    return each_own + "\n" + table(("source", "licence", "commercial use", "documents", "words"), rows)


def _columns() -> str:
    rows = [(f"`{each.name}`", str(each.type), DESCRIPTIONS.get(each.name, each.name)) for each in published_schema()]
    return table(("column", "type", "holds"), rows)


def _table1(rows: Sequence[TableRow]) -> str:
    cells = [(row.source, row.documents, row.paper_documents, row.words, row.paper_words) for row in rows]
    return table(("source", "documents", "in the paper", "words", "words in the paper"), cells)


def _limits(sources: Mapping[str, SourceStatistics]) -> str:
    held_out = sum(each.splits["test"] + each.splits["dev"] for each in sources.values())
    return (
        f"- {counted(held_out, 'document is', 'documents are')} of their publishers' test and development parts "
        "(`original_split`): a model that is trained on them cannot be evaluated on those.\n"
        "- Texts that sources share are counted in `index.html`; they are not removed here.\n"
        "- The texts may name persons. They are not medical advice.\n"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers stand to the right."""
    numeric = [bool(rows) and isinstance(rows[0][place], int) for place in range(len(columns))]
    lines = [columns, ["--:" if each else ":--" for each in numeric], *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(str(value))


def plain(text: str) -> str:
    """A text for Markdown on one line: signs that would begin a cell, a tag or a link are escaped."""
    return re.sub(r"([|<>\[\]\\*])", r"\\\1", " ".join(text.split()))
