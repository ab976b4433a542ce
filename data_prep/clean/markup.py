"""Removal of tags and Web addresses from a text.

A comparison (`SpO2<90%`, `a<b et c>d`) is not a tag: a tag has a name of HTML directly after its `<`, attributes with
values, and a `>`. One of a single letter is a tag only where it is closed later. Digits that a tag makes an exponent or
an index stay one: `10<sup>9</sup>` becomes `10⁹`. Tags that stand between two digits otherwise, or raise what Unicode
has no raised character for, stay.
"""

import re
from collections import Counter

BLANK = " \u00a0\u202f"
BLOCK = (
    "address|article|aside|blockquote|body|br|caption|center|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6r]"
    "|head|header|html|legend|li|main|nav|ol|option|p|pre|section|select|table|tbody|tfoot|thead|title|tr|ul"
)
"""Elements that begin a line of their own."""
CELL = "td|th"
INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|button|cite|code|col|colgroup|data|del|dfn|em|font|i|iframe|img|input|ins|kbd|label"
    "|link|mark|meta|q|s|samp|small|span|strike|strong|time|tt|u|var|wbr"
)
HIDDEN = re.compile(
    r"<!--(?:(?!-->).){0,10000}-->|<(script|style)\b[^<>]*>(?:(?!</\1\s*>).){0,100000}</\1\s*>", re.DOTALL | re.I
)
"""Comments, programs and styles, which no reader sees; bounded, so that unclosed ones take no long search each."""
TAG = re.compile(
    rf"<(?P<close>/?)(?:(?P<block>{BLOCK})|(?P<cell>{CELL})|(?P<inline>{INLINE}))"
    r"(?:\s+[a-z_:][-\w:.]*\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+)|\s+(?:checked|disabled|hidden|nowrap|selected))*"
    r"\s*/?>",
    re.I,
)
RAISED = re.compile(r"<(sup|sub)>\s*([^<>\n]{1,12}?)\s*</\1>", re.I)
SUPERSCRIPT = str.maketrans("0123456789+-−–=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁼⁽⁾ⁿ")
SUBSCRIPT = str.maketrans("0123456789+-−–=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₌₍₎")
WITHOUT_MEANING = re.compile(r"er|re|ère|ers|res|ères|e|es|ème|èmes|nd|nde|nds|ndes|o|os|®|™|©", re.I)
"""Text that is raised as a habit, not as an exponent: 1er, 2e, no, Doliprane®."""
PLAIN_PATH = r"[^\s<>\"'«»“”‘’|\\^`{}()\[\],;]"
URL = re.compile(
    rf"(?P<before>[{BLANK}]?)(?P<open>[(\[<]?)"
    rf"(?P<address>(?<![\w@])(?:(?:https?|ftp)://|www\.){PLAIN_PATH}+"
    rf"(?:(?:\({PLAIN_PATH}*\)|[,;](?=[a-z_%-])){PLAIN_PATH}*)*(?<![.:!?…]))"
    rf"(?P<close>[)\]>]?)",
    re.I,
)
"""An address up to the sign that ends its sentence, with the blank before it and the brackets around it."""
REFERENCE = re.compile(
    r"(?<=/)10\.\d{4,9}/\S+|\b(?:NCT\d{8}|PMC\d{4,})\b|(?:(?<=nlm\.nih\.gov/)|(?<=/pubmed/))\d{5,}|(?<=specid=)\d{8}"
)
"""A code in an address, which stays: DOI; a trial's and an article's number; a drug's CIS code."""
AFTER_ADDRESS = re.compile(rf"[{BLANK}\n.,;:!?…)»]|\Z")


def remove_tags(text: str, changes: Counter[str]) -> str:
    """The text without tags, and a line or a column where an element begins one; counted by tag."""
    if "<" not in text:
        return text
    text = RAISED.sub(lambda match: _raised(match, changes), text)
    text = HIDDEN.sub(lambda match: _gone(match, changes), text)
    closed = {_name(match) for match in TAG.finditer(text) if match["close"]}
    return TAG.sub(lambda match: _tag(match, closed, changes), text)


def remove_addresses(text: str, changes: Counter[str]) -> str:
    """The text without addresses of the Web, but with the reference code that one holds; counted by address."""
    if "://" not in text and "www." not in text and "WWW." not in text:
        return text
    return URL.sub(lambda match: _address(match, changes), text)


def _raised(match: re.Match[str], changes: Counter[str]) -> str:
    """An exponent or an index as Unicode writes it; the match where it has no such character."""
    kind, content = match[1].lower(), match[2]
    table = SUPERSCRIPT if kind == "sup" else SUBSCRIPT
    plain = kind == "sup" and WITHOUT_MEANING.fullmatch(content)
    if not plain and not all(ord(character) in table for character in content):
        return match.group()
    changes["tags"] += 2
    return content if plain else content.translate(table)


def _gone(match: re.Match[str], changes: Counter[str]) -> str:
    changes["tags"] += 1
    return " " if _between_digits(match) else ""


def _tag(match: re.Match[str], closed: set[str], changes: Counter[str]) -> str:
    """Replacement of a tag: a line end, a tab or nothing; the text itself if it is not a tag."""
    name = _name(match)
    if (len(name) == 1 and name not in closed) or (match["inline"] and _between_digits(match)):
        return match.group()
    text, end = match.string, match.end()
    follows = TAG.match(text, end)
    last = text[end : end + 1] in ("", "\n") or bool(follows and follows["block"])
    by = ""
    if match["block"] and not last and text[max(0, match.start() - 1) : match.start()] not in ("", "\n"):
        by = "\n"
    elif match["cell"] and match["close"] and not last:
        by = "\t"
    changes["tags"] += 1
    return by


def _name(match: re.Match[str]) -> str:
    return (match["block"] or match["cell"] or match["inline"]).lower()


def _between_digits(match: re.Match[str]) -> bool:
    text, end = match.string, match.end()
    return match.start() > 0 and text[match.start() - 1].isnumeric() and text[end : end + 1].isnumeric()


def _address(match: re.Match[str], changes: Counter[str]) -> str:
    """Replacement of an address: nothing, the code in it, or in a row of columns the address itself."""
    before, after = match["before"], match.string[match.end() : match.end() + 1]
    start = match.start() + len(before)
    if before and match.string[start - 2 : start - 1] in tuple(BLANK) and start > 1:
        return match.group()
    if before and after and after in BLANK and match.string[match.end() + 1 : match.end() + 2] in tuple(BLANK):
        return match.group()
    brackets = match["open"] + match["close"]
    changes["addresses"] += 1
    if reference := REFERENCE.search(match["address"]):
        return before + match["open"] + reference.group() + match["close"]
    kept = "" if brackets in ("()", "[]", "<>") else brackets
    return ("" if AFTER_ADDRESS.match(after) else before) + kept
