"""Messages of an evaluation's libraries: where they go, and which are counted together."""

import logging
import os
from pathlib import Path

import pytest

from pdapt.eval.harness.messages import WARNING_CHARACTERS, WarningCounter, written_to


def test_what_is_printed_in_a_block_is_in_its_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """On either descriptor; twice, for a later start adds to the file."""
    path = tmp_path / "logs" / "task" / "lm_eval.log"
    for number in (1, 2):
        with written_to(path):
            os.write(1, f"standard output {number}\n".encode())
            os.write(2, b"standard error\n")
    os.write(1, b"afterwards\n")
    assert path.read_text() == "standard output 1\nstandard error\nstandard output 2\nstandard error\n"
    assert capfd.readouterr() == ("afterwards\n", "")


def test_where_a_block_fails_its_output_is_shown_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        os.write(1, b"the last words\n")
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"), written_to(tmp_path / "log"):
        fail()
    assert capfd.readouterr().err == "the last words\n"


def test_warnings_that_differ_in_their_numbers_alone_are_one() -> None:
    counter, logger = WarningCounter(), logging.Logger("transformers.generation")
    logger.addHandler(counter)
    for text in ("cut after 20 tokens", "cut after 300\n tokens", "no pad token", "x" * 2000):
        logger.warning(text)
    logger.info("of no interest")
    taken = {warning.message[:20]: warning.times for warning in counter.take()}
    assert taken == {"cut after 20 tokens": 2, "no pad token": 1, "x" * 20: 1}
    logger.error("y" * 2000)
    (last,) = counter.take()
    assert (last.library, len(last.message), last.times) == ("transformers", WARNING_CHARACTERS, 1)
