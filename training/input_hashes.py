"""Whether tokens and base are the bytes that were written; checked once at each start."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core import log
from ..core.checkpoint import HASHES_FILE, newest, root_of
from ..core.errors import UserError
from ..core.integrity import Checked, checkpoint_files, file_names, wanted_hashes, weights_alone
from ..data_prep.tokens.index import IdRange, answers_path, bin_path, check_offsets, idx_path, read_answers
from ..data_prep.tokens.tokens_record import RECORD, read_record
from ..recipes.schema import Recipe
from .blend import train_blend, valid_blend
from .run.torchrun_store import kept_by_torchrun, torchrun_store

Files = dict[Path, list[str]]
"""Folder -> names of its files."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run.

    Attributes:
        tokens: the tokens stage's folder.
        base: run, or checkpoint root, that the weights start from; None for random weights.
        tokenizer: folder of the base's tokenizer, for a root that has none of its own.
        verify: whether tokens and base are compared with the hashes that were written with them.
    """

    tokens: Path
    base: Path | None = None
    tokenizer: Path | None = None
    verify: bool = True


def check_bytes(recipe: Recipe, inputs: Inputs) -> None:
    """Read all that the run will read once, in threads; check hashes, lengths, offsets and ids, and say how fast.

    That is the data sets that the recipe names, and the checkpoint of the base that the weights start from.

    Raises:
        UserError: a file does not have the hash that was written with it, is missing or was not written there; an index
            does not fit its tokens; or an id is outside the vocabulary.
    """
    if not inputs.verify:
        return
    record = read_record(inputs.tokens)
    size = record.vocabulary_size
    prefixes = _prefixes(recipe, inputs.tokens)
    looks = {bin_path(prefix): IdRange(prefix, size) for prefix in prefixes}
    wanted = wanted_hashes("train", _token_files(inputs.tokens, prefixes) | _base_files(inputs))
    weights = _weights(inputs)
    wanted, spans = weights_alone(wanted, [] if weights is None else [weights])
    checked = Checked(wanted, looks, spans=spans, say="train: checking tokens and base")
    try:
        seconds = checked.finish()
    finally:
        checked.end()
    for prefix, look in zip(prefixes, looks.values(), strict=True):
        check_offsets(prefix)
        look.check()
        if record.conversations:
            read_answers(prefix)
    base = " and base" if inputs.base is not None else ""
    log.info(
        f"train: checked {checked.total / 1e9:.2f} GB of tokens{base} in {seconds:.1f} s, "
        f"{checked.total / 1e6 / seconds:,.0f} MB/s: {checked.count} files match the SHA-256 that was written with "
        f"them, and all ids are below {size:,}"
    )


def small_files(inputs: Inputs) -> Files:
    """Find the files that describe tokens and base: no ids and, where there is a complete checkpoint, no weights."""
    tokens = [name for name in file_names(inputs.tokens) if name == RECORD or name.startswith("tokenizer/")]
    files = {inputs.tokens: tokens}
    if inputs.base is not None:
        sound = newest(inputs.base) is not None
        for folder, names in _base_files(inputs).items():
            files[folder] = [name for name in names if not (sound and name.endswith(".distcp"))]
    return files


def token_files(recipe: Recipe, tokens: Path) -> list[Path]:
    """List the files of ids, indices and answers that the run reads."""
    return _files(tokens, _prefixes(recipe, tokens))


def _files(tokens: Path, prefixes: list[Path]) -> list[Path]:
    kinds = (bin_path, idx_path, *([answers_path] if read_record(tokens).conversations else []))
    return [path(prefix) for prefix in prefixes for path in kinds]


def _prefixes(recipe: Recipe, tokens: Path) -> list[Path]:
    """List the prefixes of the data sets that the run trains and validates on."""
    train = [member.prefix for member in train_blend(tokens, recipe.data, recipe.steps * recipe.batch.global_size)]
    return [Path(prefix) for prefix in (*train, *valid_blend(tokens, recipe.data)[0])]


def _token_files(tokens: Path, prefixes: list[Path]) -> Files:
    ids = [path.relative_to(tokens) for path in _files(tokens, prefixes)]
    tokenizer = [name for name in file_names(tokens) if name.startswith("tokenizer/")]
    return {tokens: [RECORD, *tokenizer, *map(str, ids)]}


def _base_files(inputs: Inputs) -> Files:
    weights = _weights(inputs)
    return {} if weights is None else checkpoint_files(weights)


def _weights(inputs: Inputs) -> Path | None:
    """The checkpoint that the weights start from; None for random weights."""
    if inputs.base is None:
        return None
    # If only damaged ones are there, or none, `check_inputs` refuses the base.
    of_run = (path.parent for path in root_of(inputs.base).glob(f"iter_*/{HASHES_FILE}"))
    return newest(inputs.base) or max(of_run, default=None)


def on_one_rank_of_each_node(check: Callable[[], None], rank: str) -> None:
    """Run a check on the first rank of each node; all ranks continue when it has passed on all nodes.

    Without torchrun there is no store before the ranks meet: the other ranks then continue, and wait in vain for a rank
    whose check failed.

    Args:
        check: raises a UserError if it does not pass.
        rank: this rank's number, for messages.

    Raises:
        UserError: the check does not pass here, or on another node.
    """
    first = os.environ["LOCAL_RANK"] == "0"
    if not kept_by_torchrun():
        if first:
            check()
        return
    store = torchrun_store("inputs", timeout=60)
    if first:
        try:
            check()
        except UserError as error:
            store.set("failed", f"rank {rank} on {os.uname().nodename}: {error}")
            raise
        store.add("passed", 1)
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    while store.add("passed", 0) < nodes:
        if store.check(["failed"]):
            raise UserError(store.get("failed").decode())
        time.sleep(0.5)
