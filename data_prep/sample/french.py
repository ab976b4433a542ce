"""Spelling that depends on the next word: elision, contraction, capitals, spaces, list numbers."""

import re

_VOWEL = "aeiouàâéèêëîïôœùAEIOUÀÂÉÈÊÎÔŒ"
_ASPIRATED = (
    "(?:hanch|herni|haut|haricot|hamac|hall|hameau|hasard|héros|halt|hauss|hach|hors|huit|hublot|hêtre|houx|hangar"
    "|haie|holter|homard|hous|hareng|hibou|havre|heurt|honte|hurl|hibern|hoquet)"
)
_NOT_ELIDED = "(?:onz|oui|un à|ouat)"
_ELISION = re.compile(
    rf"(?<![-\w])(d|l|qu|n|s|j|m|t|jusqu|lorsqu|puisqu)(?:e|(?<=l)a) "
    rf"(?=(?!{_NOT_ELIDED})[{_VOWEL}]|(?!{_ASPIRATED})h)",
    re.IGNORECASE,
)
_CONTRACTIONS = {"de le": "du", "de les": "des", "à le": "au", "à les": "aux"}
_CONTRACTION = re.compile(r"(?<![-\w])(de les?|à les?)(?= )", re.IGNORECASE)
_LIST_ITEM = re.compile(r"^#\.", re.MULTILINE)


def polish(text: str) -> str:
    """Give drawn French its final spelling: `^de le pain` becomes `Du pain`, `la huile` becomes `l'huile`."""
    text = _ELISION.sub(r"\1'", text)
    text = re.sub(r"(?<![-\w])([Ss])i (?=ils? )", r"\1'", text)
    text = _CONTRACTION.sub(lambda match: _CONTRACTIONS[match[0].lower()], text)
    text = re.sub(r" +(?= |\n|$)", "", text)
    text = re.sub(r"\^+(\W*)(\w)", lambda match: match[1] + match[2].upper(), text)
    return "\n\n".join(_number_items(block) for block in text.split("\n\n"))


def _number_items(block: str) -> str:
    """Number the list items of one block from 1."""
    parts = _LIST_ITEM.split(block)
    return parts[0] + "".join(f"{number}.{part}" for number, part in enumerate(parts[1:], start=1))
