"""The facts of one node that a start depends on: GPUs, code, packages, disk, tokens."""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ..input_hashes import token_files
from ..rank_task import RankTask
from .environment import Environment, this_environment
from .kept_code import commit

EDGE = 4096
"""How many bytes are read at each end of a token file."""


@dataclass(frozen=True)
class NodeFacts:
    """One node.

    Attributes:
        node: the node's name.
        gpus: names of the GPUs that torch sees there.
        ranks: number of ranks that were started there.
        code: the commit, with `+` and a hash if files differ from it; None if the code is not in a checkout.
        environment: name of a package -> its version and the beginning of its files' hash; left out of
            `preflight.json`, since `environment.json` holds it.
        free: free bytes on the disk of the checkpoints.
        tokens: bytes of the token files that the run reads.
        unreadable: the reason why these cannot be read; empty if they can.
    """

    node: str
    gpus: list[str]
    ranks: int
    code: str | None
    environment: Environment
    free: int
    tokens: int
    unreadable: str

    @staticmethod
    def gather(task: RankTask) -> "NodeFacts":
        """Collect the facts of this node, on its first rank."""
        import torch

        tokens, unreadable = _read_edges(task)
        return NodeFacts(
            node=node_name(),
            gpus=[torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
            ranks=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
            code=commit(),
            environment=this_environment(),
            free=shutil.disk_usage(task.out).free,
            tokens=tokens,
            unreadable=unreadable,
        )

    def summary(self) -> dict[str, Any]:
        """Return the facts as JSON values, without the packages, which have a file of their own."""
        return {name: value for name, value in vars(self).items() if name != "environment"}


def node_name() -> str:
    """This node's name: Slurm's name for it, if there is one."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _read_edges(task: RankTask) -> tuple[int, str]:
    """Read both ends of each token file; return the size of all in bytes, and the reason if one cannot be read."""
    total = 0
    try:
        for path in token_files(task.recipe, task.tokens):
            total += _edges(path)
    except (UserError, OSError) as error:
        return total, " ".join(str(error).split())
    return total, ""


def _edges(path: Path) -> int:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for begin in (0, max(0, size - EDGE)):
            file.seek(begin)
            if len(file.read(EDGE)) != min(EDGE, size - begin):
                raise UserError(f"{path} ends before its size of {size:,} bytes")
    return size
