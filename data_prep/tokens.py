"""The stage that turns documents into token ids, split into training and validation, as Megatron reads them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core import log
from ..core.errors import UserError
from ..core.files import atomic_path, sha256, write_json
from ..core.manifest import Manifest, run_stage
from .documents import document_files, grouped, read_documents
from .indexed import DTYPE, count_indexed, idx_path, write_indexed
from .split import DROPPED, TRAIN, VALID, split, text_hash
from .tokenizer import Vocabulary, load_tokenizer

FOLDERS = {TRAIN: "train", VALID: "valid"}
HELDOUT = "heldout"
HELDOUT_COLUMNS = ("text", "doc_id", "source", "document_type")
BATCH_CHARACTERS = 1_000_000
"""Text that is encoded at once: what is in memory, and what the tokenizer's threads share."""

Decisions = npt.NDArray[np.int8]


def build_tokens(
    corpus: Path,
    tokenizer: str | Path,
    out: Path,
    *,
    valid_fraction: float = 0.02,
    seed: int = 0,
    vocab_size: int | None = None,
) -> Manifest:
    """Tokenize a corpus, each document ended by `<|endoftext|>`.

    Writes, for each source, `train/<source>.{bin,idx}` and `valid/<source>.{bin,idx}` (int32, a sequence a document),
    `heldout/<source>.jsonl` (the validation documents as text), and for the whole `tokens.json` and `tokenizer/`.
    A source that has no document on one side has no files there.

    Args:
        corpus: output folder of a corpus stage.
        tokenizer: a folder with `tokenizer.json`, or `OWNER/NAME` on the Hugging Face Hub.
        out: the folder to make.
        valid_fraction: part of each source's distinct texts that is held out for validation (see `split`).
        seed: of the draw.
        vocab_size: rows of the model's embedding, which every id has to fit in.

    Raises:
        UserError: there are no documents, or the tokenizer does not serve.
    """
    if not 0 < valid_fraction < 1:
        raise UserError(f"{valid_fraction} is no fraction", where="valid_fraction", allowed="between 0 and 1")
    files = document_files(corpus)
    vocabulary = load_tokenizer(tokenizer, vocab_size)
    inputs = {"corpus": corpus, "tokenizer": vocabulary.files[0]}
    config = {"valid_fraction": valid_fraction, "seed": seed}

    def body(work: Path) -> dict[str, Any]:
        return _tokenize(files, vocabulary, work, config)

    return run_stage("tokens", inputs, config, out, body, resumes=True)


def training_texts(corpus: Path, *, valid_fraction: float = 0.02, seed: int = 0) -> Iterator[str]:
    """The texts that `build_tokens` with the same options puts into training: what a tokenizer may be trained on."""
    files = document_files(corpus)
    decisions = split({source: _hashes(path, seed) for source, path in files.items()}, valid_fraction)
    for source, path in files.items():
        documents = read_documents(path, ("text",))
        yield from (text for (text,), side in zip(documents, decisions[source], strict=True) if side == TRAIN)


def _tokenize(files: dict[str, Path], vocabulary: Vocabulary, work: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Fill the stage's folder; its counts."""
    log.info(f"tokens: splitting {len(files)} sources")
    hashes = {source: _hashes(path, config["seed"]) for source, path in files.items()}
    decisions = split(hashes, config["valid_fraction"])
    if not any(map(len, hashes.values())):
        raise UserError("the corpus holds no document", where="corpus")
    for source, path in files.items():
        _tokenize_source(source, path, decisions[source], vocabulary, work)
    _copy_tokenizer(vocabulary, work / "tokenizer")
    record = _record(decisions, vocabulary, work)
    write_json(work / "tokens.json", record)
    return {name: record[name] for name in ("totals", "dropped_duplicates")}


def _hashes(path: Path, seed: int) -> npt.NDArray[np.uint64]:
    return np.fromiter((text_hash(text, seed) for (text,) in read_documents(path, ("text",))), np.uint64)


def _prefixes(source: str, decision: Decisions, work: Path) -> dict[int, Path]:
    """Side -> where a source's data set goes; only the sides on which it has documents."""
    return {side: work / folder / source for side, folder in FOLDERS.items() if (decision == side).any()}


def _tokenize_source(source: str, path: Path, decision: Decisions, vocabulary: Vocabulary, work: Path) -> None:
    """Write a source's data sets and held-out texts, unless an earlier run did."""
    prefixes = _prefixes(source, decision, work)
    if VALID not in prefixes:
        log.info(f"tokens: {source} has no validation documents")
    elif not (heldout := work / HELDOUT / f"{source}.jsonl").exists():
        _write_heldout(path, decision, heldout)
    if all(idx_path(prefix).exists() for prefix in prefixes.values()):
        return
    log.info(f"tokens: {source} ({len(decision)} documents)")
    documents = read_documents(path, ("text",))
    kept = ((text, side) for (text,), side in zip(documents, decision.tolist(), strict=True) if side != DROPPED)
    with ExitStack() as stack:
        writers = {side: stack.enter_context(write_indexed(prefix)) for side, prefix in prefixes.items()}
        for batch in grouped(kept, lambda document: len(document[0]), BATCH_CHARACTERS):
            texts, sides = zip(*batch, strict=True)
            for ids, side in zip(vocabulary.encode(texts), sides, strict=True):
                writers[side].add(ids)


def _write_heldout(path: Path, decision: Decisions, target: Path) -> None:
    """The validation documents as text, an object a line."""
    rows = zip(read_documents(path, HELDOUT_COLUMNS), decision.tolist(), strict=True)
    with atomic_path(target) as partial, partial.open("w", encoding="utf-8") as file:
        for row, side in rows:
            if side == VALID:
                file.write(json.dumps(dict(zip(HELDOUT_COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")


def _copy_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    for file in vocabulary.files:
        with atomic_path(folder / file.name) as partial:
            shutil.copyfile(file, partial)


def _record(decisions: dict[str, Decisions], vocabulary: Vocabulary, work: Path) -> dict[str, Any]:
    """Contents of `tokens.json`: what the trainer has to know of the data sets."""
    splits: dict[str, dict[str, Any]] = {folder: {} for folder in FOLDERS.values()}
    for source, decision in decisions.items():
        for side, prefix in _prefixes(source, decision, work).items():
            documents, tokens = count_indexed(prefix)
            relative = prefix.relative_to(work).as_posix()
            splits[FOLDERS[side]][source] = {"prefix": relative, "documents": documents, "tokens": tokens}
    totals = {
        folder: {what: sum(entry[what] for entry in sources.values()) for what in ("documents", "tokens")}
        for folder, sources in splits.items()
    }
    return {
        "splits": splits,
        "totals": totals,
        "dropped_duplicates": {source: int((decision == DROPPED).sum()) for source, decision in decisions.items()},
        "dtype": DTYPE.name,
        "eod_id": vocabulary.eod_id,
        "vocabulary_size": vocabulary.size,
        "tokenizer_sha256": sha256(vocabulary.files[0]),
    }
