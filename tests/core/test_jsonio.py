"""JSON that somebody else wrote."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_bytes, read_json, read_jsonl, read_object
from pdapt.core.jsonio import MAX_BYTES, MAX_DEPTH, MAX_VALUES, JsonObject, parse_json

REFUSED = {
    "nothing": (b"", "Expecting value"),
    "half an object": (b'{"a": 1', "Expecting"),
    "not UTF-8": (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
    "a key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'key "c" appears twice'),
    "NaN": (b"[NaN]", "NaN is not a JSON value"),
    "minus infinity": (b"[-Infinity]", "-Infinity is not a JSON value"),
    "half a surrogate pair": (b'["\\ud83d"]', "half of a surrogate pair"),
    "20,000 digits": (b"9" * 20_000, "4300 digits"),
    "a little too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than 100"),
    "200,000 deep": (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nested more than 100"),
    "too many values": (b"[" + b"{}," * MAX_VALUES + b"{}]", "more than 4,000,000 values"),
    "too long": (b" " * MAX_BYTES + b"1", "67,108,865 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_sound_json_is_refused_with_its_place(name: str) -> None:
    data, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as refusal:
        parse_json(data, "rows.jsonl:7")
    assert refusal.value.where == "rows.jsonl:7"


def test_what_python_writes_is_read_as_json_reads_it() -> None:
    value = {"a": [1, -2.5, "é😀", None, True, {"b": []}], "deep": [[[[1]]]]}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert parse_json(text.encode(), "x") == parse_json(text, "x") == value
    assert parse_json(b"\xef\xbb\xbf[1]", "x") == [1]
    assert parse_json("[NaN, Infinity]", "x", nan=True)[1] == float("inf")
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "x")


def test_values_are_taken_with_their_type() -> None:
    found = JsonObject({"n": 3, "x": 2.5, "s": "t", "b": False, "l": [1], "o": {"k": {"n": -1}}, "null": None}, "f")
    assert (found.integer("n"), found.number("n"), found.number("x"), found.text("s")) == (3, 3.0, 2.5, "t")
    assert (found.flag("b"), found.list("l"), found.objects("o")["k"].integer("n", minimum=-1)) == (False, [1], -1)
    assert ("n" in found, "null" in found, found.integer("null", 7), found.flag("absent", True)) == (
        True,
        False,
        7,
        True,
    )


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("integer", True, "key is true"),
        ("integer", 3.0, "key is 3.0"),
        ("integer", -1, "key is -1"),
        ("integer", 2**63, "key is 9223372036854775808"),
        ("integer", "٣", 'key is "٣"'),
        ("number", "1", 'key is "1"'),
        ("number", float("nan"), "key is NaN"),
        ("number", 10**400, "key is '1000"),
        ("text", 3, "key is 3"),
        ("flag", 1, "key is 1"),
        ("list", {}, "key is an object of 0"),
        ("object", [1, 2], "key is a list of 2"),
        ("object", None, "key is missing"),
        ("texts", {"a": 1}, "a is 1"),
    ],
)
def test_a_value_of_another_type_is_refused(method: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        getattr(JsonObject({"key": value}, "file.json"), method)("key")
    assert refusal.value.where.startswith("file.json")


def test_lines_are_counted_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [row.integer("a") for row in read_jsonl(path)] == [1, 2]
    path.write_text('{"a": 1}\n[2]\n')
    with pytest.raises(UserError, match="not a JSON object") as refusal:
        list(read_jsonl(path))
    assert refusal.value.where == f"{path}:2"


def test_what_is_not_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "endless", "loop"):
        with pytest.raises(UserError, match=r"is not a regular file|leads nowhere"):
            read_json(tmp_path / name)


def test_no_more_of_a_file_is_read_than_it_may_hold(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(UserError, match="1,000,000,000,000 bytes"):
        read_bytes(tmp_path / "huge")


def test_fuzz_objects(fuzz: Callable[[Path, Callable[[], Any]], None], tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_text(json.dumps({"n": 1, "x": 2.5, "names": ["é", "b"], "of": {"a": "b"}, "deep": [[{"c": None}]]}))

    def read() -> None:
        found = read_object(path)
        found.integer("n"), found.number("x"), found.list("names"), found.texts("of")

    fuzz(path, read)
