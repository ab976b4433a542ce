"""The environment of a start: Python, and every installed package with its version and the hash of its files.

It is kept in the run's folder. Each start compares it with that of the previous start, and between the nodes.
"""

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_object, write_json

ENVIRONMENT = "environment.json"
SHOWN = 8
"""How many differences a message names."""

Environment = dict[str, str]
"""Name -> version; for a package, also the beginning of the SHA-256 of the list of its files."""


def this_environment() -> Environment:
    """Describe the environment of this process."""
    described: dict[str, str] = {}
    for package in metadata.distributions():
        headers = package.metadata  # read from its file each time that it is asked for
        if name := headers["Name"]:
            described[name] = f"{headers['Version']} {_digest(package)}".strip()
    return {"python": platform.python_version()} | dict(sorted(described.items(), key=lambda item: item[0].lower()))


def _digest(package: metadata.Distribution) -> str:
    """Hash the installer's list of a package's files and their hashes; empty if there is none.

    Files outside the packages' folder and the installer's own notes are left out: they differ from folder to folder.
    """
    record = package.read_text("RECORD") or ""
    unlike = ("../", "__pycache__/", ".dist-info/")
    lines = sorted(line for line in record.splitlines() if not any(part in line for part in unlike))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] if lines else ""


def write_environment(out: Path, environment: Environment) -> None:
    """Write the environment into a run's folder."""
    write_json(out / ENVIRONMENT, environment)


def read_environment(out: Path) -> Environment | None:
    """Read the environment of a run's last start; None where there was none.

    Raises:
        UserError: the file is damaged.
    """
    path = out / ENVIRONMENT
    if not path.is_file():
        return None
    values: dict[str, Any] = read_object(path).values
    if not all(isinstance(value, str) for value in values.values()):
        raise UserError(f"{ENVIRONMENT} is damaged", where=str(path), fix="remove it: this start writes it again")
    return values


def differences(first: Environment, second: Environment, here: str, there: str) -> list[str]:
    """Describe the packages that differ between two environments.

    Args:
        first, second: the environments.
        here, there: words for each, such as `then` and `now`.
    """
    names = [name for name in sorted({*first, *second}, key=str.lower) if first.get(name) != second.get(name)]
    return [f"{name} {_pair(first.get(name), second.get(name), here, there)}" for name in names]


def _pair(before: str | None, after: str | None, here: str, there: str) -> str:
    versions = [value.split(" ")[0] if value else "absent" for value in (before, after)]
    if versions[0] == versions[1]:
        return f"{versions[0]} has other files {there} than {here}"
    return f"{versions[0]} {here}, {versions[1]} {there}"


def shortened(texts: list[str]) -> str:
    """Join texts; if there are many, only the first."""
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
