"""The stage that turns documents into token ids, split into training and validation, as Megatron reads them.

It decides what becomes of every document (`plan.py`), tokenizes shard by shard on all cores (`shard_tokens.py`), and
puts the shards' parts together. A finished shard is kept through an interruption; what is written depends neither on
the number of threads nor on interruptions.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import log
from ..core.errors import UserError
from ..core.files import atomic_path, remove, sha256, write_json
from ..core.manifest import Manifest, run_stage
from .encoders import FAST, make_encoder
from .indexed import DTYPE, count_indexed, idx_path, write_indexed
from .plan import WITHHELD, Choice, Plan, Scan, chosen, make_plan
from .screen import sentences
from .shard_tokens import FOLDERS, HELDOUT, ids_part, lengths_part, text_part, tokenize_shard, verified
from .shards import SHARD_BYTES, Shard, find_inputs, plan_shards, read_shard
from .split import DROPPED, DUPLICATE, EMPTY, SIDES, TRAIN, VALID
from .tokenizer import Vocabulary, load_tokenizer
from .tokens_record import RECORD
from .verify import SAMPLE, VERIFICATIONS, Verifier

PARTS = ".shards"
"""Folder of the shards' parts while the stage is at work."""
CUT = "cut"
"""File in it that says which shards they are of: without it they are not whole."""
SHOWN = 5
"""Data sets that a message names."""
SPLITS = TRAINING, ALL_SPLITS = "train", "all"
"""Which parts of what a publisher has split are used: the training part, or also those for tests and validation."""


@dataclass(frozen=True)
class Options:
    """What decides a tokens folder beside its inputs.

    Attributes:
        valid_fraction: part of each domain's distinct texts that is held out for validation (see `split`).
        seed: of the draw.
        text_column: the field that holds the text.
        near_duplicates: whether near-duplicates stay on one side, too (see `near_duplicates.py`).
        backend: one of `encoders.BACKENDS`.
        verify: which documents are compared with the reference: one of `verify.VERIFICATIONS`.
        splits: TRAINING to leave out the test and validation parts of publishers, ALL_SPLITS to take them.
        keep_duplicates: whether a training text is kept as often as it is given.
        domains: patterns of sources' names, each a domain that texts are held out from; by default all are one.
    """

    valid_fraction: float = 0.02
    seed: int = 0
    text_column: str = "text"
    near_duplicates: bool = False
    backend: str = FAST
    verify: str = SAMPLE
    splits: str = TRAINING
    keep_duplicates: bool = False
    domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.valid_fraction < 1:
            raise UserError(f"{self.valid_fraction} is no fraction", where="valid_fraction", allowed="between 0 and 1")
        if self.verify not in VERIFICATIONS:
            allowed = ", ".join(VERIFICATIONS)
            raise UserError(f"{self.verify!r} is no verification", where="--verify", allowed=allowed)
        if self.splits not in SPLITS:
            raise UserError(f"{self.splits!r} is no choice of splits", where="--splits", allowed=", ".join(SPLITS))

    @property
    def choice(self) -> Choice:
        """What a plan needs of them."""
        withhold = self.splits == TRAINING
        return Choice(self.valid_fraction, self.seed, withhold, not self.keep_duplicates, self.domains)


