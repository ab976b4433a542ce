"""Words that a line end cuts are joined where the word occurs whole, and nothing else is."""

from collections import Counter

import pytest

from pdapt.data_prep.clean.line_hyphens import join_hyphenated, joined_words
from pdapt.data_prep.clean.source_facts import find_facts

WORDS = frozenset(["hypertension", "hémoglobine", "déjà", "cœurs", "brca", "estce", "quatrevingt", "mgml"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("une hyper-\ntension artérielle", "une hypertension artérielle"),
        ("l'hémo-\n  globine.", "l'hémo-\n  globine."),
        ("hémo-\n  globine.", "hémoglobine."),
        ("hyper\u2010\ntension", "hypertension"),
        ("hyper\xad\ntension", "hypertension"),
        ("inconn\xad\nue", "inconn\nue"),
        ("déjà-\nvu", "déjà-\nvu"),
        (
            "vitamine B-\n12, BR-\nCA, Hyper-\ntension, 5-\n10 mg",
            "vitamine B-\n12, BR-\nCA, Hyper-\ntension, 5-\n10 mg",
        ),
        ("quatre-\nvingt-dix", "quatre-\nvingt-dix"),
        ("est-\nce", "est-\nce"),
        ("hyper-\n\ntension", "hyper-\n\ntension"),
    ],
)
def test_joining(text: str, expected: str) -> None:
    changes: Counter[str] = Counter()
    words = WORDS - {"estce"}
    assert join_hyphenated(text, changes, words) == expected
    assert (changes.total() > 0) == (text != expected)


def test_the_source_says_which_words_are_whole() -> None:
    texts = ["une hyper-\ntension et un anti-\ncorps", "L’HYPERTENSION revient", "anti-corps", "un ca-\nnard"]
    assert find_facts(lambda: texts).words == {"hypertension"}
    assert list(joined_words(texts[0])) == ["hypertension", "anticorps"]
    assert find_facts(lambda: texts[:1]).words == frozenset()
