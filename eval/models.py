"""The models of an evaluation, and their roles: base, tuned, merged, or other."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..core.errors import UserError, check_known

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of models and tasks."""


class Role(StrEnum):
    """A model's part in an evaluation, as files state it. A tuned model is a checkpoint of some training."""

    BASE = "base"
    CHECKPOINT = "checkpoint"
    MERGED = "merged"
    OTHER = "other"


ROLES = {"base": Role.BASE, "tuned": Role.CHECKPOINT, "merged": Role.MERGED, "other": Role.OTHER}
"""The user's name of a role -> the role."""
ROLE_NAMES = {role: name for name, role in ROLES.items()}
"""A role -> the user's name of it."""


@dataclass(frozen=True)
class Model:
    """A model to evaluate: a Hugging Face folder, and its role. Checkpoints are given in order of training.

    `step` is the training step that a checkpoint was saved after, where that is known.
    """

    name: str
    role: Role
    path: Path
    step: int | None = None


def check_name(name: Any, where: str = "", kind: str = "model") -> None:
    """Check that a name can be that of a folder, and so of a file of the report.

    Args:
        name: a JSON value, or of the command line.
        where: its file or option.
        kind: kind of thing that it names.

    Raises:
        UserError: it cannot.
    """
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        allowed = "letters, digits, '.', '_' and '-', a letter or digit first"
        raise UserError(f"{name!r} cannot name a {kind}", where=where, allowed=allowed)


def parse_roles(options: list[str]) -> dict[str, Role]:
    """`NAME=ROLE` of each option as name -> role.

    Raises:
        UserError: an option has another form, a role is unknown, or a name is given twice.
    """
    roles: dict[str, Role] = {}
    for option in options:
        name, equals, role = option.rpartition("=")
        if not equals or not name or name in roles:
            raise UserError(
                f"{name} has two roles" if name in roles else f"{option!r} does not give a model a role",
                where="--role",
                allowed=f"NAME={'|'.join(ROLES)}, a model once",
            )
        check_known(role, ROLES, "role", "--role")
        roles[name] = ROLES[role]
    return roles
