"""The walks of docs/architecture.md lead through the code as it is."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = {"From `pdapt train` to the optimizer's step": 12, "From `pdapt eval run` to a score": 8}
"""Walk -> files of ours at most."""


@dataclass(frozen=True)
class Hop:
    """A row of a walk's table."""

    number: int
    file: str
    name: str
    caller: int | None

    @property
    def module(self) -> str:
        return "pdapt." + self.file.removesuffix(".py").replace("/", ".")

    @property
    def tree(self) -> ast.Module:
        return ast.parse((ROOT / self.file).read_text(encoding="utf-8"))


def walk(title: str) -> list[Hop]:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split(f"### {title}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \| `(\w+)` \|\s*(\d*)\s*\|", section, re.MULTILINE)
    return [Hop(int(number), file, name, int(caller) if caller else None) for number, file, name, caller in rows]


def defines(tree: ast.Module, name: str) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name for node in ast.walk(tree))


def mentions(tree: ast.Module) -> set[str]:
    """Names that a file imports, calls as methods, or starts as modules of a process of their own."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


@pytest.mark.parametrize("title", LONGEST)
def test_a_walk_is_short_and_counts_its_files(title: str) -> None:
    hops = walk(title)
    assert 5 < len(hops) <= LONGEST[title]
    assert [hop.number for hop in hops] == list(range(1, len(hops) + 1))
    assert len({hop.file for hop in hops}) == len(hops)


@pytest.mark.parametrize("title", LONGEST)
def test_each_hop_of_a_walk_is_a_call_in_the_code(title: str) -> None:
    hops = walk(title)
    wrong = [f"{hop.file} has no {hop.name}" for hop in hops if not defines(hop.tree, hop.name)]
    for hop in hops[1:]:
        assert hop.caller is not None
        assert hop.caller < hop.number
        before = hops[hop.caller - 1]
        wanted = hop.module if hop.name == "main" else hop.name  # a process of its own runs a module
        if wanted not in mentions(before.tree):
            wrong.append(f"{before.file} does not lead to {hop.module}: {hop.name}")
    assert not wrong


def test_the_command_begins_where_the_walks_do() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'pdapt = "pdapt.cli.main:main"' in project
    assert {walk(title)[0].module for title in LONGEST} == {"pdapt.cli.main"}


def test_a_hop_that_is_not_in_the_code_is_seen() -> None:
    tree = ast.parse('from .run import spawn\nMODULE = "pdapt.training.rank"\nrunner.start()')
    assert mentions(tree) == {"spawn", "pdapt.training.rank", "start"}
    assert defines(ast.parse("class Hooks: ..."), "Hooks")
    assert not defines(ast.parse("Hooks = 1"), "Hooks")
