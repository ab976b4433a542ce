"""Screening of texts for what looks personal, and for languages other than French."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from ...core.log import counted
from .identify import identify
from .language import FRENCH, NOT_TOLD, Bytes, Offsets, not_clearly_french
from .personal import KINDS, find_personal

FOUND = (*KINDS, "other_language")
NAMES = {
    "email": "an e-mail address",
    "telephone": "a French telephone number",
    "nir": "a French social security number (NIR)",
    "rpps": "a health professional's number (RPPS)",
    "iban": "a French bank account number (IBAN)",
    "address": "a postal address",
}
SHOWN = 5
"""Files that a message names."""

Counts = dict[str, dict[str, int]]
"""Kind -> file -> how often: occurrences of what looks personal, documents in another language; and `languages`: the
documents of each, and those whose language is unknown."""


class Screening:
    """Counts of personal data and other languages in the texts of files.

    Args:
        thorough: whether texts whose function words do not tell their language, such as short ones, are identified one
            by one. Else their language stays unknown.
    """

    def __init__(self, *, thorough: bool) -> None:
        self._thorough = thorough
        self.languages: Counter[str] = Counter()
        self._found: dict[str, Counter[str]] = defaultdict(Counter)

    def look(self, values: Bytes, offsets: Offsets, files: list[str]) -> None:
        """Look through some texts.

        Args:
            values: UTF-8 of all texts.
            offsets: where each begins, [documents + 1].
            files: the file of each, or the one file of all.
        """
        for finding in find_personal(values, offsets):
            self._found[finding.kind][files[finding.document % len(files)]] += 1
        for document, language in not_clearly_french(values, offsets):
            if self._thorough and language == NOT_TOLD:
                language = identify(values[offsets[document] : offsets[document + 1]])
            if language == FRENCH:
                continue
            self.languages[language] += 1
            if language != NOT_TOLD:
                self._found["other_language"][files[document % len(files)]] += 1

    def look_at(self, texts: Sequence[str], files: list[str]) -> None:
        """Look through texts, of the file of each."""
        parts = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
        self.look(np.frombuffer(b"".join(parts), np.uint8), offsets, files)

    @classmethod
    def of_counts(cls, counts: Counts, *, thorough: bool) -> "Screening":
        """A screening that has found these counts."""
        screening = cls(thorough=thorough)
        screening.languages.update(counts["languages"])
        for kind in FOUND:
            screening._found[kind].update(counts[kind])
        return screening

    def add(self, other: "Screening") -> None:
        """Add what another one has found."""
        self.languages.update(other.languages)
        for kind, files in other._found.items():
            self._found[kind].update(files)

    @property
    def counts(self) -> Counts:
        """For a manifest: kind -> file -> how often, of all of FOUND, and `languages`: documents of each."""
        counts = {kind: dict(sorted(self._found[kind].items())) for kind in FOUND}
        languages = sorted(self.languages.items(), key=lambda item: (-item[1], item[0]))
        return counts | {"languages": dict(languages)}


def sentences(counts: Counts) -> Iterable[str]:
    """A line for each kind that was found, with the files that have most."""
    for kind in FOUND:
        files = counts[kind]
        if not files:
            continue
        total = sum(files.values())
        if kind == "other_language":
            named = ((name, count) for name, count in counts["languages"].items() if name != NOT_TOLD)
            languages = ", ".join(f"{name} {count:,}" for name, count in named)
            what = f"{total:,} document{'s are' if total > 1 else ' is'} not in French ({languages})"
        else:
            what = f"what looks like {NAMES[kind]}, {counted(total, 'time')}"
        largest = sorted(files, key=lambda file: -files[file])[:SHOWN]
        rest = f", and {len(files) - SHOWN:,} more files" if len(files) > SHOWN else ""
        yield f"{what}: {', '.join(f'{file} {files[file]:,}' for file in largest)}{rest}"
    if untold := counts["languages"].get(NOT_TOLD):
        yield f"the language of {counted(untold, 'document')} could not be identified: too short, a list or a table"
