"""Masking of personal data: what is found is replaced by the name of its kind, and counted."""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from ...core.errors import check_known
from .personal import KINDS, Finding, find_personal

ALL = "all"
MASKS = {
    "email": "[EMAIL]",
    "telephone": "[TELEPHONE]",
    "nir": "[NIR]",
    "rpps": "[RPPS]",
    "iban": "[IBAN]",
    "address": "[ADRESSE]",
}


def kinds_to_mask(names: Sequence[str], option: str = "--mask") -> tuple[str, ...]:
    """The kinds of some names, in the order of KINDS, each once.

    Raises:
        UserError: there is no such kind.
    """
    for name in names:
        check_known(name, (*KINDS, ALL), "kind of personal data", option)
    return tuple(kind for kind in KINDS if kind in names or ALL in names)


def mask(text: str, kinds: Collection[str], changes: Counter[str]) -> str:
    """A text with the name of its kind in place of whatever looks personal.

    Args:
        text: the text.
        kinds: what is masked, of KINDS.
        changes: counts, added to: `masked_KIND`.
    """
    whole = text.encode()
    parts, end = [], 0
    for finding in findings_in(whole):
        if finding.kind in kinds and finding.begin >= end:
            parts += [whole[end : finding.begin], MASKS[finding.kind].encode()]
            end = finding.end
            changes[f"masked_{finding.kind}"] += 1
    return b"".join([*parts, whole[end:]]).decode()


def findings_in(text: bytes) -> list[Finding]:
    """Personal data in one text, in its order; of two that begin alike the longer first."""
    findings = find_personal(np.frombuffer(text, np.uint8), np.array([0, len(text)]))
    return sorted(findings, key=lambda finding: (finding.begin, -finding.end))
