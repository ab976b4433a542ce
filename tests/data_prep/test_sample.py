"""The embedded sample corpus: whole, always the same, varied, and free of long repetitions."""

import gzip
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pdapt.core.manifest import fingerprint
from pdapt.data_prep.sample import SOURCES, write_sample
from pdapt.data_prep.sample.french import polish
from pdapt.data_prep.sample.grammar import read_rules, write_document
from pdapt.data_prep.sample.repeats import RepeatGuard

PARTS = ("general", "medical")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder


@pytest.fixture(scope="module")
def records(sample: Path) -> dict[str, list[dict[str, object]]]:
    lines = {
        part: [line for path in sorted((sample / part).glob("*.jsonl")) for line in path.open(encoding="utf-8")]
        for part in PARTS
    }
    return {part: [json.loads(line) for line in lines[part]] for part in PARTS}


@pytest.fixture(scope="module")
def texts(records: dict[str, list[dict[str, object]]]) -> dict[str, list[str]]:
    return {part: [str(record["text"]) for record in records[part]] for part in PARTS}


def words(texts: list[str]) -> list[str]:
    return re.findall(r"[^\W\d_]+", " ".join(texts).lower())


def most_repeats(texts: list[str], window: int) -> int:
    """How often the most frequent string of `window` characters occurs, counted over every position.

    Strings are compared by a 64-bit polynomial hash, built by doubling, so two different ones may only be taken for one
    another, which makes the count too high, never too low.
    """
    counted = []
    for text in texts:
        codes = np.array([ord(character) for character in text], dtype=np.uint64)
        hashes, covered, power = codes, 1, np.array([0x9E3779B97F4A7C15], dtype=np.uint64)
        result, done = np.zeros(len(codes) + 1, dtype=np.uint64), 0
        while covered <= window:
            if window & covered:
                length = len(codes) - done - covered + 1
                if length <= 0:
                    break
                result = result[:length] * power + hashes[done : done + length]
                done += covered
            hashes = hashes[:-covered] * power + hashes[covered:]
            covered, power = covered * 2, power * power
        else:
            counted.append(result)
    return int(np.unique(np.concatenate(counted), return_counts=True)[1].max())


@pytest.mark.slow
def test_records_hold_the_promised_fields(records: dict[str, list[dict[str, object]]]) -> None:
    for record in records["general"] + records["medical"]:
        assert set(record) == {"text", "document_type", "licence", "commercial", "original_split"}
        assert (record["licence"], record["commercial"], record["original_split"]) == ("Apache-2.0", True, "train")


def test_accents_are_written_as_they_are_read(sample: Path) -> None:
    """A reader of the files sees letters, and not JSON's escapes of them."""
    for path in sample.rglob("*.jsonl"):
        assert re.search(r"[a-z][éèêàç]", path.read_text(encoding="utf-8"))
        assert "\\u" not in path.read_text(encoding="utf-8")


def test_each_part_has_at_least_four_sources(sample: Path) -> None:
    for part in PARTS:
        assert len(list((sample / part).glob("*.jsonl"))) >= 4
    assert len(list(sample.rglob("*.jsonl"))) == len(SOURCES)


def test_the_sample_is_large_enough_to_train_on_and_small_enough_to_ship(texts: dict[str, list[str]]) -> None:
    size = {part: sum(len(text.encode()) for text in texts[part]) for part in PARTS}
    assert size["general"] >= 1_300_000
    assert size["medical"] >= 1_100_000
    assert sum(size.values()) <= 4_000_000
    documents = texts["general"] + texts["medical"]
    assert len(documents) >= 1_500
    assert len(set(documents)) == len(documents)


def test_documents_are_short_and_long(texts: dict[str, list[str]]) -> None:
    for part in PARTS:
        assert max(len(text.split()) for text in texts[part]) >= 1_000
    assert min(len(text.split()) for text in texts["medical"]) <= 12


@pytest.mark.slow
def test_no_string_of_100_characters_occurs_more_than_five_times(texts: dict[str, list[str]]) -> None:
    assert most_repeats(texts["general"] + texts["medical"], 100) <= 5


def test_the_count_of_repeats_sees_a_repeat() -> None:
    rng = random.Random(1)
    noise = ["".join(rng.choices("abcdefgh", k=400)) for _ in range(7)]
    planted = noise[0][50:150]
    assert most_repeats(noise, 100) == 1
    assert most_repeats([text[:37] + planted + text for text in noise[1:]], 100) == 6
    assert most_repeats([text[:37] + planted[:99] + "x" + text for text in noise[1:]], 100) < 7
    assert most_repeats(["a" * 103], 100) == 4


