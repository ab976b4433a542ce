"""Texts that differ in what they name are not taken for copies of each other."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pdapt.data_prep.corpus import Source, build_corpus
from pdapt.data_prep.dedup.replaced_words import name_others
from pdapt.data_prep.dedup.shingles import words_of

ENTRY = "Compresse stérile ALPHA, boîte de dix : prise en charge des plaies chroniques"
ADVICE = "Lire attentivement cette notice, qui contient des informations importantes, avant de commencer le traitement."


def differ(first: str, second: str) -> bool:
    words = words_of(pa.array([first, second]))
    ours, theirs = np.split(words.hashes.astype(np.uint32), words.offsets[1:-1])
    assert name_others(ours, theirs) == name_others(theirs, ours)
    return name_others(ours, theirs)


def filler(count: int) -> str:
    return " ".join(f"mot{'abcdefghij'[number % 10] * (1 + number // 10)}" for number in range(count))


@pytest.mark.parametrize("name", ["BETA", "beta", "Beta Plus", "à l'argent"])
@pytest.mark.parametrize("place", ["ALPHA", "Compresse", "chroniques"])
def test_a_short_entry_with_another_name_names_another_thing(name: str, place: str) -> None:
    """Within, at the beginning or at the end; in capitals or not; of one word or of several."""
    assert differ(ENTRY, ENTRY.replace(place, name))


@pytest.mark.parametrize(
    "other",
    [
        ENTRY.upper(),
        " ".join(re.findall(r"\w+|[^\w\s]", ENTRY)),
        f"{ENTRY} et des brûlures.",
        f"Avis de la commission. {ENTRY}",
        ENTRY.replace("boîte de dix", "boîte boîte de dix"),
        ENTRY.replace("stérile ", ""),
        ENTRY.replace("prise en charge", "prise en en charge") + " et aiguës",
    ],
)
def test_spelling_and_words_that_only_one_has_name_nothing_else(other: str) -> None:
    assert not differ(ENTRY, other)


def test_a_long_text_with_one_word_revised_names_the_same() -> None:
    long = f"{filler(300)} {ENTRY} {filler(40)}"
    assert not differ(long, long.replace("chroniques", "persistantes"))


def test_a_long_text_with_another_product_throughout_names_another_thing() -> None:
    leaflet = " ".join(f"{filler(60)} prenez ALPHA, puis {ADVICE}" for _ in range(10))
    assert differ(leaflet, leaflet.replace("ALPHA", "BETA"))


def test_words_in_place_of_others_that_the_text_has_elsewhere_do_not_count() -> None:
    assert not differ(f"{ENTRY}. {ADVICE}", f"{ENTRY}. {ADVICE}".replace("notice", "boîte"))


def test_entries_of_one_pattern_stay_and_their_copies_go(tmp_path: Path) -> None:
    pattern = "{}, comprimé sécable : traitement des douleurs légères à modérées, remboursé sur prescription médicale"
    texts = [pattern.format(name) for name in ("Doliprane", "Efferalgan", "Dafalgan", "DOLIPRANE")]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    manifest = build_corpus([Source("a", path)], tmp_path / "corpus", duplicates="near")
    assert manifest.counts["a"]["kept"] == 3
    assert {kind: each["documents"] for kind, each in manifest.counts["a"]["duplicates"]["a"].items()} == {"words": 1}


def test_drugs_that_the_agency_lists_by_one_pattern_stay(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Homeopathic drugs, whose entries of 40 words differ in the name alone."""
    manifest = build_corpus(
        [Source("bdpm", shared("samples/bdpm"), format="BDPM")], tmp_path / "corpus", duplicates="near"
    )
    assert set(manifest.counts["bdpm"]["duplicates"].get("bdpm", {})) <= {"exact", "words"}
