"""Names, docstrings and calls that a reader understands without looking twice."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from syntax import nodes

ROOT = Path(__file__).resolve().parent.parent
ROOMS = tuple(sorted(folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()))
VAGUE = {"found", "told", "its", "one"}
"""Names that say nothing of what a variable holds."""
Nodes = tuple[ast.AST, ...]
MOST_BY_POSITION = 4
TABLES = {"Architecture", "_gpt", "_llama"}
"""Functions that are called once a row of a table, whose columns are named above it."""


def files() -> dict[str, Nodes]:
    """Path in the repository -> syntax of each file of the rooms."""
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return {str(path.relative_to(ROOT)): nodes(path.read_text(encoding="utf-8")) for path in paths}


def own_names(trees: dict[str, Nodes]) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for tree in trees.values() for node in tree if isinstance(node, kinds)}


def vague_names(tree: Nodes) -> Iterator[str]:
    """Variables and arguments with a vague name, and constants called NAME."""
    for node in tree:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE | {"NAME"}:
            yield f"line {node.lineno}: {node.id}"
        elif isinstance(node, ast.arg) and node.arg in VAGUE:
            yield f"line {node.lineno}: {node.arg}"


def odd_docstrings(tree: Nodes) -> Iterator[str]:
    """Docstrings, of constants too, whose first line is neither an imperative nor a noun phrase."""
    for node in tree:
        text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
        if isinstance(text, str) and re.match(r"(What|Of)\b", text):
            yield f"line {getattr(node, 'lineno', 0)}: {text.splitlines()[0]}"


def long_calls(tree: Nodes, names: set[str]) -> Iterator[str]:
    """Calls of our own functions with more arguments by position than one can tell apart."""
    for node in tree:
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            count = sum(not isinstance(argument, ast.Starred) for argument in node.args)
            if called in names - TABLES and count > MOST_BY_POSITION:
                yield f"line {node.lineno}: {called} with {count}"


def test_variables_say_what_they_hold() -> None:
    assert len(files()) > 50, "the files were not found"
    assert {path: names for path, tree in files().items() if (names := list(vague_names(tree)))} == {}


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    tests = {str(path.relative_to(ROOT)): nodes(path.read_text("utf-8")) for path in ROOT.glob("tests/**/*.py")}
    assert {path: odd for path, tree in (files() | tests).items() if (odd := list(odd_docstrings(tree)))} == {}


def test_calls_with_many_arguments_name_them() -> None:
    trees = files()
    names = own_names(trees)
    assert {path: calls for path, tree in trees.items() if (calls := list(long_calls(tree, names)))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "NAME = 'a.json'",
        "for one in rows: pass",
        "def f(told): pass",
        "X = 1\n'''Of a run.'''",
        "def f():\n    '''What it does.'''",
        "f(1, 2, 3, 4, 5)",
        "room.f(a, b, c, d, e, g=1)",
    ],
)
def test_what_breaks_a_rule_is_seen(source: str) -> None:
    tree = nodes(source)
    assert len([*vague_names(tree), *odd_docstrings(tree), *long_calls(tree, {"f"})]) == 1


@pytest.mark.parametrize(
    "source", ["founded = 1", "'''Offer it.'''", "f(1, 2, 3, 4, a=5)", "f(*rows, 1, 2)", "g(1, 2, 3, 4, 5)"]
)
def test_what_breaks_none_is_let_through(source: str) -> None:
    tree = nodes(source)
    assert [*vague_names(tree), *odd_docstrings(tree), *long_calls(tree, {"f"})] == []
