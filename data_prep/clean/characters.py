"""Normalisation of characters and line ends that alters no number, sign, unit or column, and counts each change.

Unicode's NFC replaces a few characters by ones that look and mean the same (the ohm sign by the letter omega, the
angstrom sign by A with a ring); superscripts, µ, the minus sign and every hyphen and dash stay. Qwen3's tokenizer does
NFC itself, so the model reads the same either way.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

NO_BREAK = "\u00a0\u202f"
"""The spaces of French typography, in « 1 000 mg » and before « : ; ! ? »."""
BLANK = f"[ {NO_BREAK}]"
C1 = "\x80-\x9f"
LINE_BREAKS = "\n\r\v\f\x1c-\x1e\u2028\u2029"
MARKS = (
    "\x00-\x08\x0e-\x1b\x7f\x81\x8d\x8f\x90\x9d\xad"
    "\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff"
)
"""Controls, bytes that Windows-1252 leaves undefined, lone surrogates, and the formatting marks that show nothing: soft
hyphen, zero-width spaces and joiners, direction marks, byte order mark. Unicode's class Cf as a whole would not do: it
holds visible Arabic signs."""
OTHER_BLANKS = "\u1680\u2000-\u200a\u205f\u3000"
SOFT_HYPHEN = "\xad"
NEAR = 80
"""Characters around a soft hyphen in which a digit is looked for."""

ORDINARY = re.compile(
    "[\\t\\n -~\u00a0-\u00ac\u00ae-\u02ff\u0391-\u03ce"
    "\u2010-\u2027\u2030-\u205e\u2070-\u209c\u20a0-\u20bf\u2190-\u22ff]*"
)
"""Texts that `normalise` leaves as they are: without marks, controls, ligatures and combining accents."""
RARE = re.compile(f"[\r\v\f\x1c-\x1f{C1}\u2028\u2029{MARKS}{OTHER_BLANKS}]")
"""Characters that a clean text does not contain."""
WINDOWS_1252 = {chr(code): bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
"""C1 character -> the character of that byte in Windows-1252, which is what was read as Latin-1."""
MISREAD = re.compile("[" + "".join(raw for raw, meant in WINDOWS_1252.items() if meant) + "]")
NEXT_LINE = "\x85"
LINE_END = re.compile("(?<!\r)\r+\n|[\r\x1c-\x1e\u2029]")
SOFT_LINE_END = re.compile("[\v\f\u2028]")
TABLE_ROW = re.compile(f"\t|{BLANK}{{2}}")
LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
LIGATURE = re.compile("[ﬀ-ﬆ]")
MARK_RUN = re.compile(f"[{MARKS}]+")
OTHER_BLANK = re.compile(f"[{OTHER_BLANKS}]")
LOWER = "a-zß-öø-ÿœ"
"""Lower-case letters of French and its neighbours, for a class of an expression."""
LETTER_BEFORE = re.compile(f"[{LOWER}]")
LETTER_AFTER = re.compile(f"[ \t{NO_BREAK}]*\n[ \t{NO_BREAK}]*[{LOWER}]")
TRAILING = re.compile(f"(?<!{BLANK}){BLANK}+(?=\n)")
BEFORE = re.compile(f"(?:{BLANK}*\n)+")
AFTER = re.compile(f"(?<![\n {NO_BREAK}])[\n {NO_BREAK}]+\\Z")


def normalise(text: str, changes: Counter[str]) -> str:
    """Restore the characters that are meant, and apply Unicode's NFC.

    `restore_characters`, then the letters that a ligature joins (œ and æ are letters, and stay), then NFC.

    Args:
        text: the text.
        changes: counts by kind, added to: characters that are replaced or removed; of `nfc`, texts.
    """
    if ORDINARY.fullmatch(text):
        return text
    text = restore_characters(text, changes)
    return compose(_count(LIGATURE, lambda match: LIGATURES[match.group()], text, changes, kind="ligatures"), changes)


def restore_characters(text: str, changes: Counter[str]) -> str:
    """Repair characters and line ends that a wrong encoding, a page layout or a program has damaged.

    Every line break is `\\n`. C1 characters become what Windows-1252 means by them. A soft hyphen beside a digit is the
    hyphen that was printed, one that ends a line between two letters stays for `join_hyphenated`, and elsewhere it
    goes; other controls and invisible marks become a blank between two digits, and go elsewhere. Tabs, runs of blanks,
    indentation and empty lines stay, since they are a table's columns and rows.

    Args:
        text: the text.
        changes: counts by kind, added to: characters that are replaced or removed.
    """
    return _replace_rare(text, changes) if RARE.search(text) else text


def compose(text: str, changes: Counter[str]) -> str:
    """Unicode's NFC, counted by text."""
    if unicodedata.is_normalized("NFC", text):
        return text
    changes["nfc"] += 1
    return unicodedata.normalize("NFC", text)


def trim_lines(text: str, changes: Counter[str]) -> str:
    """The text without blanks before line ends; tabs stay, since a table's last cells may be empty."""
    if " \n" in text or "\u00a0\n" in text or "\u202f\n" in text:
        return _count(TRAILING, "", text, changes, kind="trailing_blanks")
    return text


