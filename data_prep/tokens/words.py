"""Where Qwen3's pre-tokenizer cuts text into words, for texts too long to hand it whole.

WORD_PATTERN never looks back, and looks ahead only past white space. So there are places where a word ends whatever
stands further on, and where the text before and the text after are cut alike by themselves: after a run of letters;
after a digit, which is a word by itself; before a digit that follows a sign; between a sign and a blank; after a line's
end that no white space follows. A text without any such border is a few words at most, and `word_end` finds them.

Characters are told apart by Python's Unicode. Where it knows a character, it agrees with the tokenizer's, which may be
newer; next to characters it does not know, nothing is cut.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from tokenizers.normalizers import NFC

LINE_ENDS = "\r\n"
WHITE_SPACE = LINE_ENDS + "\t\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space of Unicode, as a set of a regular expression: Python's `\\s` holds four control characters more."""
CHUNK_BYTES = 2**16
"""Bytes of a long text that are looked at together."""
CONTRACTION = re.compile("'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
NEWLINES = re.compile(f"[{LINE_ENDS}]*")
OTHER_PLANES = "\U00010000-\U0010ffff"
JAMO = range(0x1160, 0x1200)
"""Vowels and finals of Korean, which are letters that compose with what precedes them."""


@dataclass(frozen=True)
class _Patterns:
    """Expressions over sets of all of Unicode.

    Attributes:
        border: a place where a word ends whatever stands further on.
        letters, signs, blanks: the run of such characters that a text begins with; a sign is neither a letter, number
            or white space.
        unknown: a character that is not assigned in Python's Unicode.
    """

    border: re.Pattern[str]
    letters: re.Pattern[str]
    signs: re.Pattern[str]
    blanks: re.Pattern[str]
    unknown: re.Pattern[str]


@dataclass(frozen=True)
class _Set:
    """Characters as ranges of a regular expression, those of the basic plane apart.

    Python looks those up in a table, and compares a character with one range of the others after the other.
    """

    basic: str
    others: str

    @property
    def ahead(self) -> str:
        """An expression: one of these characters follows."""
        return f"(?:(?=[{self.basic}])|(?=[{OTHER_PLANES}])(?=[{self.others}]))"

    @property
    def behind(self) -> str:
        """An expression: one of these characters precedes."""
        return f"(?:(?<=[{self.basic}])|(?<=[{OTHER_PLANES}])(?<=[{self.others}]))"

    @property
    def run(self) -> str:
        """An expression of any number of these characters."""
        return f"(?:[{self.basic}]++|(?=[{OTHER_PLANES}])[{self.others}]++)*+"


@cache
def _patterns() -> _Patterns:
    """Built when first asked for: going through all of Unicode takes half a second."""
    ranges: dict[str, list[range]] = {kind: [] for kind in "LNOSU"}
    blank = re.compile(f"[{WHITE_SPACE}]")
    for plane in (range(0x10000), range(0x10000, 0x110000)):
        for kind, run in groupby(plane, lambda point: _kind(chr(point), blank)):
            points = list(run)
            ranges[kind].append(range(points[0], points[-1] + 1))
    letter, number, sign, unknown = (_set(ranges[kind]) for kind in "LNOU")
    inner = f"[{WHITE_SPACE.replace(LINE_ENDS, '')}]"
    return _Patterns(
        border=re.compile(
            f"{letter.behind}(?:(?=[{WHITE_SPACE}])|{sign.ahead}|{number.ahead})"
            f"|{number.behind}(?:(?=[{WHITE_SPACE}])|{sign.ahead}|{number.ahead}|{letter.ahead})"
            f"|{sign.behind}(?:(?={inner})|{number.ahead})"
            f"|(?<=[{LINE_ENDS}])(?:{letter.ahead}|{sign.ahead}|{number.ahead})"
        ),
        letters=re.compile(letter.run),
        signs=re.compile(sign.run),
        blanks=re.compile(f"[{WHITE_SPACE}]*+"),
        unknown=re.compile(f"{unknown.ahead}"),
    )


def _set(ranges: list[range]) -> _Set:
    basic = (run for run in ranges if run[0] < 0x10000)
    others = (run for run in ranges if run[0] >= 0x10000)
    return _Set(*("".join(f"\\U{run[0]:08x}-\\U{run[-1]:08x}" for run in part) for part in (basic, others)))


def _kind(character: str, blank: re.Pattern[str]) -> str:
    """L for a letter, N for a number, U for what is not assigned, S for white space, O for any other."""
    category = unicodedata.category(character)
    if category in ("Cn", "Cs"):
        return "U"
    if category[0] in "LN":
        return category[0]
    return "S" if blank.match(character) else "O"


def last_border(text: str) -> int:
    """The last place within a text where a word certainly ends; 0 where there is none.

    Args:
        text: in NFC, begins with a word.
    """
    for start in (max(1, len(text) - 1000), 1):
        last = 0
        for match in _patterns().border.finditer(text, start):
            last = match.start()
        if last:
            return last
    return 0


def word_end(text: memoryview, begin: int) -> int:
    """The byte where the word ends that begins at a byte of a text.

    Args:
        text: UTF-8 in NFC, without unknown characters.
        begin: a byte where a word begins, before the text's end.
    """
    patterns = _patterns()
    head = decode(text, begin, 16)
    first = len(head[0].encode())
    if contraction := CONTRACTION.match(head):
        return begin + len(contraction[0].encode())
    letter, number = head[0].isalpha(), unicodedata.category(head[0])[0] == "N"
    letters = begin if letter or number or head[0] in LINE_ENDS else begin + first
    if (end := _run_end(text, letters, patterns.letters)) > letters:
        return end
    if number:
        return begin + first
    signs = begin + (head[0] == " ")
    if (end := _run_end(text, signs, patterns.signs)) > signs:
        return _run_end(text, end, NEWLINES)
    end = _run_end(text, begin, patterns.blanks)
    if newline := _last_newline(text, begin, end):
        return newline
    # The last blank goes with what follows it, but where it is the only one.
    last = decode(text[begin:end], max(0, end - begin - 3), 3)[-1]
    return end if end == len(text) or end - begin == len(last.encode()) else end - len(last.encode())


def _run_end(text: memoryview, begin: int, run: re.Pattern[str]) -> int:
    """The byte where a run of characters ends that begins at a byte, if it does."""
    while begin < len(text):
        chunk = decode(text, begin, CHUNK_BYTES)
        match = run.match(chunk)
        size = match.end() if match else 0
        begin += len(chunk[:size].encode())
        if size < len(chunk):
            break
    return begin


def _last_newline(text: memoryview, begin: int, end: int) -> int:
    """The byte after the last end of a line between two bytes; 0 where there is none."""
    for stop in range(end, begin, -CHUNK_BYTES):
        start = max(begin, stop - CHUNK_BYTES)
        chunk = bytes(text[start:stop])
        if (last := max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))) >= 0:
            return start + last + 1
    return 0