def build_tokens(
    paths: list[str],
    tokenizer: str | Path,
    out: Path,
    options: Options | None = None,
    *,
    vocab_size: int | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Manifest:
    """Tokenize documents, each ended by `<|endoftext|>`.

    Writes, for each data set (a source, or a part, document type and edition of a source that has several),
    `train/<name>.{bin,idx}` and `valid/<name>.{bin,idx}` (int32, a sequence a document), `heldout/<name>.jsonl` (the
    validation documents as text), and for the whole `tokens.json` and `tokenizer/`. A data set that has no document on
    one side has no files there.

    Args:
        paths: `[NAME=]PATH` each: a corpus stage's folder, or JSONL(.gz) or Parquet with a text column.
        tokenizer: a folder with `tokenizer.json`, or `OWNER/NAME` on the Hugging Face Hub.
        out: the folder to make.
        options: see `Options`.
        vocab_size: rows of the model's embedding, which every id has to fit in.
        workers: threads; by default one a core.
        shard_bytes: see `plan_shards`; decides how much an interruption loses, and nothing else.

    Raises:
        UserError: there are no documents, or the tokenizer does not serve.
        VerificationError: the back end's ids are not the reference's.
    """
    options = options or Options()
    workers = workers or len(os.sched_getaffinity(0))
    found = find_inputs(paths)
    shards = _shards(found, options.text_column, shard_bytes)
    vocabulary = load_tokenizer(tokenizer, vocab_size)

    def body(work: Path) -> dict[str, Any]:
        return _fill(work, shards, options, vocabulary, workers, _given_names(paths))

    inputs = _named([path for _, path, _ in found]) | {"tokenizer": vocabulary.files[0]}
    config = asdict(options) | {"sources": [name for name, _, _ in found]}  # they name the data sets, in this order
    return run_stage("tokens", inputs, config, out, body, resumes=True)


def _fill(
    work: Path, shards: list[Shard], options: Options, vocabulary: Vocabulary, workers: int, named: set[str]
) -> dict[str, Any]:
    """Fill the stage's folder; its counts."""
    with ThreadPoolExecutor(1) as background:  # a back end takes a second to load
        loading = background.submit(make_encoder, options.backend, vocabulary)
        plan = make_plan(shards, options.choice, workers, named=named, merge=_merger(options, workers))
        verifier = Verifier(loading.result(), vocabulary, options.verify)
    _say(plan, options)
    parts = _parts(work, shards)
    _tokenize(plan, verifier, parts, workers)
    _assemble(plan, parts, work, workers)
    _copy_tokenizer(vocabulary, work / "tokenizer")
    record = _record(plan, vocabulary, work)
    write_json(work / RECORD, record)
    compared = sum(verified(parts / str(number)) for number in range(len(shards)))
    _discard(parts)
    names = ("totals", "withheld", "training_duplicates", "dropped_duplicates", "empty")
    return {name: record[name] for name in names} | {"verified_documents": compared, "screened": plan.screened}


def _say(plan: Plan, options: Options) -> None:
    """Say what is left out and what cannot be held out, before anything is tokenized.

    Raises:
        UserError: nothing is left.
    """
    totals = [sum(plan.count(group, side) for group in range(len(plan.keys))) for side in range(SIDES)]
    withheld = {name: totals[side] for name, side in WITHHELD.items() if totals[side]}
    if not totals[TRAIN] + totals[VALID]:
        if withheld:
            mend = f"--splits {ALL_SPLITS} takes them"
            raise UserError("all documents are of publishers' test and validation parts", where="PATH", mend=mend)
        raise UserError("the inputs hold no document with text", where="PATH")
    for name, documents in withheld.items():
        sets = ", ".join(_counted(plan, WITHHELD[name]))
        log.info(
            f"tokens: left out {documents:,} documents of publishers' {name} parts ({sets}); --splits all takes them"
        )
    if totals[DUPLICATE]:
        sets = ", ".join(_counted(plan, DUPLICATE))
        log.info(
            f"tokens: left out {totals[DUPLICATE]:,} documents whose text is in training already ({sets}); "
            "--keep-duplicates keeps them"
        )
    for sentence in sentences(plan.screened):
        log.info(f"tokens: {sentence}")
    if totals[EMPTY]:
        log.info(f"tokens: left out {totals[EMPTY]:,} documents without a word ({', '.join(_counted(plan, EMPTY))})")
    for domain in sorted(set(plan.domains)):
        groups = [group for group, number in enumerate(plan.domains) if number == domain]
        if not any(plan.count(group, VALID) for group in groups):
            name = options.domains[domain] if domain < len(options.domains) else "the inputs"
            log.warn(f"nothing can be held out of {name}: there are fewer than two distinct texts")


def _counted(plan: Plan, side: int) -> list[str]:
    """`NAME COUNT` of the data sets that have most documents on a side."""
    counts = {name: plan.count(group, side) for group, name in enumerate(plan.names) if plan.count(group, side)}
    largest = sorted(counts, key=lambda name: -counts[name])
    rest = [f"and {len(largest) - SHOWN} more"] if len(largest) > SHOWN else []
    return [*(f"{name} {counts[name]:,}" for name in largest[:SHOWN]), *rest]


def _given_names(paths: list[str]) -> set[str]:
    """The names in `NAME=PATH`."""
    return {path.partition("=")[0] for path in paths if "=" in path and not Path(path).exists()}


def _named(paths: list[Path]) -> dict[str, Path]:
    """The paths, each once, by their names; those of one name are numbered."""
    distinct = list(dict.fromkeys(paths))
    names = [path.name for path in distinct]
    return {
        name if names.count(name) == 1 else f"{name} {number}": path
        for number, (name, path) in enumerate(zip(names, distinct, strict=True), start=1)
    }


def training_texts(paths: list[str], options: Options) -> Iterator[str]:
    """The texts that `build_tokens` with the same options puts into training: what a tokenizer may be trained on."""
    shards = _shards(find_inputs(paths), options.text_column, SHARD_BYTES)
    plan = make_plan(shards, options.choice, 1, named=_given_names(paths), merge=_merger(options, 1))
    for scan, sides in zip(plan.scans, plan.sides, strict=True):
        at = 0
        for batch in read_shard(scan.shard):
            yield from chosen(batch, sides[at : at + len(batch)] == TRAIN).to_pylist()
            at += len(batch)


def _shards(found: list[tuple[str, Path, list[Path]]], text_column: str, shard_bytes: int) -> list[Shard]:
    return [
        shard
        for name, path, files in found
        for file in files
        for shard in plan_shards(name, file, text_column, shard_bytes, root=path)
    ]


def _merger(options: Options, workers: int) -> Callable[[list[Scan]], list[Scan]]:
    if not options.near_duplicates:
        return lambda scans: scans
    from .near_duplicates import merge_near_duplicates

    return lambda scans: merge_near_duplicates(scans, workers)


def _parts(work: Path, shards: list[Shard]) -> Path:
    """The folder of the shards' parts; empty if an earlier run cut the inputs otherwise."""
    parts = work / PARTS
    cut = "".join(f"{shard.source} {shard.name} {shard.start} {shard.stop}\n" for shard in shards)
    if not (parts / CUT).is_file() or (parts / CUT).read_text(encoding="utf-8") != cut:
        _discard(parts)
        parts.mkdir()
        (parts / CUT).write_text(cut, encoding="utf-8")
    return parts


def _discard(parts: Path) -> None:
    """Remove the parts; what an interruption leaves of them is not taken for whole."""
    (parts / CUT).unlink(missing_ok=True)
    remove(parts)


def _tokenize(plan: Plan, verifier: Verifier, parts: Path, workers: int) -> None:
    """Tokenize the shards that no earlier run finished."""
    left = [number for number in range(len(plan.scans)) if not (parts / str(number)).is_dir()]
    total = len(plan.scans)
    log.info(
        f"tokens: {len(left)} of {total} shards to do, {workers} threads, back end {type(verifier.encoder).__name__}"
    )

    def one(number: int) -> None:
        seconds = time.monotonic()
        size = tokenize_shard(plan, number, verifier, parts / str(number))
        seconds = time.monotonic() - seconds
        log.info(f"tokens: shard {number + 1} of {total}, {size / 1e6:.1f} MB of text in {seconds:.1f} s")

    _all(one, left, workers)


def _all[T](work: Callable[[T], None], items: list[T], workers: int) -> None:
    """Do something for all items with threads; the first failure ends it."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, item) for item in items]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
        for future in done:
            future.result()


def _assemble(plan: Plan, parts: Path, work: Path, workers: int) -> None:
    """Put the shards' parts together, a data set at once, unless an earlier run did."""
    shards = [parts / str(number) for number in range(len(plan.scans))]

    def one(task: tuple[int, int]) -> None:
        side, group = task
        prefix = _prefix(plan, work, side, group)
        if not idx_path(prefix).exists():
            pieces = [folder for folder in shards if ids_part(folder, side, group).exists()]
            lengths = ((ids_part(f, side, group), np.fromfile(lengths_part(f, side, group), np.int32)) for f in pieces)
            write_indexed(prefix, lengths)
        if side == VALID:
            with atomic_path(work / HELDOUT / f"{prefix.name}.jsonl") as partial, partial.open("wb") as file:
                for folder in shards:
                    if (text := text_part(folder, group)).exists():
                        file.write(text.read_bytes())

    _all(
        one, [(side, group) for side in FOLDERS for group in range(len(plan.keys)) if plan.count(group, side)], workers
    )


def _prefix(plan: Plan, work: Path, side: int, group: int) -> Path:
    return work / FOLDERS[side] / plan.names[group]


def _copy_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    for file in vocabulary.files:
        with atomic_path(folder / file.name) as partial:
            shutil.copyfile(file, partial)


def _record(plan: Plan, vocabulary: Vocabulary, work: Path) -> dict[str, Any]:
    """Contents of `tokens.json`: what the trainer and a reader have to know of the data sets."""
    splits: dict[str, dict[str, Any]] = {folder: {} for folder in FOLDERS.values()}
    for group, (key, name) in enumerate(zip(plan.keys, plan.names, strict=True)):
        for side, folder in FOLDERS.items():
            if not plan.count(group, side):
                continue
            documents, tokens = count_indexed(_prefix(plan, work, side, group))
            counts = {"documents": documents, "tokens": tokens, "words": plan.words(group, side)}
            splits[folder][name] = {"prefix": f"{folder}/{name}", **key._asdict(), **counts}
    totals = {
        folder: {what: sum(entry[what] for entry in entries.values()) for what in ("documents", "tokens", "words")}
        for folder, entries in splits.items()
    }
    return {
        "splits": splits,
        "totals": totals,
        "withheld": {split: _by_name(plan, side) for split, side in WITHHELD.items()},
        "training_duplicates": _by_name(plan, DUPLICATE),
        "dropped_duplicates": _by_name(plan, DROPPED),
        "empty": _by_name(plan, EMPTY),
        "dtype": DTYPE.name,
        "eod_id": vocabulary.eod_id,
        "vocabulary_size": vocabulary.size,
        "tokenizer_sha256": sha256(vocabulary.files[0]),
    }


def _by_name(plan: Plan, side: int) -> dict[str, int]:
    return {name: plan.count(group, side) for group, name in enumerate(plan.names)}
