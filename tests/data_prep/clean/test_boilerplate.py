"""Lines that repeat across a source go, unless they could hold a value; memory is bounded."""

from collections import Counter

import pytest

from pdapt.data_prep.clean import boilerplate
from pdapt.data_prep.clean.boilerplate import Boilerplate, RepeatedLines, remove_boilerplate

HEADER = "Hôpital de la Rivière – service de cardiologie"
CREDIT = "© La revue, tous droits réservés."
KEPT = [
    "Paracétamol",
    "Prendre un comprimé de paracétamol par jour",
    "Posologie : 500 mg, trois fois par jour, pendant cinq jours",
    "Une mutation du gène BRCA est à rechercher",
    "Na\tK\tCl et les autres",
    "Taux normal si inférieur à la limite < haute",
    "Motif de consultation",
    "Docteur : bonjour, comment allez-vous ?",
]


def documents(line: str, count: int = 20, place: str = "first") -> list[str]:
    """Documents that differ, each with the line at its beginning, in its middle or at its end."""
    shapes = {
        "first": "{1}\n\nLe patient {0} va bien.\nSon voisin {0} aussi.\nFin {0}.",
        "middle": "Le patient {0} va bien.\n{1}\nSon voisin {0} aussi.\nFin {0}.",
        "last": "Le patient {0} va bien.\nSon voisin {0} aussi.\nFin {0}.\n{1}\n",
    }
    return [shapes[place].format(number, line) for number in range(count)]


def found(texts: list[str]) -> Boilerplate:
    lines = RepeatedLines()
    for text in texts:
        lines.add(text)
    return lines.boilerplate()


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("line", [HEADER, CREDIT])
def test_a_line_at_the_edge_goes(line: str, place: str) -> None:
    texts = documents(line, place=place)
    facts = found(texts)
    changes: Counter[str] = Counter()
    for number, text in enumerate(texts):
        cleaned = remove_boilerplate(text, changes, facts)
        assert cleaned.strip() == f"Le patient {number} va bien.\nSon voisin {number} aussi.\nFin {number}."
    assert changes == {"boilerplate_lines": 20}


@pytest.mark.parametrize(("line", "goes"), [(HEADER, False), (CREDIT, True), ("Retour au sommaire", True)])
def test_in_the_middle_only_a_page_s_furniture_goes(line: str, goes: bool) -> None:
    texts = documents(line, place="middle")
    cleaned = [remove_boilerplate(text, Counter(), found(texts)) for text in texts]
    assert all((line not in text) == goes for text in cleaned)


@pytest.mark.parametrize("line", KEPT)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_line_that_may_hold_a_value_stays(line: str, place: str) -> None:
    texts = documents(line, place=place)
    assert [remove_boilerplate(text, Counter(), found(texts)) for text in texts] == texts


def test_a_line_of_few_documents_stays_and_so_does_a_document_of_one_line() -> None:
    assert not found(documents(CREDIT, count=4))
    assert not found([CREDIT] * 50)
    facts = found(documents(CREDIT))
    assert remove_boilerplate(f"{CREDIT}\n", Counter(), facts) == f"{CREDIT}\n"
    assert not found(documents(HEADER, 20) + documents("Autre", 30))


def test_counting_forgets_rare_lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boilerplate, "LINES", 50)
    lines = RepeatedLines()
    for number in range(500):
        lines.add("\n".join([*(f"ligne {number} {part}" for part in range(8)), CREDIT]))
        assert len(lines.lines) <= 50
    counted = lines.boilerplate().furniture
    assert list(counted) == [CREDIT]
    assert 400 < counted[CREDIT] <= 500
