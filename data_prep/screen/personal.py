"""What looks like a person's data, found by form: e-mail, telephone, social security and professionals' numbers.

Only where ten digits stand close together is a text looked at more closely, so that the rest costs next to nothing.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .language import Bytes, Offsets

KINDS = ("email", "telephone", "nir", "rpps")
GAP = rb"(?:[ .\-/]|\xc2\xa0|\xe2\x80\xaf|\xe2\x80\x91)"
"""What stands between groups of digits: a blank, a no-break one, a point, a hyphen, a slash."""
BEFORE = rb"(?<![0-9])(?<![0-9][.,])"
TELEPHONE = (
    # +33 6 12 34 56 78, also with (0), and the overseas departments; then 06 12 34 56 78 with one kind of gap, or none;
    # then, after a word for telephone, any grouping.
    rb"(?:\+|\b00)(?:33|26[29]|59[046])%(gap)s?(?:\(0\))?%(gap)s?[1-9](?:%(gap)s?[0-9]){8}(?![0-9])"
    rb"|%(before)s0[1-9](?P<same>%(gap)s?)[0-9]{2}(?:(?P=same)[0-9]{2}){3}(?![0-9])"
    rb"|(?i:t(?:e|\xc3\xa9|\xc3\x89)l|fax|portable|mobile)[^0-9+\n]{0,20}(?<![0-9])0(?:%(gap)s?[0-9]){9}(?![0-9])"
) % {b"gap": GAP, b"before": BEFORE}
NIR = (
    # Sex, year, month (or 20 and more), department (2A, 2B), commune, order, key; without the key where all gaps are.
    rb"%(before)s[1-478]%(gap)s?[0-9]{2}%(gap)s?(?:0[1-9]|1[0-2]|[2-9][0-9])%(gap)s?(?:[0-9]{2}|2[ABab])%(gap)s?[0-9]{3}"
    rb"%(gap)s?[0-9]{3}%(gap)s?[0-9]{2}(?![0-9])"
    rb"|%(before)s[1-478]%(gap)s[0-9]{2}%(gap)s(?:0[1-9]|1[0-2]|[2-9][0-9])%(gap)s(?:[0-9]{2}|2[ABab])%(gap)s[0-9]{3}"
    rb"%(gap)s[0-9]{3}(?![0-9])"
) % {b"gap": GAP, b"before": BEFORE}
RPPS = rb"%(before)s[0-9]{11}(?![0-9])|(?i:rpps)[^0-9\n]{0,20}[0-9](?:%(gap)s?[0-9]){10}(?![0-9])" % {
    b"gap": GAP,
    b"before": BEFORE,
}
NUMBER = re.compile(rb"(?P<nir>%s)|(?P<telephone>%s)|(?P<rpps>%s)" % (NIR, TELEPHONE, RPPS))
DIGITS, SPAN = 10, 34
"""So many digits within so many bytes may be a number of these."""
AROUND = 48
"""Bytes before and after that are looked at, too."""
USER = re.compile(rb"[\w.%+-]$", re.ASCII)
DOMAIN = re.compile(rb"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")


def personal(values: Bytes, offsets: Offsets) -> Iterator[tuple[int, str]]:
    """What looks personal in some texts.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].

    Yields:
        Number of the document, one of KINDS; once for each occurrence.
    """
    for at in np.flatnonzero(values == ord("@")).tolist():
        document = int(np.searchsorted(offsets, at, side="right")) - 1
        before = values[max(at - 1, offsets[document]) : at].tobytes()
        after = values[at + 1 : min(at + 256, offsets[document + 1])].tobytes()
        if (USER.search(before) or before > b"\x7f") and DOMAIN.match(after):
            yield document, "email"
    for document, start, stop in _close_digits(values, offsets):
        for found in NUMBER.finditer(values[start:stop].tobytes()):
            kind = found.lastgroup if found.lastgroup in KINDS else "telephone"
            yield document, str(kind)


def _close_digits(values: Bytes, offsets: Offsets) -> Iterator[tuple[int, int, int]]:
    """Document, start and stop of the stretches that may hold a number."""
    digits = np.flatnonzero((values - np.uint8(48)) < 10)
    if len(digits) < DIGITS:
        return
    first, last = digits[: 1 - DIGITS], digits[DIGITS - 1 :]
    close = last - first < SPAN
    first, last = first[close], last[close]
    document = np.searchsorted(offsets, first, side="right") - 1
    inside = last < offsets[document + 1]
    first, last, document = first[inside], last[inside], document[inside]
    if not len(first):
        return
    start = np.maximum(first - AROUND, offsets[document])
    stop = np.minimum(last + 1 + AROUND, offsets[document + 1])
    apart = np.flatnonzero((start[1:] > stop[:-1]) | (document[1:] != document[:-1])) + 1
    for begin, end in pairwise([0, *apart.tolist(), len(start)]):
        yield int(document[begin]), int(start[begin]), int(stop[end - 1])