def decode(text: memoryview, begin: int, size: int) -> str:
    """The characters of a number of bytes, without one that ends after them or began before."""
    return bytes(text[begin : begin + size]).decode("utf-8", "ignore")


def holds_unknown(text: memoryview) -> bool:
    """Whether a text holds a character that Python's Unicode does not know."""
    begin = 0
    while begin < len(text):
        chunk = decode(text, begin, CHUNK_BYTES)
        if _patterns().unknown.search(chunk):
            return True
        begin += len(chunk.encode())
    return False


def compose(text: memoryview) -> memoryview:
    """A text in NFC; the text itself where it is.

    It is composed a stretch at a time, each beginning with a character that composes with nothing before it, or within
    a long run of marks. The tokenizer's own composition has an older Unicode than Python's: it leaves the order of the
    newest marks as it is.
    """
    composed, begin, length, changed, alike = bytearray(), 0, CHUNK_BYTES, False, 0
    while begin < len(text):
        chunk = decode(text, begin, length)
        if alike < begin + length < len(text):
            start = _last_start(chunk)
            if not start and alike <= begin:
                alike = _marks_alike(text, begin)
            if not start and alike < begin + length:
                length *= 2
                continue
            chunk = chunk[: start or None]
        size = len(chunk.encode())
        if not changed and not unicodedata.is_normalized("NFC", chunk):
            composed, changed = bytearray(text[:begin]), True
        if changed:
            composed += NFC().normalize_str(chunk).encode()
        begin, length = begin + size, CHUNK_BYTES
    return memoryview(composed) if changed else text


def _marks_alike(text: memoryview, begin: int) -> int:
    """The byte where a run of marks of one combining class ends; 0 where there is none that may be cut anywhere.

    Such marks keep their order, and past the first few of them none composes with what stands before the run. A mark
    of another class, after them or within the letter before them, might change places with all of them.

    Args:
        text: UTF-8.
        begin: the byte of the character before the run, or of one of its marks.
    """
    before = decode(text, begin, 4)[0]
    end, run = begin + len(before.encode()), set[int]()
    while end < len(text) and len(run) < 2:
        chunk = decode(text, end, CHUNK_BYTES)
        classes = [unicodedata.combining(character) for character in chunk]
        run.add(classes[0])
        size = next((place for place, other in enumerate(classes) if other != classes[0]), len(chunk))
        end += len(chunk[:size].encode())
        if size < len(chunk):
            follows = unicodedata.normalize("NFD", chunk[size])[0]
            if unicodedata.combining(follows) or unicodedata.category(follows) == "Cn":  # a mark elsewhere, perhaps
                return 0
            break
    inner = set(map(unicodedata.combining, unicodedata.normalize("NFD", before))) - {0}
    return end if len(run) == 1 and 0 not in run and inner <= run else 0


def _last_start(text: str) -> int:
    """The last place in a text before a character that composes with nothing before it; 0 where there is none."""
    for place in range(len(text) - 1, 0, -1):
        category = unicodedata.category(text[place])
        if category[0] != "M" and category != "Cn" and ord(text[place]) not in JAMO:
            return place
    return 0
