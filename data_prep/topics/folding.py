"""Words of a text as terms are compared with them."""

import re
import unicodedata

WORD = re.compile(r"\w+")
PLURAL = 5
"""Letters of a word from which on its last `s` or `x` may be the plural's: `os`, `toux` and `tous` keep theirs."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits, which hyphens and apostrophes part."""
    return WORD.findall(unicodedata.normalize("NFC", text).lower())


def folded(word: str, *, plural: bool = True) -> str:
    """A word in lower case without accents and, unless `plural` is false, without the plural's end.

    The end is taken by its letters, from singulars too: `virus` is `viru`, and so is the term `virus`.
    """
    letters = unicodedata.normalize("NFKD", word.lower().replace("œ", "oe").replace("æ", "ae"))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    if not plural or len(plain) < PLURAL or plain[-1] not in "sx":
        return plain
    return plain[:-3] + "al" if plain.endswith("aux") and not plain.endswith("eaux") else plain[:-1]
