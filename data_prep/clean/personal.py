"""Search for what looks like a person's data, by form: e-mail, telephone, social security and professionals' numbers.

Only where ten digits stand close together is a text looked at more closely, so that the rest costs next to nothing.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .language import Bytes, Offsets

KINDS = ("email", "telephone", "nir", "rpps")
GAP = rb"(?:[ .\-/]|\xc2\xa0|\xe2\x80\xaf|\xe2\x80\x91)"
"""Separators of groups of digits: a blank, a no-break one, a point, a hyphen, a slash."""
BEFORE = rb"(?<![0-9].)(?<![0-9][.,].)"
"""Characters that do not stand before the character that a number begins with."""
TELEPHONE = (
    # +33 6 12 34 56 78, also with (0), and the overseas departments; then 06 12 34 56 78 with one kind of gap, or none;
    # then, after a word for telephone, any grouping.
    rb"(?:(?<=\+)|(?<=\b0)0)(?:33|26[29]|59[046])%(gap)s?(?:\(0\))?%(gap)s?[1-9](?:%(gap)s?[0-9]){8}(?![0-9])"
    rb"|(?<=0)%(before)s[1-9](?P<same>%(gap)s?)[0-9]{2}(?:(?P=same)[0-9]{2}){3}(?![0-9])"
    rb"|(?i:(?<=t)(?:e|\xc3\xa9|\xc3\x89)l|(?<=f)ax|(?<=p)ortable|(?<=m)obile)"
    rb"[^0-9+\n]{0,20}(?<![0-9])0(?:%(gap)s?[0-9]){9}(?![0-9])"
) % {b"gap": GAP, b"before": BEFORE}
NIR = (
    # Sex, year, month (or 20 and more), department (2A, 2B), commune, order, key; without the key where all gaps are.
    rb"(?<=[1-478])%(before)s(?:"
    rb"%(gap)s?[0-9]{2}%(gap)s?(?:0[1-9]|1[0-2]|[2-9][0-9])%(gap)s?(?:[0-9]{2}|2[ABab])%(gap)s?[0-9]{3}"
    rb"%(gap)s?[0-9]{3}%(gap)s?[0-9]{2}(?![0-9])"
    rb"|%(gap)s[0-9]{2}%(gap)s(?:0[1-9]|1[0-2]|[2-9][0-9])%(gap)s(?:[0-9]{2}|2[ABab])%(gap)s[0-9]{3}"
    rb"%(gap)s[0-9]{3}(?![0-9]))"
) % {b"gap": GAP, b"before": BEFORE}
RPPS = (rb"(?<=[0-9])%(before)s[0-9]{10}(?![0-9])|(?i:(?<=r)pps)[^0-9\n]{0,20}[0-9](?:%(gap)s?[0-9]){10}(?![0-9])") % {
    b"gap": GAP,
    b"before": BEFORE,
}
NUMBER = re.compile(
    rb"[0-9+FMPRTfmprt](?:(?P<nir>%s)|(?P<telephone>%s)|(?P<rpps>%s))" % (NIR, TELEPHONE, RPPS), re.DOTALL
)
"""Each kind looks back at its first character: that all begin with one of a set lets the others be skipped, which is
four times as fast."""
DIGITS, APART = 10, 5
"""So many digits, none further from the next than APART bytes, may be a number of these: a gap has up to three, and
`(0)6` and `2A 3` put two more between."""
BEFORE_BYTES, AFTER_BYTES = 32, 8
"""Bytes around them that are looked at, too: a word for a telephone and what may follow it; whether a digit follows."""
BLOCK_BYTES = 2**18
USER = np.zeros(256, bool)
USER[[*b"%+-._", *range(ord("0"), ord("9") + 1), *range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1)]] = True
USER[0x80:] = True
"""Bytes that an address may have before the @."""
DOMAIN_BYTES = 255
DOMAIN = re.compile(rb"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")


def personal(values: Bytes, offsets: Offsets) -> Iterator[tuple[int, str]]:
    """Find personal data in some texts.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].

    Yields:
        Number of the document, one of KINDS; once for each occurrence.
    """
    yield from _emails(values, offsets)
    view = memoryview(values)
    for document, start, stop in _close_digits(values, offsets):
        for match in NUMBER.finditer(view[start:stop]):
            kind = match.lastgroup if match.lastgroup in KINDS else "telephone"
            yield document, str(kind)


def _emails(values: Bytes, offsets: Offsets) -> list[tuple[int, str]]:
    at = np.flatnonzero(values == ord("@"))
    document = np.searchsorted(offsets, at, side="right") - 1
    named = (at > offsets[document]) & USER[values[at - 1]]
    at, document = at[named], document[named]
    stop = np.minimum(at + 1 + DOMAIN_BYTES, offsets[document + 1])
    places = zip(document.tolist(), (at + 1).tolist(), stop.tolist(), strict=True)
    is_domain, view = DOMAIN.match, memoryview(values)
    return [(number, "email") for number, begin, end in places if is_domain(view, begin, end)]


def _close_digits(values: Bytes, offsets: Offsets) -> Iterator[tuple[int, int, int]]:
    """Document, start and stop of the stretches that may hold a number."""
    first, last, counts = _runs_of_digits(values, offsets)
    first, last = first[counts >= DIGITS], last[counts >= DIGITS]
    if not len(first):
        return
    document = np.searchsorted(offsets, first, side="right") - 1
    start = np.maximum(first - BEFORE_BYTES, offsets[document])
    stop = np.minimum(last + 1 + AFTER_BYTES, offsets[document + 1])
    apart = np.flatnonzero((start[1:] > stop[:-1]) | (document[1:] != document[:-1])) + 1
    for begin, end in pairwise([0, *apart.tolist(), len(start)]):
        yield int(document[begin]), int(start[begin]), int(stop[end - 1])


def _runs_of_digits(values: Bytes, offsets: Offsets) -> tuple[Offsets, Offsets, Offsets]:
    """Place of the first and of the last digit, and number of digits, of each run of digits of a document.

    In a run no digit is further from the next than APART bytes. Digits are looked for a block at a time, since their
    places take eight times as much memory as a text that is all digits.
    """
    runs = [
        _runs_of_block(values[begin : begin + BLOCK_BYTES], begin, offsets)
        for begin in range(0, len(values) or 1, BLOCK_BYTES)
    ]
    first, last, counts = (np.concatenate([np.empty(0, np.int64), *parts]) for parts in zip(*runs, strict=True))
    if not len(first):
        return first, last, counts
    document = np.searchsorted(offsets, first, side="right")
    begins = np.ones(len(first), bool)  # all but what goes on from one block to the next
    begins[1:] = (first[1:] - last[:-1] > APART) | (document[1:] != document[:-1])
    at = np.flatnonzero(begins)
    return first[at], last[np.append(at[1:], len(last)) - 1], np.add.reduceat(counts, at)


def _runs_of_block(block: Bytes, begin: int, offsets: Offsets) -> tuple[Offsets, Offsets, Offsets]:
    """See `_runs_of_digits`; of one block, which begins at a byte of the texts."""
    digits = np.flatnonzero((block - np.uint8(ord("0"))) < 10) + begin
    ends = np.ones(len(digits), bool)
    np.greater(np.diff(digits), APART, out=ends[:-1])
    borders = offsets[np.searchsorted(offsets, begin, side="right") : np.searchsorted(offsets, begin + len(block))]
    before = np.searchsorted(digits, borders) - 1
    ends[before[before >= 0]] = True
    last = np.flatnonzero(ends)
    counts = np.diff(last, prepend=-1)
    return digits[last - counts + 1], digits[last], counts
