"""Screening: what looks personal and what is not French is found, in whichever text of a batch it stands."""

import random
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdapt.data_prep.screening.identify import identify
from pdapt.data_prep.screening.language import (
    FEWEST_BYTES,
    FEWEST_VOTES,
    FUNCTION_WORDS,
    LEAD,
    NOT_TOLD,
    OTHER_SCRIPT,
    READ,
    SAMPLES,
    not_clearly_french,
)
from pdapt.data_prep.screening.personal import find_personal
from pdapt.data_prep.screening.screen import Screening, sentences

FRENCH = (
    "Le patient a été adressé aux urgences pour une douleur thoracique apparue dans la nuit. L'examen ne montre pas de "
    "signe de gravité, et le traitement habituel a été poursuivi avec une surveillance de la tension."
)
OTHERS = {
    "en": "The patient was sent to the emergency department with a chest pain that had begun during the night. There "
    "was no sign of severity, and the usual treatment was continued.",
    "es": "El paciente fue enviado a urgencias por un dolor en el pecho que había comenzado durante la noche. No había "
    "signos de gravedad y el tratamiento se mantuvo con una vigilancia de la tensión por las enfermeras.",
    "it": "Il paziente è stato inviato al pronto soccorso per un dolore al torace che era iniziato durante la notte. "
    "Non ci sono segni di gravità e il trattamento della paziente è stato mantenuto con le stesse dosi.",
    "pt": "O doente foi enviado para a urgência por uma dor no peito que tinha começado durante a noite. Não havia "
    "sinais de gravidade e o tratamento foi mantido com uma vigilância da tensão pelos enfermeiros.",
    "de": "Der Patient wurde wegen eines Schmerzes in der Brust, der in der Nacht begonnen hatte, in die Klinik "
    "gebracht. Es gab keine Zeichen von Gefahr, und die Behandlung wurde mit der gleichen Dosis fortgesetzt.",
    "nl": "De patiënt werd naar de spoed gestuurd met een pijn op de borst die in de nacht begonnen was. Er was geen "
    "teken van ernst en de behandeling werd met dezelfde dosis voortgezet door het team van de dag.",
    "ro": "Pacientul a fost trimis la urgență pentru o durere în piept care a început în timpul nopții. Nu sunt semne "
    "de gravitate și tratamentul este continuat cu aceeași doză din prima zi, după cum a cerut medicul.",
    "pl": "Pacjent został wysłany na oddział z powodu bólu w klatce, który zaczął się w nocy. Nie było oznak "
    "zagrożenia i leczenie jest kontynuowane przez zespół, który od rana jest na oddziale, oraz po konsultacji.",
    "sv": "Patienten skickades till akuten med en smärta i bröstet som hade börjat under natten. Det fanns inte några "
    "tecken på allvar och behandlingen har fortsatt med den dos som gavs av läkaren vid avdelningen.",
    "da": "Patienten blev sendt til skadestuen med en smerte i brystet, som er begyndt om natten. Der var ikke tegn på "
    "alvor, og behandlingen er fortsat med den dosis, som lægen har givet fra den første dag.",
    "cs": "Pacient byl poslán na oddělení pro bolest na hrudi, která se objevila v noci. Nejsou to známky nebezpečí a "
    "léčba je od rána stejná jako po přijetí, že by se měla změnit, se neříká, ale tým je na oddělení.",
    "hu": "A beteg az éjszaka kezdődő mellkasi fájdalom miatt került az osztályra. Nem volt jele annak, hogy a helyzet "
    "súlyos, és a kezelés már az első naptól egy adag, csak a vérnyomást kell mérni, mint az előző héten.",
    "fi": "Potilas lähetettiin päivystykseen, kun kipu rinnassa oli alkanut yöllä. Hän ei ollut vakavasti sairas, "
    "mutta hoito on jatkunut samalla annoksella, joka on annettu myös aiemmin, ja he ovat tyytyväisiä, että se auttaa.",
    "tr": "Hasta gece başlayan bir göğüs ağrısı için acile gönderildi. Ciddi bir bulgu olarak kabul edilmedi ve tedavi "
    "ilk gün olan doz ile devam etti; bu doz daha çok yaşlı hasta için de hem güvenli hem etkili gibi.",
    "ca": "El pacient va ser enviat a urgències amb un dolor al pit que havia començat durant la nit. No hi ha signes "
    "de gravetat i el tractament és el mateix amb les dosis dels dies anteriors, i una més per la nit.",
    OTHER_SCRIPT: "Пациент был направлен в отделение с болью в груди, которая началась ночью. Признаков тяжести не "
    "было, и лечение было продолжено в прежней дозе.",
}
ANTIBIOGRAM = "ANTIBIOGRAMME\n" + "Amikacine\tI\tCMI 3,7 mg/l\nCefotaxime\tS\tA\tO\n" * 12
CHINESE = "患者因夜间开始的胸痛被送往急诊科。没有严重的迹象,继续按原剂量治疗。" * 3

