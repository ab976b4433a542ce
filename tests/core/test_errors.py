"""A mistake as the user reads it, and which of the operating system's errors are one."""

import errno
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.system import os_errors


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({}, ["no such size"]),
        ({"where": "--size"}, ["no such size", "  where: --size"]),
        ({"allowed": "0p6b, 8b"}, ["no such size", "  allowed: 0p6b, 8b"]),
        ({"fix": "give one"}, ["no such size", "  fix: give one"]),
        (
            {"fix": "give one", "where": "--size", "allowed": "0p6b, 8b"},
            ["no such size", "  where: --size", "  allowed: 0p6b, 8b", "  fix: give one"],
        ),
    ],
)
def test_each_part_of_a_mistake_has_a_line_that_names_it(given: dict[str, str], lines: list[str]) -> None:
    assert str(UserError("no such size", **given)).split("\n") == lines


@pytest.mark.parametrize("name", ["missing.jsonl", b"missing.jsonl"])
def test_a_missing_file_of_the_users_is_named(name: str | bytes) -> None:
    found = os_errors.user_error(FileNotFoundError(errno.ENOENT, "No such file or directory", name))
    assert found is not None
    assert found.what.startswith("missing.jsonl ")


def test_what_names_no_file_or_a_missing_one_of_the_programs_own_is_a_defect() -> None:
    own = Path(os_errors.__file__).with_name("missing.html")
    assert os_errors.user_error(FileNotFoundError(errno.ENOENT, "No such file or directory", str(own))) is None
    assert os_errors.user_error(FileNotFoundError(errno.ENOENT, "No such file or directory")) is None
    locked = os_errors.user_error(PermissionError(errno.EACCES, "Permission denied", str(own)))
    assert locked is not None
    assert str(own) in locked.what


def test_a_name_of_any_length_fits_the_message() -> None:
    found = os_errors.user_error(FileNotFoundError(errno.ENOENT, "No such file or directory", "x" * 5000))
    assert found is not None
    assert len(str(found)) < 500
