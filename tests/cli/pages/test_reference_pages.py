"""docs/cli.md against the command line, and docs/formats.md against the classes of the files."""

from pathlib import Path
from typing import Any

import pytest

from pdapt.cli.pages import formats_page, reference_page
from pdapt.cli.pages.reference_page import document

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize(("name", "page"), [("cli.md", reference_page), ("formats.md", formats_page)])
def test_a_page_is_what_the_code_says_today(name: str, page: Any) -> None:
    assert page.document() == (DOCS / name).read_text(encoding="utf-8"), f"docs/{name}: run {page.COMMAND}"


def test_the_meaning_of_a_field_goes_on_in_the_next_line_and_may_be_that_of_two() -> None:
    class Record:
        """A record.

        Attributes:
            low, high: bounds of the
                interval.
            name: of it.
        """

    meanings = {"low": "bounds of the interval.", "high": "bounds of the interval.", "name": "of it."}
    assert formats_page.attributes_of(Record) == meanings


def test_every_verb_has_its_options() -> None:
    text = document()
    for heading in ("## `pdapt train`", "## `pdapt corpus`", "### `pdapt corpus build`", "### `pdapt bench scaling`"):
        assert f"\n{heading}\n" in text
    build = text.partition("### `pdapt corpus build`\n")[2].partition("\n#")[0]
    assert "\npdapt corpus build [OPTIONS]" in build
    assert "\n| `--out <path>` |" in build
