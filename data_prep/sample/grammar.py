"""Texts drawn from a grammar of French phrases.

A grammar file holds rules. A rule is a line `= name` followed by its entries, one a line, or several on a line parted
by ` ; `. A text grows from the rule `document` by replacing, innermost first:

    {name}            an entry of the rule, none twice in a document before all have served
    {@name}           the same, but drawn once a document and repeated from then on
    {^name}           the same, with a capital letter
    {name x3-5}       three to five draws parted by spaces; `/` parts them by line ends, `//` by empty lines
    {20-80} {1,5-9,5} a number from the range, with as many decimals as its lower bound; {50-400:50} goes in steps
    [a|b|c]           one of the alternatives
    <il|elle>         the masculine or the feminine form, the same choice throughout a document
    \\n \\t            a line end, a tab
    #.                at the start of a line: its number in a list

`{name_{@kind}}` names a rule by what another rule gave.
"""

import random
import re
from pathlib import Path

from .french import polish

Rules = dict[str, list[str]]

_TOKEN = re.compile(
    r"\[(?P<choice>(?:[^\[\]{}<]|< )*)\]"
    r"|\{(?P<slot>[^\[\]{}<>]*)\}"
    r"|<(?P<masculine>(?! )[^\[\]{}<>|]*)\|(?P<feminine>[^\[\]{}<>|]*)>"
)
_SLOT = re.compile(r"(?P<capital>\^?)(?P<keep>@?)(?P<name>[a-z_]+)(?: (?P<join>x|//?)(?P<low>\d+)-(?P<high>\d+))?")
_RANGE = re.compile(r"(?P<low>\d+(?:,(?P<decimals>\d+))?)-(?P<high>\d+(?:,\d+)?)(?::(?P<step>\d+))?")
_JOINS = {"x": " ", "/": "\n", "//": "\n\n"}


def read_rules(*paths: Path) -> Rules:
    """Read grammar files into one set of rules; a rule in a later file takes the place of an earlier one."""
    rules: Rules = {}
    for path in paths:
        for block in re.split(r"^= ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, _, body = block.partition("\n")
            entries = re.split(r"\n| ; ", body)
            rules[name.strip()] = [
                entry.strip().replace("\\n", "\n").replace("\\t", "\t") for entry in entries if entry.strip()
            ]
    return rules


def write_document(rules: Rules, rng: random.Random) -> str:
    """One text drawn from the rule `document`."""
    return polish(_Draw(rules, rng).expand("{document}"))


class _Draw:
    """The choices made for one document."""

    def __init__(self, rules: Rules, rng: random.Random) -> None:
        self.rules, self.rng = rules, rng
        self.feminine = rng.random() < 0.5
        self.kept: dict[str, str] = {}
        self.used: dict[str, set[int]] = {}

    def expand(self, template: str) -> str:
        """Replace tokens, innermost first, until none is left."""
        count = 1
        while count:
            template, count = _TOKEN.subn(self._replace, template)
        return template

    def _replace(self, token: re.Match[str]) -> str:
        if token["choice"] is not None:
            return self.rng.choice(token["choice"].split("|"))
        if token["slot"] is not None:
            return self._slot(token["slot"])
        return token["feminine"] if self.feminine else token["masculine"]

    def _slot(self, text: str) -> str:
        if number := _RANGE.fullmatch(text):
            return self._number(number)
        slot = _SLOT.fullmatch(text)
        assert slot, f"not a slot: {{{text}}}"
        name = slot["name"]
        if slot["join"]:
            return _JOINS[slot["join"]].join([f"{{{name}}}"] * self.rng.randint(int(slot["low"]), int(slot["high"])))
        if slot["keep"] and name not in self.kept:
            self.kept[name] = self.expand(self._entry(name))
        return slot["capital"] + (self.kept[name] if slot["keep"] else self._entry(name))

    def _entry(self, name: str) -> str:
        entries, used = self.rules[name], self.used.setdefault(name, set())
        if len(used) == len(entries):
            used.clear()
        index = self.rng.randrange(len(entries))
        while index in used:
            index = self.rng.randrange(len(entries))
        used.add(index)
        return entries[index]

    def _number(self, bounds: re.Match[str]) -> str:
        decimals = len(bounds["decimals"] or "")
        low, high = (round(float(bounds[end].replace(",", ".")) * 10**decimals) for end in ("low", "high"))
        number = self.rng.randrange(low, high + 1, int(bounds["step"] or 1))
        if decimals:
            return f"{number / 10**decimals:.{decimals}f}".replace(".", ",")
        return f"{number:0{len(bounds['low'])}d}" if bounds["low"].startswith("0") else str(number)
