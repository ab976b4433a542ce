"""Two kinds of fault, and how they are handled: a file that cannot be read, and a damaged document."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_json, write_json
from ...core.log import counted
from .record import Rejected

SHOWN = 5
"""Faults of one file that are named; the others are counted."""


class FileError(UserError):
    """A file as a whole cannot be read."""


def write_faults(path: Path, faults: Sequence[UserError]) -> None:
    """Write faults for another process, all of them or nothing."""
    values = [{name: getattr(fault, name) for name in ("what", "where", "allowed", "fix")} for fault in faults]
    write_json(path, values)


def read_faults(path: Path) -> list[UserError]:
    """The faults that `write_faults` has written; none where there is no file."""
    return [FileError(values.pop("what"), **values) for values in read_json(path)] if path.exists() else []


def printable(path: Path | str) -> str:
    """A path as text that can be written anywhere: bytes that are not UTF-8, and control characters, as escapes."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def together(faults: Sequence[UserError]) -> UserError:
    """One error that names all files of a call that cannot be read."""
    distinct = list({str(fault): fault for fault in faults}.values())
    if len(distinct) == 1:
        return distinct[0]
    by_remedy: dict[tuple[str, str], list[UserError]] = defaultdict(list)
    for fault in distinct:
        by_remedy[fault.allowed, fault.fix].append(fault)
    files = len({fault.where for fault in distinct})
    what = f"{counted(files, 'file')} cannot be read"
    if len(by_remedy) == 1:
        ((allowed, fix),) = by_remedy
        return UserError(what, where="\n    ".join(["", *map(_place, distinct)]), allowed=allowed, fix=fix)
    lines = [line for remedy, alike in by_remedy.items() for line in _with_remedy(alike, *remedy)]
    return UserError(what, where="\n    ".join(["", *lines]))


def _with_remedy(faults: Sequence[UserError], allowed: str, fix: str) -> list[str]:
    """Faults with the same remedy, and then the remedy."""
    remedy = "; ".join([*(f"allowed: {text}" for text in [allowed] if text), *([fix] if fix else [])])
    if len(faults) == 1:
        return [_place(faults[0]) + (remedy and f"; {remedy}")]
    return [*map(_place, faults), *([f"  these {len(faults)}: {remedy}"] if remedy else [])]


def _place(fault: UserError) -> str:
    return f"{fault.where}: {fault.what}"


def check_share(max_rejected: float | None) -> None:
    """Check the share of documents that may be damaged.

    Raises:
        UserError: it is none.
    """
    if max_rejected is not None and not 0 <= max_rejected <= 1:
        raise UserError(f"{max_rejected} is not a share", where="--max-rejected", allowed="0 to 1: 0.01 is one in 100")


LEAVE_OUT = "correct them; or leave them out, listed in rejected.parquet: --max-rejected SHARE"


def check_rejected(
    rejected: Sequence[Rejected], documents: int, max_rejected: float | None, fix: str = LEAVE_OUT
) -> None:
    """Check that no more documents are damaged than may be.

    Args:
        rejected: those that are.
        documents: how many there are, damaged or not.
        max_rejected: share of them that may be; None for none.
        fix: what to do about it.

    Raises:
        UserError: there are more.
    """
    if not rejected or (max_rejected is not None and len(rejected) <= max_rejected * documents):
        return
    allowed = "none" if max_rejected is None else f"a share of {_plain(max_rejected)} (--max-rejected)"
    raise UserError(
        f"{len(rejected):,} of {counted(documents, 'document')} cannot be read, a share of "
        f"{_plain(len(rejected) / documents)}",
        where="\n    ".join(["", *_by_file(rejected)]),
        allowed=allowed,
        fix=fix,
    )


def _plain(share: float) -> str:
    """A share as `--max-rejected` takes it: four digits, and no exponent."""
    return f"{Decimal(f'{share:.4g}'):f}"


def _by_file(rejected: Sequence[Rejected]) -> list[str]:
    files: dict[str, list[Rejected]] = defaultdict(list)
    for fault in rejected:
        files[fault.file].append(fault)
    lines = []
    for file, faults in files.items():
        lines += [f"{fault.where}: {fault.reason}" for fault in faults[:SHOWN]]
        if len(faults) > SHOWN:
            lines.append(f"{file}: and {len(faults) - SHOWN:,} more")
    return lines
