"""Mutation campaign: change the code in small ways, and count the changes that the fast tests notice.

    .venv/bin/python tests/mutation.py --count 200 --seed 1

Mutations (a comparison turned, a sign, a constant, a boolean, a `not` removed) are drawn with a seed from every
expression of every room, and each is put into a copy of the checkout. The fast tests that name its module run first,
then the others of its room, and with `--rest` those of all rooms. They run in a fork of a process that has imported
the large libraries, for that takes longer than most rooms' tests. This is why it is no library: mutmut and cosmic-ray
start each mutation's tests anew, draw no sample, and expect a package's folder to carry its name.
"""

import argparse
import ast
import compileall
import copy
import importlib
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IMPORTED_ONCE = ("torch", "transformers", "megatron.core.datasets.indexed_dataset", "hypothesis", "matplotlib.pyplot")
TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One expression of one file, and another in its place. Columns count bytes."""

    file: str
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
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Assert):
            continue
        skipped = [getattr(node, "annotation", None), getattr(node, "returns", None), *_frozen(node)]
        todo += (child for child in ast.iter_child_nodes(node) if child not in skipped)
        if isinstance(node, ast.expr) and (other := mutated(node)) is not None:
            end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
            yield Mutation(file, node.lineno, node.col_offset, *end, f"({ast.unparse(other)})")


def tests_of(file: str, tree: Path, rest: bool) -> Iterator[list[str]]:
    """Yield the test files to run, in turn: those that name the module, its room's others, and perhaps all others."""
    parts = file.removesuffix(".py").split("/")
    module = rf"pdapt\.{re.escape('.'.join(parts))}\b"
    package = rf"from pdapt\.{re.escape('.'.join(parts[:-1]))} import [^\n]*\b{parts[-1]}\b"
    files = sorted(str(path.relative_to(tree)) for path in (tree / "tests").rglob("test_*.py"))
    texts = {name: (tree / name).read_text() for name in files}
    named = [name for name in files if re.search(f"{module}|{package}", texts[name])]
    room = [name for name in files if name.startswith(f"tests/{parts[0]}/") and name not in named]
    yield named
    yield room
    if rest:
        yield [name for name in files if name not in named and name not in room]


def first_failure(tree: Path, tests: list[str], seconds: int) -> str | None:
    """Run fast tests in a fork; return the first that fails, or what ended them; None: all pass."""
    log = tree / "mutation.log"
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1), os.dup2(descriptor, 2)
        options = ["-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
        os._exit(int(pytest.main([*options, *tests])))
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
    parser.add_argument("--rest", action="store_true", help="try what survives on all rooms' fast tests, too")
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
    survivors = 0
    for number, mutation in enumerate(drawn, 1):
        source = (tree / mutation.file).read_text()
        (tree / mutation.file).write_text(mutation.apply(source))
        groups = tests_of(mutation.file, tree, given.rest)
        by = next(filter(None, (first_failure(tree, tests, given.limit) for tests in groups if tests)), None)
        (tree / mutation.file).write_text(source)
        survivors += by is None
        print(f"{number} {'noticed' if by else 'SURVIVES'} {mutation.describe(source)} {by or ''}", flush=True)
    print(f"{len(drawn) - survivors} of {len(drawn)} noticed (seed {given.seed}; {len(every)} are possible)")
    shutil.rmtree(tree.parent)


if __name__ == "__main__":
    main()
