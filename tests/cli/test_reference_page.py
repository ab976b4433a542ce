"""docs/cli.md against the command line."""

from pathlib import Path

from pdapt.cli.reference_page import COMMAND, document

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_page_is_what_the_command_line_says_today() -> None:
    assert document() == PAGE.read_text(encoding="utf-8"), f"docs/cli.md is not up to date: run {COMMAND}"


def test_every_verb_has_its_options() -> None:
    text = document()
    for heading in ("## `pdapt train`", "## `pdapt corpus`", "### `pdapt corpus build`", "### `pdapt bench scaling`"):
        assert f"\n{heading}\n" in text
    build = text.partition("### `pdapt corpus build`\n")[2].partition("\n#")[0]
    assert "\npdapt corpus build [OPTIONS]" in build
    assert "\n| `--out <path>` |" in build
