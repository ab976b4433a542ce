"""Cleaning a document without touching what it says."""

import re
import unicodedata

LINE_BREAK = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Controls, lone surrogates, and the formatting marks that show nothing: soft hyphen, zero-width spaces and joiners,
# direction marks, byte order mark. Unicode's class Cf as a whole would not do: it holds visible Arabic signs.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff]"
)
NO_BREAK = "\u00a0\u202f"
"""The spaces of French typography, in « 1 000 mg » and before « : ; ! ? »."""
OTHER_BLANK = re.compile("[\t\x1f\u1680\u2000-\u200a\u205f\u3000]")
BLANKS = re.compile(f"[ {NO_BREAK}]{{2,}}")
AROUND_LINE_BREAK = re.compile(f"[ {NO_BREAK}]?\n[ {NO_BREAK}]?")
EMPTY_LINES = re.compile("\n{4,}")


def clean(text: str) -> str:
    """Normalise a text's Unicode and white space, and nothing else.

    Unicode NFC; every line break is `\\n`, with no blanks around it and at most two empty lines in a row; a run of
    blanks is one blank, a no-break space if one was in it; controls and invisible marks are gone, the white space at
    both ends too. No letter, digit, unit or sign is changed, and no blank within a line vanishes: `1 000 mg` stays
    two numbers apart.
    """
    text = LINE_BREAK.sub("\n", text)
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", text))
    text = BLANKS.sub(_one_blank, OTHER_BLANK.sub(" ", text))
    text = AROUND_LINE_BREAK.sub("\n", text)
    return EMPTY_LINES.sub("\n\n\n", text).strip()


def _one_blank(run: re.Match[str]) -> str:
    return next((blank for blank in run.group() if blank in NO_BREAK), " ")