def test_guard_refuses_the_sixth_repeat() -> None:
    guard = RepeatGuard()
    stretch = " ".join(f"mot{number}" for number in range(20))
    assert len(stretch) >= 100
    outcomes = [guard.admit(f"Début {number} {stretch} fin {number}.") for number in range(6)]
    assert outcomes == [True] * 5 + [False]
    assert not guard.admit("Début 0 " + stretch + " fin 0.")


def test_vocabulary_is_rich_and_differs_between_parts(texts: dict[str, list[str]]) -> None:
    vocabulary = {part: set(words(texts[part])) for part in PARTS}
    for part in PARTS:
        assert len(vocabulary[part]) >= 2_000
        data = "\n".join(texts[part]).encode()
        assert len(data) / len(gzip.compress(data)) < 5
    common = vocabulary["general"] & vocabulary["medical"]
    assert len(common) / min(map(len, vocabulary.values())) < 0.5


def test_no_trace_of_the_grammar_is_left(texts: dict[str, list[str]]) -> None:
    for text in texts["general"] + texts["medical"]:
        assert not re.search(r"[\[\]{}\\#]|\^(?!\d)|<\S| {2}", text), text


def test_elisions_and_contractions_are_made(texts: dict[str, list[str]]) -> None:
    for text in texts["general"] + texts["medical"]:
        assert not re.search(r"(?<![-\w])(?:[dD]e|[lL]e|[qQ]ue) [aeiéêèà](?!\w*\d)", text), text
        assert not re.search(r"(?<![-\w])(?:de les?|à les?) ", text), text


SMALL = """
import sys
from dataclasses import replace
from pathlib import Path
from pdapt.data_prep import sample
sample.SOURCES = tuple(replace(source, size=source.size // 10) for source in sample.SOURCES)
sample.write_sample(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    """A tenth of the corpus, drawn twice."""
    for seed in ("1", "1234"):
        command = [sys.executable, "-c", SMALL, str(tmp_path / seed)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert fingerprint(tmp_path / "1") == fingerprint(tmp_path / "1234")


def test_every_rule_is_defined_and_used() -> None:
    folder = Path(sys.modules["pdapt.data_prep.sample"].__file__ or "").parent
    for source in SOURCES:
        shared = ["words"] + ["medical_words"] * (source.part == "medical")
        own = read_rules(folder / f"{source.name}.txt")
        rules = read_rules(*(folder / f"{name}.txt" for name in shared)) | own
        body = "\n".join(entry for entries in rules.values() for entry in entries)
        named = set(re.findall(r"\{\^?@?([a-z][a-z_]*)[ }]", body))
        assert named <= set(rules), source.name
        families = {
            name for prefix in re.findall(r"\{\^?([a-z]+_)\{", body) for name in rules if name.startswith(prefix)
        }
        assert set(own) <= named | families | {"document"}, source.name


@pytest.mark.parametrize(
    ("drawn", "written"),
    [
        ("^de le pain et de le ail", "Du pain et de l'ail"),
        ("la huile, la hanche, à le huit", "l'huile, la hanche, au huit"),
        ("si il que elle parle à les autres", "s'il qu'elle parle aux autres"),
        ("prenez-le avec le onzième", "prenez-le avec le onzième"),
        ("#. un\n#. deux\n\n#. un", "1. un\n2. deux\n\n1. un"),
    ],
)
def test_french_elisions_contractions_and_numbers_are_made(drawn: str, written: str) -> None:
    assert polish(drawn) == written


def test_grammar_draws_kept_repeated_and_gendered_forms(tmp_path: Path) -> None:
    path = tmp_path / "g.txt"
    path.write_text(
        "= document\n{@who} <il|elle> {n x4-4} {@who} {1,5-2,5} {10-20:5} {word_{k}}\n= who\nA ; B ; C\n"
        "= n\nu ; v ; w ; x\n= k\none\n= word_one\n[p|p]\n",
        encoding="utf-8",
    )
    rules = read_rules(path)
    seen = set()
    for seed in range(40):
        found = re.fullmatch(
            r"([ABC]) (il|elle) (\w) (\w) (\w) (\w) \1 (1,[5-9]|2,[0-5]) (10|15|20) p",
            write_document(rules, random.Random(seed)),
        )
        assert found
        assert sorted(found.groups()[2:6]) == ["u", "v", "w", "x"]
        seen.add(found[2])
    assert seen == {"il", "elle"}
