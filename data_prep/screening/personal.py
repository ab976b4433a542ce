"""Search for what looks like a person's data, by form.

E-mail addresses, telephone numbers, social security (NIR), professionals' (RPPS) and bank account (IBAN) numbers, and
postal addresses. Only where ten digits stand close together, or five alone, is a text looked at more closely, so that
the rest costs next to nothing.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .language import Bytes, Offsets

KINDS = ("email", "telephone", "nir", "rpps", "iban", "address")
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
IBAN = rb"(?<=F)(?<![0-9A-Za-z].)R[0-9]{2}(?:%(gap)s?[0-9A-Z]{4}){5}%(gap)s?[0-9A-Z]{3}(?![0-9A-Za-z])" % {b"gap": GAP}
NUMBER = re.compile(
    rb"[0-9+FMPRTfmprt](?:(?P<iban>%s)|(?P<nir>%s)|(?P<telephone>%s)|(?P<rpps>%s))" % (IBAN, NIR, TELEPHONE, RPPS),
    re.DOTALL,
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
USER_BYTES, DOMAIN_BYTES = 64, 255
USER_NAME = re.compile(r"[\w%+\-.]+\Z")
DOMAIN = re.compile(rb"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")


STREET_BYTES, TOWN_BYTES = 120, 60
"""Bytes before a postcode that hold the street, and after it the town."""
STREET = re.compile(
    r"(?<![\d.,/])\d{1,4}(?: ?(?:bis|ter|quater|[A-D]))?,?[ \u00a0]{1,2}"
    r"(?i:rue|avenue|av\.|boulevard|bd|bld|chemin|impasse|allées?|place|quai|route|cours|square|passage|sentier|résidence"
    r"|lotissement|faubourg|villa|cité|montée|esplanade|rond-point|venelle|voie)\b"
    r"[^\n;:!?]{2,80}[ ,\-\u00a0\n]{1,4}\Z"
)
"""A number, a kind of street and its name, up to where the postcode begins, on the same line or the next."""
TOWN = re.compile(
    r"[ \u00a0]{1,2}[A-ZÀ-Ý][\w'’]*"
    r"(?:[ \-](?:[A-ZÀ-Ý][\w'’]*|\d{1,2}\b|(?:lès|sur|sous|en|de|des|du|la|le|les|aux?|et)\b|(?i:cedex)\b))*"
)
POSTCODE = 5
NIR_DIGITS = 15
"""Digits and letters of a NIR that has its key."""


class Finding(NamedTuple):
    """Something that looks personal.

    Attributes:
        document: number of its text.
        kind: one of KINDS.
        begin: its first byte, of those of all texts.
        end: the byte after its last.
    """

    document: int
    kind: str
    begin: int
    end: int


class Runs(NamedTuple):
    """Place of the first and of the last digit, and number of digits, of each run of digits of a document.

    In a run no digit is further from the next than APART bytes.
    """

    first: Offsets
    last: Offsets
    counts: Offsets


def find_personal(values: Bytes, offsets: Offsets) -> Iterator[Finding]:
    """Find personal data in some texts, kind after kind.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].
    """
    yield from _emails(values, offsets)
    view, runs = memoryview(values), _runs_of_digits(values, offsets)
    for document, start, stop in _close_digits(runs, offsets):
        for match in NUMBER.finditer(view[start:stop]):
            kind = match.lastgroup if match.lastgroup in KINDS else "telephone"
            begin = start + match.start() + (0 if kind == "iban" else _before_digits(match[0]))
            if _has_key(str(kind), bytes(view[begin : start + match.end()])):
                yield Finding(document, str(kind), begin, start + match.end())
    yield from _addresses(values, offsets, runs)


def _before_digits(match: bytes) -> int:
    """Bytes of a match before the number itself: a word for a telephone."""
    return next(place for place, byte in enumerate(match) if byte == ord("+") or 48 <= byte < 58)


def _has_key(kind: str, number: bytes) -> bool:
    """Whether the key within a number of a kind is right; numbers that have none are as they should be."""
    text = re.sub(rb"[^0-9A-Za-z]", b"", number).decode().upper()
    if kind == "iban":
        return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1
    if kind == "nir" and len(text) == NIR_DIGITS:
        whole = int(text[:-2].replace("2A", "19", 1).replace("2B", "18", 1) if text[5:7] in ("2A", "2B") else text[:-2])
        return 97 - whole % 97 == int(text[-2:])
    return True


def _emails(values: Bytes, offsets: Offsets) -> Iterator[Finding]:
    at = np.flatnonzero(values == ord("@"))
    document = np.searchsorted(offsets, at, side="right") - 1
    named = (at > offsets[document]) & USER[values[at - 1]]
    at, document = at[named], document[named]
    first = np.maximum(at - USER_BYTES, offsets[document])
    stop = np.minimum(at + 1 + DOMAIN_BYTES, offsets[document + 1])
    view = memoryview(values)
    for number, begin, place, end in zip(document.tolist(), first.tolist(), at.tolist(), stop.tolist(), strict=True):
        domain = DOMAIN.match(view, place + 1, end)
        user = USER_NAME.search(_text(view[begin:place]))
        if domain and user:
            yield Finding(number, "email", place - len(user[0].encode()), domain.end())


def _text(part: memoryview) -> str:
    """The characters of some bytes, but for one that began before."""
    return bytes(part).decode("utf-8", "ignore")


def _addresses(values: Bytes, offsets: Offsets, runs: Runs) -> Iterator[Finding]:
    """Postal addresses: five digits alone that a street stands before and a town after."""
    alone = (runs.counts == POSTCODE) & (runs.last - runs.first == POSTCODE - 1)
    first = runs.first[alone]
    document = np.searchsorted(offsets, first, side="right") - 1
    start = np.maximum(first - STREET_BYTES, offsets[document])
    stop = np.minimum(first + POSTCODE + TOWN_BYTES, offsets[document + 1])
    view = memoryview(values)
    for number, begin, place, end in zip(document.tolist(), start.tolist(), first.tolist(), stop.tolist(), strict=True):
        street, town = STREET.search(_text(view[begin:place])), TOWN.match(_text(view[place + POSTCODE : end]))
        if street and town:
            yield Finding(number, "address", place - len(street[0].encode()), place + POSTCODE + len(town[0].encode()))


def _close_digits(runs: Runs, offsets: Offsets) -> Iterator[tuple[int, int, int]]:
    """Document, start and stop of the stretches that may hold a number."""
    first, last = runs.first[runs.counts >= DIGITS], runs.last[runs.counts >= DIGITS]
    if not len(first):
        return
    document = np.searchsorted(offsets, first, side="right") - 1
    start = np.maximum(first - BEFORE_BYTES, offsets[document])
    stop = np.minimum(last + 1 + AFTER_BYTES, offsets[document + 1])
    apart = np.flatnonzero((start[1:] > stop[:-1]) | (document[1:] != document[:-1])) + 1
    for begin, end in pairwise([0, *apart.tolist(), len(start)]):
        yield int(document[begin]), int(start[begin]), int(stop[end - 1])


def _runs_of_digits(values: Bytes, offsets: Offsets) -> Runs:
    """All runs of digits.

    They are looked for a block at a time: places take eight times as much memory as a text that is all digits.
    """
    runs = [
        _runs_of_block(values[begin : begin + BLOCK_BYTES], begin, offsets)
        for begin in range(0, len(values) or 1, BLOCK_BYTES)
    ]
    first, last, counts = (np.concatenate([np.empty(0, np.int64), *parts]) for parts in zip(*runs, strict=True))
    if not len(first):
        return Runs(first, last, counts)
    document = np.searchsorted(offsets, first, side="right")
    begins = np.ones(len(first), bool)  # all but what goes on from one block to the next
    begins[1:] = (first[1:] - last[:-1] > APART) | (document[1:] != document[:-1])
    at = np.flatnonzero(begins)
    return Runs(first[at], last[np.append(at[1:], len(last)) - 1], np.add.reduceat(counts, at))


def _runs_of_block(block: Bytes, begin: int, offsets: Offsets) -> Runs:
    """See `_runs_of_digits`; of one block, which begins at a byte of the texts."""
    digits = np.flatnonzero((block - np.uint8(ord("0"))) < 10) + begin
    ends = np.ones(len(digits), bool)
    np.greater(np.diff(digits), APART, out=ends[:-1])
    borders = offsets[np.searchsorted(offsets, begin, side="right") : np.searchsorted(offsets, begin + len(block))]
    before = np.searchsorted(digits, borders) - 1
    ends[before[before >= 0]] = True
    last = np.flatnonzero(ends)
    counts = np.diff(last, prepend=-1)
    return Runs(digits[last - counts + 1], digits[last], counts)
