"""The templates of lm-eval's task files, in a sandbox: lm-eval's own environment would let one run any code.

`{{ lipsum.__globals__ }}` reaches Python's modules from there. In Jinja's sandbox names that begin with an underscore
are out of reach, and `str.format` is kept from them, too.
"""

import ast
import re
import threading
from collections.abc import Callable
from typing import Any

from jinja2 import BaseLoader, StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from ....core.errors import UserError, nearest
from ....core.hf.chat_rendering import bounded
from ....core.jsonio import shorten

LONGEST = 100_000
"""Characters or items of a repeated text or list, and the largest base or exponent of a power."""
_LOADING = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class _Sandbox(SandboxedEnvironment):
    """Jinja's sandbox, in which no product or power takes all memory: not while a template is compiled either."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or raise to a power, where the result is no longer than LONGEST."""
        sizes = [len(side) for side in (left, right) if hasattr(side, "__len__")]
        numbers = [abs(side) for side in (left, right) if isinstance(side, int)]
        length = max(numbers, default=0) * max(sizes, default=operator == "**")
        if length > LONGEST:
            raise SecurityError(f"the result of {operator} would be longer than {LONGEST:,}")
        return super().call_binop(context, operator, left, right)


def sandbox() -> SandboxedEnvironment:
    """An environment as lm-eval's (`lm_eval.utils.env`), within Jinja's sandbox."""
    environment = _Sandbox(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = _regex_replace
    return environment


def _regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
    """As lm-eval's filter of the same name."""
    return re.sub(pattern, repl, string, count=count)


def _render(template: Template, row: dict[str, Any]) -> str:
    return template.render(**row)


class Templates:
    """Renders a task's templates as lm-eval does (`ConfigurableTask.doc_to_text` and its neighbours)."""

    def __init__(self, columns: list[str]) -> None:
        """Templates on data with these columns; one that is called as a column is that column's value."""
        self._environment, self._columns, self._compiled = sandbox(), columns, dict[str, Template]()
        # A signal's handler, by which a template ends that would not, belongs to a process's first thread.
        in_first = threading.current_thread() is threading.main_thread()
        self._render: Callable[..., str] = bounded(_render, "template") if in_first else _render

    def check(self, template: str, where: str) -> None:
        """Check a template before it is used.

        Raises:
            UserError: it is not Jinja, loads a file, reaches for what the sandbox keeps closed, or names no column.
        """
        if template in self._columns:
            return
        try:
            tree = self._environment.parse(template)
            self._environment.compile(template)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise UserError(f"not a template{f', line {line}' if line else ''}: {error.message}", where=where) from None
        for node in tree.find_all(_LOADING):
            raise UserError(f"the template loads a file, in its line {node.lineno}", where=where, fix="write it out")
        for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
            name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
            if isinstance(name, str) and name.startswith("_"):
                raise UserError(
                    f"the template names {name}, in its line {node.lineno}",
                    where=where,
                    allowed="names that do not begin with '_': those lead to Python's own modules",
                )
        unknown = sorted(meta.find_undeclared_variables(tree) - {*self._columns, *self._environment.globals})
        if unknown:
            raise UserError(
                f"the template names {unknown[0]!r}, which the data do not have",
                where=where,
                allowed=", ".join(self._columns),
                fix=nearest(unknown[0], self._columns),
            )

    def text(self, template: str, row: dict[str, Any], where: str) -> Any:
        """The value of a template for a row.

        Raises:
            UserError: it cannot be rendered.
        """
        if template in self._columns:
            return row.get(template)
        try:
            compiled = self._compiled.setdefault(template, self._environment.from_string(template))
            return self._render(compiled, row)
        except Exception as error:  # a template can raise anything
            raise UserError(f"the template fails: {type(error).__name__}: {error}", where=where) from None

    def value(self, template: Any, row: dict[str, Any], where: str) -> Any:
        """The value of a template that may render a number or a list, as of an answer or of choices."""
        rendered = self.text(template, row, where) if isinstance(template, str) else template
        if not isinstance(rendered, str) or template in self._columns:
            return rendered
        if rendered.isdigit() or (rendered[:1], rendered[-1:]) == ("[", "]"):
            try:
                return ast.literal_eval(rendered)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return rendered
        return rendered


def check_choices(choices: Any, answer: Any, where: str) -> None:
    """Check that choices are two texts or more, and that the answer is one of them: lm-eval only warns.

    Raises:
        UserError: they are not.
    """
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
        raise UserError(f"the choices are {shorten(choices)}", where=where, allowed="a list of two texts or more")
    places = answer if isinstance(answer, list) else [answer]
    right = [_is_place(place, choices) for place in places]
    if not right or not all(right):
        raise UserError(
            f"the answer is {shorten(answer)}, which is none of the {len(choices)} choices",
            where=where,
            allowed=f"a place from 0 to {len(choices) - 1}, or the text of a choice",
        )


def _is_place(place: Any, choices: list[str]) -> bool:
    if isinstance(place, int) and not isinstance(place, bool):
        return 0 <= place < len(choices)
    return place in choices
