"""Files that give texts their topics: written, read, damaged."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.topics.assignments import read_assignments, text_hashes, write_assignments

ROWS = {"Le cœur": "cardiology", "Le rein": "nephrology", "La gare": "none"}


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_what_is_written_is_read_and_a_text_that_is_not_listed_has_no_topic(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    write_assignments(path, [(digest(text), topic) for text, topic in ROWS.items()] * 2)
    assert len(path.read_text().splitlines()) == 4, "each text once"
    given = read_assignments(path)
    numbers = given.of(text_hashes([text.encode() for text in [*ROWS, "autre"]]))
    assert [given.names[number] for number in numbers.tolist()] == [*ROWS.values(), ""]
    assert given.of(np.empty(0, np.uint64)).tolist() == []


def test_columns_are_found_by_their_names_and_others_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    path.write_bytes(b"\xef\xbb\xbftopic\tscore\ttext_sha256\r\nurology\t0.9\t" + b"AB" * 32 + b"\r\n\r\n")
    assert read_assignments(path).names == ["urology", ""]
    assert read_assignments(path).hashes.tolist() == [0xABABABABABABABAB]


HEAD = "text_sha256\ttopic\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column is called 'text_sha256'"),
        ("text_sha256,topic\n", r"(?s)no column is called 'text_sha256'; there are: text_sha256,topic.*tab"),
        ("text_sha256\ttopic\ttopic\n", "no column is called 'topic'"),
        (HEAD, "lists no text"),
        (HEAD + "ab\tx\n", r"(?s)not a text with its topic: 'ab\\tx'.*topics.tsv:2.*64 hexadecimal digits"),
        (HEAD + "g" * 64 + "\tx\n", "not a text with its topic"),
        (HEAD + "a" * 64 + "\n", "not a text with its topic"),
        (HEAD + "a" * 64 + "\tCœur\n", "cannot be a topic's name"),
        (HEAD + "a" * 64 + "\t\n", "cannot be a topic's name"),
        (HEAD + "a" * 64 + "\tx\n" + "a" * 64 + "\ty\n", r"one text is both x and y"),
        (HEAD + "a" * 20_000, "the line is too long"),
    ],
)
def test_a_file_that_is_wrong_says_where_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_assignments(path)


def test_fuzz_assignments(fuzz: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    write_assignments(path, [(digest(text), topic) for text, topic in ROWS.items()])
    fuzz(path, lambda: read_assignments(path).names)
