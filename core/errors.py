"""Errors: mistakes of the user, as opposed to defects of pdapt, and the ways in which work ends unfinished."""

from collections.abc import Iterable

from .exit_codes import ExitCode


class UserError(ValueError):
    """A mistake of the user; the command line prints it.

    Args:
        what: what was given, and what is wrong with it.
        where: the file, line, option or key where it was found.
        allowed: what would be accepted there.
        fix: how to correct it.
    """

    code = ExitCode.USER_ERROR

    def __init__(self, what: str, *, where: str = "", allowed: str = "", fix: str = "") -> None:
        self.what, self.where, self.allowed, self.fix = what, where, allowed, fix
        parts = [what, where and f"where: {where}", allowed and f"allowed: {allowed}", fix and f"fix: {fix}"]
        super().__init__("\n  ".join(part for part in parts if part))


class StoppedEarly(Exception):
    """Work that was asked to stop has saved and ended; the same command continues it."""

    code = ExitCode.STOPPED_EARLY


class Halted(Exception):
    """Work that went wrong was ended; a person should look before it continues."""

    code = ExitCode.HALTED


class Failed(RuntimeError):
    """Processes that work for this one have failed; the message says which one first, and why."""

    code = ExitCode.FAILED


def nearest(name: str, known: list[str]) -> str:
    """Suggest the known name closest to a mistyped one, as `did you mean 'x'?`, or return an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def check_known(name: str, known: Iterable[str], kind: str, where: str) -> None:
    """Check that a name is known.

    Args:
        name: the given name.
        known: the allowed names.
        kind: the kind of thing that they name.
        where: the option or key with which the name was given.

    Raises:
        UserError: the name is unknown; the message lists the allowed names, and suggests the nearest.
    """
    names = list(known)
    if name not in names:
        raise UserError(
            f"no {kind} is called {name!r}", where=where, allowed=", ".join(names), fix=nearest(name, names)
        )


def first_line(error: Exception) -> str:
    """The first line of an error's message; for an error of PyYAML the problem, with its line in the file."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and mark is not None:
        return f"line {mark.line + 1}: {problem}"
    return next(iter(str(error).splitlines()), type(error).__name__)
