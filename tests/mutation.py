"""Mutation campaign: change the code in small ways, and count the changes that the fast tests notice.

    .venv/bin/python tests/mutation.py --count 200 --seed 1

Mutations (a comparison turned, a sign, a constant, a boolean, a `not` removed) are drawn with a seed from every
expression of every room, and each is put into a copy of the checkout. All fast tests run once unchanged, which notes
the lines that each reaches; a mutation is tried on those that reach its line, quickest first. They run in a fork of a
process that has imported the large libraries, for that takes longer than most tests. This is why it is no library:
mutmut and cosmic-ray start each mutation's tests anew, draw no sample, and expect a package's folder to carry its name.
"""

import argparse
import ast
import bisect
import compileall
import copy
import importlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
IMPORTED_ONCE = ("torch", "transformers", "megatron.core.datasets.indexed_dataset", "hypothesis", "matplotlib.pyplot")
OPTIONS = ["-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
QUICK = 25
"""Tests that are tried before all others that reach a line: most mutations are noticed by them."""
TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One expression of one file, and another in its place. Columns count bytes.

    Attributes:
        first, last: lines of its statement; of one with a body, its head's.
    """

    file: str
    first: int
    last: int
    line: int
    column: int
    end_line: int
    end_column: int
    text: str

    def apply(self, source: str) -> str:
        """Return the file's text with the mutation in it."""
        lines = source.encode().splitlines(keepends=True)
        before = [*lines[: self.line - 1], lines[self.line - 1][: self.column]]
        after = [lines[self.end_line - 1][self.end_column :], *lines[self.end_line :]]
        return b"".join([*before, self.text.encode(), *after]).decode()

    def describe(self, source: str) -> str:
        """Name the place, the line as it is and the expression that replaces a part of it."""
        return f"{self.file}:{self.line}: `{source.splitlines()[self.line - 1].strip()}` gets `{self.text}`"


def mutated(node: ast.AST) -> ast.expr | None:
    """Return another expression in place of one; None: this kind has none."""
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in TURNED:
            changed = copy.copy(node)
            changed.ops = [TURNED[type(operator)](), *node.ops[1:]]  # type: ignore[list-item]
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in TURNED:
            changed = copy.copy(node)
            changed.op = TURNED[type(operator)]()  # type: ignore[assignment]
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            changed = node.operand
        case ast.Constant(value=bool() as value):
            changed = ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            changed = ast.Constant(value + 1)
        case _:
            return None
    return changed


def _frozen(node: ast.AST) -> list[ast.expr]:
    """A class's decorators: that a dataclass is frozen is for the type checker."""
    return node.decorator_list if isinstance(node, ast.ClassDef) else []


def mutations(file: str, source: str) -> Iterator[Mutation]:
    """Yield all mutations of a file, but those of annotations and of assertions, which state what is known."""
    todo: list[tuple[ast.AST, tuple[int, int]]] = [(ast.parse(source), (1, 1))]
    while todo:
        node, statement = todo.pop()
        if isinstance(node, ast.Assert):
            continue
        if isinstance(node, ast.stmt):
            statement = _lines(node)
        skipped = [getattr(node, "annotation", None), getattr(node, "returns", None), *_frozen(node)]
        todo += ((child, statement) for child in ast.iter_child_nodes(node) if child not in skipped)
        if isinstance(node, ast.expr) and (other := mutated(node)) is not None:
            place = (node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0)
            yield Mutation(file, *statement, *place, f"({ast.unparse(other)})")


def _lines(statement: ast.stmt) -> tuple[int, int]:
    """First and last line of a statement without the statements in it."""
    body = getattr(statement, "body", None)
    end = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return statement.lineno, max(statement.lineno, end)


class Reach:
    """A plugin of pytest that notes which lines of the rooms each test reaches, and how long the test takes.

    What a fixture of several tests reaches counts for the first of them alone: run by itself it makes the fixture, too.
    What a process reaches that a test starts is not noted.
    """

    TOOL = sys.monitoring.PROFILER_ID

    def __init__(self, tree: Path) -> None:
        self.folder = f"{tree}{os.sep}"
        self.lines: set[tuple[str, int]] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        self.failed: set[str] = set()

    def reached(self, code: CodeType, line: int) -> Any:
        """Note a line, once a test."""
        self.lines.add((code.co_filename.removeprefix(self.folder), line))
        return sys.monitoring.DISABLE

    def watch(self, code: CodeType) -> None:
        """Watch a module's code, and that of all functions in it: libraries' would take most of the time."""
        sys.monitoring.set_local_events(self.TOOL, code, sys.monitoring.events.LINE)
        for value in code.co_consts:
            if isinstance(value, CodeType):
                self.watch(value)

    def pytest_sessionstart(self) -> None:
        """Watch what is imported of the rooms from now on."""
        sys.monitoring.use_tool_id(self.TOOL, "mutation")
        sys.monitoring.register_callback(self.TOOL, sys.monitoring.events.LINE, self.reached)
        get_code = SourceFileLoader.get_code

        def watched(loader: SourceFileLoader, name: str) -> CodeType | None:
            code = get_code(loader, name)
            if code is not None and code.co_filename.startswith(self.folder):
                self.watch(code)
            return code

        SourceFileLoader.get_code = watched  # type: ignore[method-assign]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note that a test, or its fixture, failed."""
        if report.failed:
            self.failed.add(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Watch one test, with its fixtures."""
        self.lines.clear()
        sys.monitoring.restart_events()
        begun = time.perf_counter()
        result = yield
        by_file: dict[str, list[int]] = defaultdict(list)
        for file, line in sorted(self.lines):
            by_file[file].append(line)
        self.tests[item.nodeid] = {"seconds": time.perf_counter() - begun, "lines": by_file}
        return result


def reach(tree: Path, out: Path) -> None:
    """Run all fast tests once, and write what each reaches: test -> its seconds, and file -> lines.

    Those that fail are left out, and named by pytest: some look at the checkout, and the copy is none.
    """
    child = os.fork()
    if child == 0:
        plugin = Reach(tree)
        code = pytest.main([*OPTIONS, "-rfE", "tests"], plugins=[plugin])
        passed = {name: test for name, test in plugin.tests.items() if name not in plugin.failed}
        out.write_text(json.dumps(passed))
        print(f"{len(passed)} of {len(plugin.tests)} tests pass in the copy", flush=True)
        os._exit(0 if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else int(code))
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"the tests did not run to their end (exit code {status})")


def tests_of(mutation: Mutation, reached: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    """Yield the tests that reach a mutation, the quickest first; where none does, those that reach its file.

    A constant of a module is reached while that is imported, before its tests.
    """
    file = mutation.file
    there = {name: test["lines"][file] for name, test in reached.items() if file in test["lines"]}
    tests = [name for name, lines in there.items() if _between(lines, mutation.first, mutation.last)] or list(there)
    tests.sort(key=lambda name: reached[name]["seconds"])
    yield from filter(None, (tests[:QUICK], tests[QUICK:]))


def _between(lines: list[int], first: int, last: int) -> bool:
    place = bisect.bisect_left(lines, first)
    return place < len(lines) and lines[place] <= last


def first_failure(tree: Path, tests: list[str], seconds: int) -> str | None:
    """Run fast tests in a fork; return the first that fails, or what ended them; None: all pass."""
    log = tree / "mutation.log"
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1), os.dup2(descriptor, 2)
        os._exit(int(pytest.main([*OPTIONS, "-x", "-rfE", *tests])))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        return None
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", log.read_text(errors="replace"), re.MULTILINE)
    return failed[0] if failed else f"exit code {status}"


def copied(names: list[str]) -> Path:
    """Copy the checkout to where its rooms are imported from, here and in processes that tests start."""
    tree = Path(tempfile.mkdtemp(prefix="mutation-")) / "pdapt"  # a folder of this name comes before the editable rooms
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name, follow_symlinks=False)
    compileall.compile_dir(tree, quiet=1)  # a file's own is not used once the file is another
    os.environ |= {"PYTHONPATH": str(tree.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    if (ROOT.parent / "shared").is_dir():
        os.environ.setdefault("PDAPT_SHARED", str(ROOT.parent / "shared"))
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(tree.parent))
    os.chdir(tree)
    return tree


def main() -> None:
    """Draw, try and report mutations."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=600, help="seconds of CPU for one mutation's tests")
    parser.add_argument(
        "--reach",
        type=lambda text: Path(text).resolve(),
        help="file of what each test reaches: kept if it is there, else written",
    )
    parser.add_argument("paths", nargs="*", default=[""], help="files or folders to mutate; default: every room")
    given = parser.parse_args()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split("\0") if name]
    code = [name for name in names if re.match(r"(?!tests/)\w+/.+\.py$", name) and name.startswith(tuple(given.paths))]
    every = [mutation for name in code for mutation in mutations(name, (ROOT / name).read_text())]
    drawn = random.Random(given.seed).sample(every, min(given.count, len(every)))
    tree = copied(names)
    for library in IMPORTED_ONCE:
        importlib.import_module(library)
    kept = given.reach.resolve() if given.reach else tree / "reach.json"
    if not kept.is_file():
        reach(tree, kept)
    reached = json.loads(kept.read_text())
    survivors = 0
    for number, mutation in enumerate(drawn, 1):
        source = (tree / mutation.file).read_text()
        (tree / mutation.file).write_text(mutation.apply(source))
        groups = tests_of(mutation, reached)
        by = next(filter(None, (first_failure(tree, tests, given.limit) for tests in groups)), None)
        (tree / mutation.file).write_text(source)
        survivors += by is None
        print(f"{number} {'noticed' if by else 'SURVIVES'} {mutation.describe(source)} {by or ''}", flush=True)
    print(f"{len(drawn) - survivors} of {len(drawn)} noticed (seed {given.seed}; {len(every)} are possible)")
    shutil.rmtree(tree.parent)


if __name__ == "__main__":
    main()
