"""Terms in texts: what is the same word, what counts, and which topic a text has."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdapt.data_prep.topics import scorer as scorer_module
from pdapt.data_prep.topics.folding import folded, words_of
from pdapt.data_prep.topics.scorer import Scorer
from pdapt.data_prep.topics.term_list import read_terms


def scorer_of(tmp_path: Path, text: str) -> Scorer:
    path = tmp_path / "terms.yaml"
    path.write_text(text, encoding="utf-8")
    return Scorer(read_terms(path))


@pytest.mark.parametrize(
    ("term", "text", "times"),
    [
        ("œdème", "OEDEME oedème œdèmes ŒDÈMES", 4),
        ("rénal", "rénaux, rénal; mais rénale", 2),
        ("rénal*", "rénaux rénale RENAUX adrénaline", 3),
        ("*sartan", "valsartan, LOSARTANS; sartane", 2),
        ("*virus", "hantavirus virus viral", 2),
        ("os", "os, oser", 1),
        ("toux", "toux tous", 1),
        ("infarctus du myocarde", "Infarctus du myocarde. Infarctus  du\nMyocarde; infarctus myocarde", 2),
        ("anti tnf", "anti-TNF", 1),
        ("fond d oeil", "fond d'œil, fond d’oeil", 2),
        ("valve* aort*", "valves aortiques", 1),
        ("pied bot", "pied", 0),
    ],
)
def test_case_accents_and_the_plural_make_no_difference(tmp_path: Path, term: str, text: str, times: int) -> None:
    """Each time counts 2; composed and decomposed accents are the same."""
    import unicodedata

    scorer = scorer_of(tmp_path, f'topic: {{terms: ["{term}"]}}')
    for form in ("NFC", "NFD"):
        assert scorer.scores(unicodedata.normalize(form, text)) == ({"topic": 2 * times} if times else {})


def test_a_word_counts_once_for_a_topic_as_the_term_that_gives_most(tmp_path: Path) -> None:
    scorer = scorer_of(tmp_path, "a: {decisive: [cancer], terms: [cancer*], hints: ['*cer']}\nb: {hints: [cancer]}")
    assert scorer.scores("cancer cancers cancéreux") == {"a": 3 + 3 + 2, "b": 2}


def test_words_in_a_row_count_beside_the_words_by_themselves(tmp_path: Path) -> None:
    scorer = scorer_of(tmp_path, "a: {terms: [hypertension arterielle], hints: [hypertension]}")
    assert scorer.scores("hypertension artérielle") == {"a": 3}


def test_the_topic_is_the_one_with_most_points_then_the_first_and_none_below_a_term_or_two_hints(
    tmp_path: Path,
) -> None:
    scorer = scorer_of(tmp_path, "b: {terms: [rein], hints: [urine]}\na: {terms: [coeur]}")
    assert scorer.topic("le cœur, le cœur et le rein") == "a"
    assert scorer.topic("le cœur et le rein") == "b"
    assert scorer.topic("urine") == "none"
    assert scorer.topic("urine, urines") == "b"
    assert scorer.topic("") == "none"


def test_a_long_text_is_scored_as_its_parts_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches end between words, and nothing is counted twice; the table of words is emptied when it is full."""
    scorer = scorer_of(tmp_path, "a: {terms: [coeur, '*cardite']}")
    text = " ".join(f"mot{number} cœur endocardite" for number in range(500))
    whole = scorer.scores(text)
    monkeypatch.setattr(scorer_module, "CHUNK", 100)
    monkeypatch.setattr(scorer_module, "MOST_WORDS", 10)
    assert scorer.scores(text) == whole == {"a": 2000}
    assert scorer.scores("x" * 1000) == {}


@given(st.text())
def test_folding_twice_is_folding_once_for_words_of_any_script(text: str) -> None:
    for word in words_of(text):
        plain = folded(word, plural=False)
        assert folded(plain, plural=False) == plain
        assert folded(word.upper().lower()) is not None


def test_the_specialities_tell_plain_cases_apart() -> None:
    scorer = Scorer(read_terms())
    for text, topic in {
        "Infarctus du myocarde traité par angioplastie coronaire.": "cardiology",
        "Épilepsie de l'adulte : place de la lamotrigine.": "neurology",
        "Cataracte bilatérale, acuité visuelle à 3/10.": "ophthalmology",
        "Adénocarcinome du côlon métastatique.": "oncology",
        "La gare ferme à dix heures.": "none",
    }.items():
        assert scorer.topic(text) == topic
