"""The work of the tokens stage in tasks: each tokenizes some shards, or puts some data sets together, by files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.files import read_json, write_json, write_text
from .assemble import SideFiles, side_files
from .chat.template import read_template
from .check_encoder import Verifier
from .encoders import make_encoder
from .selection.scan import Key
from .selection.scan_tasks import NumberedShard, numbered
from .selection.selection import Plan, ShardPlan
from .shard_tokens import finish_shard, tokenize_shard
from .tokenizer import load_tokenizer

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner

PLANS, HASHES = "plans", "hashes"
KEYS = "keys.json"
COLUMNS = ("hashes", "group", "sides")


@dataclass(frozen=True)
class Tokenizing:
    """The way in which tasks tokenize, and where to.

    Attributes:
        parts: folder of the shards' parts.
        tokenizer: folder of the tokenizer.
        backend: one of `encoders.BACKENDS`.
        verify: one of `check_encoder.VERIFICATIONS`.
        chats: whether the shards hold conversations.
    """

    parts: Path
    tokenizer: Path
    backend: str
    verify: str
    chats: bool = False


def tokenize_by_tasks(plan: Plan, tokenizing: Tokenizing, runner: "TaskRunner") -> None:
    """Tokenize the shards that no earlier run finished.

    Raises:
        VerificationError: the back end's ids are not the reference's.
        Failed: a worker was killed, or a job failed.
    """
    folder = runner.folder / PLANS
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / KEYS, json.dumps(plan.keys))
    for number in range(len(plan.scans)):
        _write_plan(folder, number, plan.of_shard(number))
    shards = [scan.shard for scan in plan.scans]
    runner.run("tokenize", partial(_tokenize_some, folder, tokenizing), numbered(shards, runner.tasks.most))


def _tokenize_some(plans: Path, work: Tokenizing, shards: Sequence[NumberedShard]) -> None:
    """Tokenize those of a task's shards that are not finished."""
    keys = [Key(*values) for values in read_json(plans / KEYS)]
    for each in shards:
        folder = work.parts / str(each.number)
        if not folder.is_dir():
            verifier = _verifier(work.tokenizer, work.backend, work.verify)
            template = read_template(verifier.vocabulary) if work.chats else None
            tokenize_shard(_read_plan(plans, each, keys), verifier, folder, template)
            finish_shard(folder)


@lru_cache(1)
def _verifier(tokenizer: Path, backend: str, verify: str) -> Verifier:
    """A process's tasks share one: it takes a second or two to load."""
    vocabulary = load_tokenizer(tokenizer)
    return Verifier(make_encoder(backend, vocabulary), vocabulary, verify)


def _write_plan(folder: Path, number: int, plan: ShardPlan) -> None:
    np.savez(_plan_file(folder, number), before=plan.before, **{name: getattr(plan, name) for name in COLUMNS})


def _read_plan(folder: Path, each: NumberedShard, keys: list[Key]) -> ShardPlan:
    with np.load(_plan_file(folder, each.number)) as file:
        columns = {name: file[name] for name in COLUMNS}
        return ShardPlan(each.shard, int(file["before"]), keys=keys, **columns)


def _plan_file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npz"


def assemble_by_tasks(plan: Plan, parts: Path, work: Path, runner: "TaskRunner") -> dict[str, str]:
    """Put the shards' parts together; the same as `assemble`.

    Raises:
        Failed: a worker was killed, or a job failed.
    """
    folder, most = runner.folder / HASHES, runner.tasks.most
    folder.mkdir(parents=True, exist_ok=True)
    every = side_files(plan, parts, work)
    runner.run(
        "assemble", partial(_put_together, folder), [every[number::most] for number in range(min(most, len(every)))]
    )
    hashes: dict[str, str] = {}
    for files in every:
        hashes |= read_json(_hashes_file(folder, files))
    return hashes


def _put_together(folder: Path, some: Sequence[SideFiles]) -> None:
    for files in some:
        write_json(_hashes_file(folder, files), files.put_together())


def _hashes_file(folder: Path, files: SideFiles) -> Path:
    return folder / f"{files.side}-{files.group}.json"
