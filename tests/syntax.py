"""Syntax of code, read once for all tests that look at it."""

import ast
from functools import cache


@cache
def nodes(source: str) -> tuple[ast.AST, ...]:
    """Every node of a source file's tree."""
    return tuple(ast.walk(ast.parse(source)))
