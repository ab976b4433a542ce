"""The commands that the documents show exist, with the options that they show."""

import re
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest
import typer
from typer.core import TyperGroup

from pdapt.cli.main import app
from pdapt.core.exit_codes import MEANINGS, ExitCode
from pdapt.data_prep.sources.registry import read_definition
from pdapt.eval.benchmark.read_lm_eval import read_groups
from pdapt.eval.tasks.own.task_yaml import check_task, read_task_yaml
from pdapt.launch.chain.flow_file import read_flow
from pdapt.launch.slurm_site import read_site
from pdapt.recipes.load import load

ROOT = Path(__file__).resolve().parent.parent
READERS = {
    "recipe.yaml": load,
    "flow.yaml": lambda path: read_flow(Path(path)),
    "site.yaml": read_site,
    "groups.yaml": lambda path: read_groups(Path(path), ["recht_bgb"]),
    "recht_frist.yaml": lambda path: check_task(read_task_yaml(Path(path))),
}
"""Name of a file that a page shows -> what reads it; any other is a source's definition."""
_made = cache(typer.main.get_command)
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _commands(text: str) -> list[list[str]]:
    """Words of each command behind `pdapt`: lines of blocks, and code within lines that has a verb."""
    blocks = re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]  # blocks within lists are indented
    shown = [line for line in lines if re.match(r"(\$ )?pdapt [a-z]", line)] + re.findall(r"`(pdapt [^`]+)`", text)
    # Not the comment, nor what the shell does with the output.
    return [re.split(r"\s+[#|>&]", line.removeprefix("$ "))[0].split()[1:] for line in shown]


def _problem(words: list[str]) -> str:
    command = _made(app)
    left = list(words)
    while isinstance(command, TyperGroup) and left and not left[0].startswith("-"):
        verb = left.pop(0)
        if verb not in command.commands:
            return f"no verb {verb!r}"
        command = command.commands[verb]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known.add("--help")
    unknown = {word.partition("=")[0] for word in left if word.startswith("--")} - known
    return f"no {', '.join(sorted(unknown))}" if unknown else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings_that_are_there(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:", link)]
    assert [link for link in links if not _leads_somewhere(path, link)] == []


def _leads_somewhere(path: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if heading else []
    return not heading or heading in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_index_leads_to_every_page() -> None:
    links = set(re.findall(r"\]\(([\w-]+\.md)[)#]", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert links == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("path", [*FILES, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_no_line_is_longer_than_an_editor_is_wide(path: Path) -> None:
    """But rows of tables, which cannot be broken."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 160 and not line.startswith("|")] == []


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("howto-*.md")), ids=lambda path: path.name)
def test_the_files_that_a_how_to_shows_are_read(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```yaml\n(.*?)```", text, re.DOTALL | re.MULTILINE):
        lines = dedent(block)
        name = lines.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(lines, encoding="utf-8")
        READERS.get(name, lambda shown: read_definition(Path(shown)))(str(tmp_path / name))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    wrong = {" ".join(words): problem for words in _commands(path.read_text()) if (problem := _problem(words))}
    assert wrong == {}


def test_what_is_missing_would_be_found() -> None:
    (inline, block) = _commands("```sh\npdapt eval runn --out x  # why\n```\n`pdapt train R --fast | tee x`")
    assert (_problem(inline), _problem(block)) == ("no verb 'runn'", "no --fast")


def test_the_table_of_exit_codes_has_every_code_with_its_meaning() -> None:
    section = (ROOT / "docs" / "run.md").read_text(encoding="utf-8").partition("## Exit codes")[2]
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section, re.MULTILINE)
    assert rows == [(str(code.value), MEANINGS[code]) for code in ExitCode]


def test_the_disk_space_of_the_setup_is_the_same_wherever_it_is_stated() -> None:
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", "Makefile")}
    stated = {name: re.findall(r"(\d+) GB of disk", text) for name, text in texts.items()}
    assert stated == {name: ["11"] for name in texts}