PERSONAL = {
    "email": ["jean.dupont@chu-lyon.fr", "Mail:a_b+c@x.org.", "<s@hopital.fr>"],
    "telephone": [
        *("06 12 34 56 78", "06.12.34.56.78", "06-12-34-56-78", "0612345678", "06/12/34/56/78"),
        *("06\u00a012\u00a034\u00a056\u00a078", "04\u202f76\u202f12\u202f34\u202f56", "Tél.0476123456"),
        *("+33 6 12 34 56 78", "+33612345678", "+33 (0)6 12 34 56 78", "0033 6 12 34 56 78", "+262 692 12 34 56"),
        *("Tél : 0612 34 56 78", "TÉL. 0 476 123 456", "fax 04 76123456"),
    ],
    "nir": [
        *(
            "1 85 05 78 006 084 91",
            "185057800608491",
            "2 55 08 14 168 025 38",
            "1 85 05 2A 006 084 35",
            "285052B00608412",
        ),
        *("1.85.05.78.006.084.91", "1\u00a085\u00a005\u00a078\u00a0006\u00a0084\u00a091", "2 92 33 99 123 456 62"),
        "1 85 05 78 006 084",
    ],
    "rpps": ["10101234567", "RPPS : 10003456789", "RPPS n° 101 0123 4567"],
    "iban": ["FR14 2004 1010 0505 0001 3M02 606", "FR1420041010050500013M02606", "FR76-3000-6000-0112-3456-7890-189"],
    "address": [
        *(
            "12, rue de la République, 69003 Lyon",
            "3 bis avenue Jean Jaurès\n38000 GRENOBLE",
            "1 place d’Arc - 21000 Dijon",
        ),
        *("14 bd de l'Hôpital 75013 Paris CEDEX 13", "120 chemin des Écoles, 69100 Saint-Étienne-sur-Loire"),
        "7 allée\u00a0du Lac, 97400\u00a0Saint-Denis",
    ],
}
HARMLESS = [
    *("le 23/03/2022 à 14:30", "01-02-2003 14:30", "2023-01-02 10:15:30", "1 000 000 mg", "12,5 mg/l ; 0.0123456789"),
    *("3400930000120", "CIP 34009 300 001 2 0", "978-2-07-036822-8", "SIRET 732 829 320 00074", "10.1016/S0140-6736"),
    *("5 à 10 mg, 2 fois, 3 jours, 37,5 °C, 120/80", "12 13 14 15 16 17 18", "a@b", "@clinique", "10 @ 20 mg"),
    *("1 85 05 78 006 084 36", "FR14 2004 1010 0505 0001 3M02 607", "la rue de Sèvres, 75007 Paris", "12345 Unités"),
    *(
        "5 mg, rue de Sèvres, 75007 Paris",
        "12 rue des Lilas",
        "il a 12 places ; dossier 69003 Lyon",
        "3 cours, 12345 mg",
    ),
    *("123456789012", "1234567890", "Na\t140\t135\t145\t4,1\t3,5\t5,0", "FR76 3000 4000 5000 6000 7000 890"),
]


