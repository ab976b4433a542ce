"""How well the terms find the topics of documents that were labelled one by one."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from measured_topics import LABELS, Measured, drawn, labelled, measure, page
from reading_helpers import texts_of_samples

from pdapt.data_prep.topics.assignments import read_assignments
from pdapt.data_prep.topics.scorer import Scorer
from pdapt.data_prep.topics.term_list import NONE, read_terms

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def samples(shared: Callable[[str], Path]) -> dict[str, list[str]]:
    return texts_of_samples(shared("samples"))


@pytest.fixture(scope="module")
def topics(samples: dict[str, list[str]]) -> dict[str, str]:
    """SHA-256 of each labelled text -> the topic that the terms give it."""
    scorer, wanted = Scorer(read_terms()), {row.sha256 for row in labelled()}
    texts = {hashlib.sha256(text.encode()).hexdigest(): text for source in samples.values() for text in source}
    return {sha256: scorer.topic(texts[sha256]) for sha256 in wanted}


def test_the_labels_are_of_300_documents_of_ten_sources_and_name_known_topics() -> None:
    rows, names = labelled(), {topic.name for topic in read_terms()} | {NONE}
    assert {row.topic for row in rows} == names, "each speciality, and none, is some document's"
    assert {row.second for row in rows} <= names | {""}
    assert sorted(Counter(row.source for row in rows).values()) == [30] * 10
    assert sum(row.part == "tune" for row in rows) == 100
    assert len({row.sha256 for row in rows}) == 300


def test_the_labelled_documents_are_those_that_the_seed_draws(samples: dict[str, list[str]]) -> None:
    assert sorted(drawn(samples)) == sorted(row.sha256 for row in labelled())


def test_the_file_of_labels_is_one_that_labels_a_corpus() -> None:
    assert len(read_assignments(LABELS).hashes) == 300


@pytest.mark.parametrize(
    ("part", "documents", "right", "seconds", "macro_f1"),
    [("held_out", 200, 131, 18, 0.545), ("tune", 100, 87, 8, 0.817)],
)
def test_the_terms_are_as_good_as_the_page_says(
    topics: dict[str, str], part: str, documents: int, right: int, seconds: int, macro_f1: float
) -> None:
    measured = measure(topics, part)
    print(f"{part}: macro F1 {measured.macro_f1:.3f}\n{page(measured)}")
    assert (measured.documents, measured.right, measured.seconds) == (documents, right, seconds)
    assert round(measured.macro_f1, 3) == macro_f1


def test_the_page_shows_every_topic_and_confusion_of_the_documents_held_out(topics: dict[str, str]) -> None:
    shown = (ROOT / "docs" / "topics.md").read_text(encoding="utf-8")
    held_out, tune = measure(topics, "held_out"), measure(topics, "tune")
    assert page(held_out) in shown
    shown = " ".join(shown.split())  # sentences are wrapped
    assert f"macro F1 is **{held_out.macro_f1:.3f}**" in shown
    assert f"{held_out.right} of 200" in shown
    assert f"{held_out.right + held_out.seconds} are taken for their main topic or their second" in shown
    missed = sum(count for (label, taken), count in held_out.pairs.items() if NONE == taken != label)
    assert f"({missed} of {200 - held_out.right}) is taken for `none`" in shown
    named = [(label == taken, count) for (label, taken), count in held_out.pairs.items() if taken != NONE]
    all_named, right_named = (sum(count for right, count in named if right or every) for every in (True, False))
    assert f"names a topic ({all_named} documents), it is the label's in {right_named} " in shown
    assert f"{sum(bool(row.second) for row in labelled())} of the 300 a second that fits" in shown
    assert f"{sum(len(topic.terms) for topic in read_terms()):,} terms" in shown
    assert f"{tune.right} of 100 are right, and macro F1 is {tune.macro_f1:.3f}" in shown


def test_macro_f1_is_the_mean_over_topics_however_many_documents_each_has() -> None:
    """Two of three cardiology documents are right, and the one neurology document, which counts as much, is not."""
    pairs = Counter({("cardiology", "cardiology"): 2, ("cardiology", "none"): 1, ("neurology", "cardiology"): 1})
    measured = Measured(pairs, 0)
    assert measured.f1("cardiology") == pytest.approx(2 / 3)
    assert measured.macro_f1 == pytest.approx(1 / 3)