def _replace_rare(text: str, changes: Counter[str]) -> str:
    """The text with none of the characters of RARE."""
    if NEXT_LINE in text and _ends_lines(text):
        text = _count(re.compile(NEXT_LINE), "\n", text, changes, kind="line_ends")
    text = _count(MISREAD, lambda match: WINDOWS_1252[match.group()], text, changes, kind="windows_1252")
    text = _count(LINE_END, "\n", text, changes, kind="line_ends")
    if SOFT_LINE_END.search(text):
        text = "\n".join(_soft_line_ends(line, changes) for line in text.split("\n"))
    text = MARK_RUN.sub(lambda run: _mark(run, changes), text)
    text = _count(re.compile("\x1f"), "\t", text, changes, kind="unit_separators")
    return _count(OTHER_BLANK, " ", text, changes, kind="other_blanks")


def _count(
    pattern: re.Pattern[str], by: str | Callable[[re.Match[str]], str], text: str, changes: Counter[str], *, kind: str
) -> str:
    """Replace, and count the characters that are replaced."""
    size = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal size
        size += len(match.group())
        return by if isinstance(by, str) else by(match)

    text = pattern.sub(replace, text)
    if size:
        changes[kind] += size
    return text


def _ends_lines(text: str) -> bool:
    """Whether U+0085 ends lines, as in text from a mainframe, and is not the ellipsis of Windows-1252.

    It does where the text has several, no other line break, no other C1 character, and goes on after each with a
    word: an ellipsis is followed by a blank or a sign sooner or later.
    """
    others = re.search(f"[{LINE_BREAKS}\x80-\x84\x86-\x9f]", text)
    return (
        text.count(NEXT_LINE) > 1
        and not others
        and not re.search(rf"\d{NEXT_LINE}\d|{NEXT_LINE}[^\w{NEXT_LINE}]", text)
    )


def _soft_line_ends(line: str, changes: Counter[str]) -> str:
    """A line whose form feeds, vertical tabs and line separators are line breaks, and in a row of a table blanks.

    At the ends of a line, where a page ends, they go.
    """
    inner = line.strip("\v\f\u2028")
    if len(line) > len(inner):
        changes["page_breaks"] += len(line) - len(inner)
    kind, by = ("soft_breaks_in_rows", " ") if TABLE_ROW.search(inner) else ("line_ends", "\n")
    return _count(SOFT_LINE_END, by, inner, changes, kind=kind)


def _mark(run: re.Match[str], changes: Counter[str]) -> str:
    """The hyphen, the blank or the nothing that stands for a run of invisible marks."""
    before, after = run.string[max(0, run.start() - 1) : run.start()], run.string[run.end() : run.end() + 1]
    marks = run.group()
    if marks == SOFT_HYPHEN and _ends_line(run):
        return SOFT_HYPHEN
    hyphens = marks.count(SOFT_HYPHEN)
    others = len(marks) - hyphens
    if hyphens and _printed(run, before, after):
        by, hyphen_kind, other_kind = "-", "soft_hyphens_kept", "marks_removed"
    elif before.isnumeric() and after.isnumeric():
        by, hyphen_kind, other_kind = " ", "", "marks_to_blanks"
    else:
        by, hyphen_kind, other_kind = "", "soft_hyphens_removed", "marks_removed"
    changes.update({kind: count for kind, count in ((hyphen_kind, hyphens), (other_kind, others)) if count})
    return by


def _ends_line(run: re.Match[str]) -> bool:
    """Whether a mark stands between two lower-case letters, of which the second begins the next line."""
    return bool(LETTER_BEFORE.match(run.string, run.start() - 1) and LETTER_AFTER.match(run.string, run.end()))


def _printed(run: re.Match[str], before: str, after: str) -> bool:
    """Whether a soft hyphen was printed: beside a digit, over a line end too, or between blanks and a digit near."""
    if before.isnumeric() or after.isnumeric():
        return True
    alone = not before.strip()
    following = run.string[run.end() : run.end() + NEAR].lstrip(f" \t{NO_BREAK}")
    if following.startswith("\n"):
        return not alone and following.lstrip(f" \t\n{NO_BREAK}")[:1].isnumeric()
    preceding = run.string[max(0, run.start() - NEAR) : run.start()].rstrip(f" \t{NO_BREAK}")
    return alone and after.isspace() and (following[:1].isnumeric() or preceding[-1:].isnumeric())


def trim_ends(text: str, changes: Counter[str]) -> str:
    """The text without empty lines and blanks at its ends; the first of several lines keeps its indentation."""
    trimmed = AFTER.sub("", text) if text[-1:] in f"\n {NO_BREAK}" else text
    if before := BEFORE.match(trimmed):
        trimmed = trimmed[before.end() :]
    if "\n" not in trimmed:
        trimmed = trimmed.lstrip(f" {NO_BREAK}")
    if trimmed.isspace():
        trimmed = ""
    if len(trimmed) < len(text):
        changes["at_the_ends"] += len(text) - len(trimmed)
    return trimmed