def batch(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    parts = [text.encode() for text in texts]
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([0, *map(len, parts)]).astype(np.int64)


def other_languages(texts: list[str]) -> list[tuple[int, str]]:
    """Document and language of those whose function words are another language's."""
    return [(number, language) for number, language in not_clearly_french(*batch(texts)) if language != NOT_TOLD]


def personal(values: np.ndarray, offsets: np.ndarray) -> list[tuple[int, str]]:
    """Document and kind of whatever is found."""
    return [(found.document, found.kind) for found in find_personal(values, offsets)]


@pytest.mark.parametrize("kind", PERSONAL)
def test_what_looks_personal_is_found(kind: str, subtests: pytest.Subtests) -> None:
    around = ("{}", "Patient {} depuis", "({})", "n°{},\n2 mg", "5 mg ; {} ; 37 °C")
    for text in (sentence.format(number) for number in PERSONAL[kind] for sentence in around):
        with subtests.test(text=text):
            assert list(personal(*batch(["avant", text, "après"]))) == [(1, kind)]


@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_number_across_blocks_is_found_once_and_no_number_across_documents(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdapt.data_prep.screening.personal.BLOCK_BYTES", size)
    texts = [b"Tel. 06 12 34 56 78, bureau.", b"06 12 34", b" 56 78", b"", b"le 0612345678 ou le 0698765432"]
    offsets = np.cumsum([0, *map(len, texts)])
    values = np.frombuffer(b"".join(texts), np.uint8)
    assert list(personal(values, offsets)) == [(0, "telephone"), (4, "telephone"), (4, "telephone")]


def test_numbers_of_other_kinds_are_not_personal(subtests: pytest.Subtests) -> None:
    for text in HARMLESS:
        with subtests.test(text=text):
            assert list(personal(*batch([f"Le patient : {text}. Fin"]))) == []


PIECES = st.sampled_from([*(text for texts in PERSONAL.values() for text in texts), *HARMLESS, "0", " 06 12", "é", "@"])


@given(st.lists(st.lists(PIECES, max_size=4).map(" ; ".join), max_size=6))
def test_each_text_is_looked_at_by_itself(texts: list[str]) -> None:
    """A number does not begin in one text and end in the next, and no text hides what is in another."""
    together = Counter(personal(*batch(texts)))
    alone = Counter((n, kind) for n, text in enumerate(texts) for _, kind in personal(*batch([text])))
    assert together == alone


@pytest.mark.parametrize(("language", "text"), OTHERS.items())
def test_other_languages_are_told(language: str, text: str) -> None:
    assert other_languages([FRENCH, text, FRENCH, "court"]) == [(1, language)]


def test_a_language_without_blanks_is_told() -> None:
    assert other_languages([CHINESE]) == [(0, OTHER_SCRIPT)]


@pytest.mark.parametrize(
    ("letters", "foreign"),
    [
        *((word, True) for word in ("λόγος", "слово", "שלום", "سلام", "नमस्ते", "ไทย", "ქართული", "日本語", "한국어")),
        *((mark, False) for mark in ("œuvre", "ɛ̃ʒ", "— « » …", "\ue000\ue001\uf8ff", "🩺💊")),
    ],
)
def test_letters_that_are_not_latin_tell_another_script(letters: str, foreign: bool) -> None:
    """Neither phonetic letters, punctuation and pictures do, nor the private letters of a PDF's font."""
    found = other_languages([f"{letters} " * 60])
    assert found == ([(0, OTHER_SCRIPT)] if foreign else [])


def test_a_short_quotation_is_no_other_language() -> None:
    mixed = f"{FRENCH} {FRENCH} Le titre de l'article est « The effect of the treatment »."
    assert other_languages([mixed, "Ibuprofène 200 mg\n" * 20, ANTIBIOGRAM, "1\t2\t3\n" * 60, "", "the of and"]) == []


def test_of_a_long_document_all_of_it_counts() -> None:
    """A French first page does not hide an English document."""
    assert other_languages([FRENCH + " " + OTHERS["en"] * 8]) == [(0, "en")]


@given(st.lists(st.sampled_from([FRENCH, "", "mot", *OTHERS.values(), CHINESE]), max_size=8))
def test_a_language_does_not_depend_on_the_neighbours(texts: list[str]) -> None:
    alone = [(n, language) for n, text in enumerate(texts) for _, language in other_languages([text])]
    assert other_languages(texts) == alone


@pytest.mark.parametrize(
    ("words", "elisions", "expected"),
    [
        (["anche", "gli"], 2, [(0, "it")]),
        (["amb", "els"], 2, [(0, "ca")]),
        (["anche", "gli"], 20, []),  # French has as many, but for the few words of another language
    ],
)
def test_an_elision_counts_for_each_language_that_has_them(
    words: list[str], elisions: int, expected: list[tuple[int, str]]
) -> None:
    draw = random.Random(0)
    text = " ".join(draw.choices(words + ["l'ospedale"] * elisions, k=400))
    assert other_languages([text]) == expected


ELIDING = ("fr", "it", "ca")


def language_of(text: bytes) -> str | None:
    """Guess the language of a document by the votes of its samples, one after the other."""
    if len(text) < FEWEST_BYTES:
        return None
    votes: Counter[str] = Counter()
    for number in range(SAMPLES):
        place = int((len(text) - READ) * ((number + 0.5) / SAMPLES))
        head = re.match(rb"[^\x00-\x20]{0,7}[\x00-\x20]", text[place:])
        if not head:
            continue
        eight = text[place + head.end() :][:8]
        if re.match("(?s:.)(?:'|’)".encode(), eight):
            votes.update(ELIDING)
        word = re.match(rb"[^\x00-\x20]{0,7}(?=[\x00-\x20])", eight)
        spelt = bytes(byte | 0x20 for byte in word[0]) if word else b"-"
        votes.update(language for language, words in FUNCTION_WORDS.items() if spelt in lowered(words))
    most = max((votes[language], -place) for place, language in enumerate(FUNCTION_WORDS) if language != "fr")
    if most[0] >= votes["fr"] + FEWEST_VOTES and most[0] >= LEAD * votes["fr"]:
        return list(FUNCTION_WORDS)[-most[1]]
    return None


@cache
def lowered(words: str) -> set[bytes]:
    return {bytes(byte | 0x20 for byte in word.encode()) for word in words.split()}


WORDS = st.sampled_from([word for words in FUNCTION_WORDS.values() for word in words.split()][::7])
MARKS = st.sampled_from([" ", " ", " ", "\t", "  ", ", ", "'", "’", "é", "12", "\n", "tambémx ", "L’eau "])


@given(st.lists(st.lists(st.one_of(WORDS, MARKS, MARKS), min_size=60, max_size=90).map("".join), max_size=4))
@settings(max_examples=30)
def test_many_votes_at_once_are_the_votes_one_by_one(texts: list[str]) -> None:
    expected = [(number, language_of(text.encode())) for number, text in enumerate(texts)]
    assert other_languages(texts) == [each for each in expected if each[1]]


def test_the_samples_are_french(shared: Callable[[str], Path]) -> None:
    texts = [file.read_text(encoding="utf-8") for file in sorted(shared("samples").rglob("*.txt"))]
    assert len(texts) > 200
    assert other_languages(texts) == []


def identified(text: str) -> str:
    return identify(batch([text])[0])


@pytest.mark.parametrize(("language", "text"), [("fr", FRENCH), *OTHERS.items()])
def test_the_language_of_a_short_text_is_identified(language: str, text: str) -> None:
    """By its first ten words, of which the function words tell nothing."""
    short = " ".join(text.split()[:10])
    assert list(not_clearly_french(*batch([short]))) == [(0, NOT_TOLD)]
    assert identified(short) == language


@pytest.mark.parametrize(
    "text", ["", " ", "12 345", "Na 140 mmol/l", "Ibuprofène 200 mg", "ANTIBIOGRAMME", "TNFα", "\ufffd"]
)
def test_a_text_that_tells_no_language_is_of_none(text: str) -> None:
    assert identified(text) == NOT_TOLD


def test_all_of_a_long_text_without_function_words_is_looked_at() -> None:
    codes = "B 123 X 456 " * 200
    assert identified(codes + OTHERS["en"] * 20 + codes) == "en"
    assert identified(CHINESE * 100) == OTHER_SCRIPT


def test_short_texts_are_identified_where_it_is_asked_for() -> None:
    texts = ["Prenez deux comprimés chaque matin avec un verre d'eau.", "Take two tablets every morning.", "5 mg"]
    quick, thorough = Screening(thorough=False), Screening(thorough=True)
    for screening in (quick, thorough):
        screening.look_at(texts, ["a", "b", "c"])
    assert quick.counts["languages"] == {NOT_TOLD: 3}
    assert thorough.counts["languages"] == {"en": 1, NOT_TOLD: 1}
    assert thorough.counts["other_language"] == {"b": 1}


LENGTHS = {1: 0.85, 5: 0.2, 10: 0.03, 20: 0.01}
"""Fewest words of a text -> share of such texts whose language may not be told."""
TABLES = 0
"""Key of the lines of tables of drugs, which need tell nothing."""
GARBLED = "tedoltri non mer/"
"""The one line of the samples that is not French: Italian by its sound."""


def test_no_line_of_the_samples_is_of_another_language_and_few_are_not_told(shared: Callable[[str], Path]) -> None:
    """With `-s` it prints the shares by words of a line, which docs/privacy.md states."""
    files = [*shared("samples").rglob("*.txt"), *shared("samples").rglob("dialogues/*/*")]
    by_length: dict[int, set[str]] = {fewest: set() for fewest in (TABLES, *LENGTHS)}
    for file in filter(Path.is_file, files):
        for line in map(str.strip, file.read_text(encoding="utf-8").split("\n")):
            fits = [fewest for fewest in LENGTHS if fewest <= len(line.split())] if "bdpm" not in file.parts else []
            by_length[max(fits, default=TABLES)].add(line)
    by_length[1].remove(GARBLED)
    for fewest, texts in by_length.items():
        screening = Screening(thorough=True)
        screening.look_at(sorted(texts), ["samples"])
        not_told = screening.languages[NOT_TOLD] / len(texts)
        print(f"{fewest} words and more: {len(texts)} lines, {not_told:.1%} not told")
        assert screening.counts["other_language"] == {}
        assert not_told <= LENGTHS.get(fewest, 1)
    assert identified(GARBLED) == "it"


def test_findings_are_added_up_by_file() -> None:
    first, second = Screening(thorough=False), Screening(thorough=False)
    first.look(*batch([f"{PERSONAL['nir'][0]} {PERSONAL['email'][0]}", OTHERS["en"]]), ["a", "b"])
    second.look(*batch([PERSONAL["email"][0], PERSONAL["email"][1], FRENCH]), ["b"])
    first.add(second)
    assert first.counts == {
        "email": {"a": 1, "b": 2},
        "telephone": {},
        "nir": {"a": 1},
        "rpps": {},
        "iban": {},
        "address": {},
        "other_language": {"b": 1},
        "languages": {"not told": 3, "en": 1},
    }
    assert list(sentences(first.counts)) == [
        "what looks like an e-mail address, 3 times: b 2, a 1",
        "what looks like a French social security number (NIR), 1 time: a 1",
        "1 document is not in French (en 1): b 1",
        "the language of 3 documents could not be identified: too short, a list or a table",
    ]
    many = {kind: {} for kind in first.counts} | {"rpps": {f"file {n}": n for n in range(1, 9)}}
    assert list(sentences(many)) == [
        "what looks like a health professional's number (RPPS), 36 times: file 8 8, file 7 7, file 6 6, file 5 5, "
        "file 4 4, and 3 more files"
    ]
