"""Boilerplate: lines that repeat across a source and belong to no document, such as menus and legal notes.

A line with a digit, a column, a sign of arithmetic or a word with two capitals is never boilerplate, since it may hold
a quantity, a table, a formula, a gene or a code; nor is a line with a word that ends like a drug's name.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

LEAST, MOST = 4, 300
"""Characters of a line that is counted."""
LINES = 200_000
"""Lines that are counted at a time: about 50 MB."""
DOCUMENTS = 5
"""Least number of documents that hold a line of boilerplate."""
FURNITURE_SHARE, EDGE_SHARE = 0.1, 0.5
"""Share of the documents that hold a line of a page's furniture, and one at the documents' beginnings or ends."""
EDGE = 5
"""Lines at either end of a document that are its edges."""
WORDS = 4
"""Least number of words of a line at a document's edge: fewer are a heading, or a name."""
FURNITURE = re.compile(
    r"\b(?:tous droits réservés|droits de reproduction|mentions légales|plan du site|politique de confidentialité"
    r"|données personnelles et cookies|gestion des cookies|utilise des cookies"
    r"|conditions (?:générales )?d['’]utilisation"
    r"|haut de (?:la )?page|retour (?:en haut|à l['’]accueil|au sommaire|au menu)|aller au (?:contenu|menu)"
    r"|imprimer (?:la|cette) page|imprimer ce document"
    r"|partager (?:sur|cette page|cet article)|page (?:suivante|précédente)"
    r"|suivez-nous|nous contacter|s['’]abonner|inscription à la newsletter|se connecter|créer un compte"
    r"|activer javascript|télécharger (?:le|ce) (?:document|fichier|pdf)|copyright)\b|©",
    re.I,
)
"""Phrases with which a page speaks of itself."""
ALONE = re.compile(r"accueil|sommaire|imprimer|partager|menu|connexion|contact|rechercher|fermer", re.I)
"""Words that are a page's furniture where they are a line."""
PROTECTED = re.compile(r"\d|\t|[  \u202f]{2}|[<>=≤≥±×÷+*/%‰°µμ|\[\]{}^~_→←↑↓²³¹½¼¾]|[α-ωΑ-Ω]|\w*[A-ZÀ-Ý]\w*[A-ZÀ-Ý]")
"""Characters that no line of boilerplate holds."""
DRUG_STEM = re.compile(
    r"\w(?:cillines?|mycines?|cyclines?|floxacines?|azoles?|olols?|prils?|sartans?|statines?|mabs?|nibs?|gliptines?|gliflozines?"
    r"|glutides?|triptans?|pams?|lams?|caïnes?|caines?|cef\w+|parines?|xabans?|setrons?|prazoles?|oxétines?|oxetines?|dipines?"
    r"|thiazides?|profènes?|profenes?|coxibs?|vir|virs|lukasts?|tidines?|platines?|rubicines?|taxels?|cétamol|codéines?|morphines?)\b",
    re.I,
)
"""Ends of drugs' names, after the World Health Organization's stems."""


@dataclass(frozen=True)
class Boilerplate:
    """Lines of boilerplate -> documents that hold them.

    Attributes:
        furniture: those that go wherever they stand.
        edges: those that go at the beginning or the end of a document only.
    """

    furniture: dict[str, int] = field(default_factory=dict)
    edges: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.furniture or self.edges)


@dataclass
class RepeatedLines:
    """Counts the documents that hold a line, in bounded memory.

    Where there are too many lines, all counts are lowered by one and those of none forgotten (Misra and Gries), so that
    a count is never too high, and too low by at most the lines of the source over LINES. Then the candidates for
    boilerplate are counted again, `only` them. Documents of one line are not counted: without it they would be empty.

    Attributes:
        documents: those counted.
        lines: line -> documents that hold it.
        edges: the same of lines at the beginnings and ends of documents.
        exact: whether no count was lowered.
        only: the lines, and the edges, that are counted; None for all.
    """

    documents: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    edges: Counter[str] = field(default_factory=Counter)
    exact: bool = True
    only: tuple[frozenset[str], frozenset[str]] | None = None

    def add(self, text: str) -> None:
        """Count the lines of a document."""
        lines = [line for line in text.split("\n") if line]
        if len(lines) < 2:
            return
        self.documents += 1
        distinct = {line for line in lines if LEAST <= len(line) <= MOST}
        edges = {*lines[:EDGE], *lines[-EDGE:]}
        if self.only:
            distinct, edges = distinct & self.only[0], edges & self.only[1]
        self.lines.update(distinct)
        self.edges.update(edges)
        self._bound()

    def merge(self, other: "RepeatedLines") -> None:
        """Add the counts of other documents of the source."""
        self.documents += other.documents
        self.exact &= other.exact
        self.lines.update(other.lines)
        self.edges.update(other.edges)
        self._bound()

    def candidates(self) -> "RepeatedLines":
        """Empty counts of the lines that may be boilerplate, and of no others.

        A line that a tenth of the documents hold is among them, unless these have more than LINES / 10 lines each.
        """
        return RepeatedLines(
            only=(frozenset(filter(_is_furniture, self.lines)), frozenset(filter(_says_nothing, self.edges)))
        )

    def boilerplate(self) -> Boilerplate:
        """The lines of boilerplate, those of most documents first."""
        return Boilerplate(
            _frequent(self.lines, self.documents * FURNITURE_SHARE, _is_furniture),
            _frequent(self.edges, self.documents * EDGE_SHARE, _says_nothing),
        )

    def _bound(self) -> None:
        if self.only:
            return
        for counts in (self.lines, self.edges):
            while len(counts) > LINES:
                self.exact = False
                fewer = {line: count - 1 for line, count in counts.items() if count > 1}
                counts.clear()
                counts.update(fewer)


def remove_boilerplate(text: str, changes: Counter[str], boilerplate: Boilerplate) -> str:
    """The text without lines of boilerplate, counted by line; a text that is all boilerplate stays as it is."""
    if not boilerplate:
        return text
    lines = text.split("\n")
    kept = [line for line in lines if line not in boilerplate.furniture]
    for _ in range(2):  # the end, turned around, and the beginning
        kept.reverse()
        first = next((at for at, line in enumerate(kept) if line.strip() and line not in boilerplate.edges), 0)
        kept = [line for line in kept[:first] if not line.strip()] + kept[first:]
    if len(kept) == len(lines) or not any(map(str.strip, kept)):
        return text
    changes["boilerplate_lines"] += len(lines) - len(kept)
    return "\n".join(kept)


def _frequent(counts: Counter[str], least: float, wanted: Callable[[str], bool]) -> dict[str, int]:
    """Lines that at least this many documents hold, and at least DOCUMENTS."""
    often = {line: count for line, count in counts.items() if count >= max(DOCUMENTS, least)}
    return dict(sorted(((line, often[line]) for line in often if wanted(line)), key=lambda item: (-item[1], item[0])))


def _may_go(line: str) -> bool:
    line = line.strip()
    return not PROTECTED.search(line) and not DRUG_STEM.search(line)


def _is_furniture(line: str) -> bool:
    return _may_go(line) and bool(FURNITURE.search(line) or ALONE.fullmatch(line.strip()))


def _says_nothing(line: str) -> bool:
    """Whether a line that many documents begin or end with is not a name, a field or a speaker's turn."""
    return _may_go(line) and len(line.split()) >= WORDS and ":" not in line
