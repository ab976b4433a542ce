"""One shard: its documents' ids, sorted by data set and side, in a folder that appears when it is whole.

`train-3.bin` and `train-3.lengths` are the ids and the documents' lengths (int32) of the third data set's training
documents, `train-3.answers` of conversations which ids are answers, `heldout-3.jsonl` its validation documents as text,
`verified` how many documents were compared with the reference.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...core.files import fsync_path, remove
from ..sources.formats.conversations import of_text
from .chat.encode import Answers, encode_conversations
from .chat.template import ChatTemplate
from .check_encoder import Verifier
from .encoders import Ids
from .selection.selection import ShardPlan, chosen
from .selection.shards import Batch, read_shard, utf8
from .selection.split import TRAIN, VALID
from .words import decode

FOLDERS = {TRAIN: "train", VALID: "valid"}
HELDOUT = "heldout"
TEXT_BYTES = 2**20
"""Bytes of a held-out text that are written as JSON at once."""


def ids_part(folder: Path, side: int, group: int) -> Path:
    """A shard's ids of one data set and side."""
    return folder / f"{FOLDERS[side]}-{group}.bin"


def lengths_part(folder: Path, side: int, group: int) -> Path:
    """The lengths of the documents of `ids_part`."""
    return folder / f"{FOLDERS[side]}-{group}.lengths"


def answers_part(folder: Path, side: int, group: int) -> Path:
    """Which ids of `ids_part` are answers, of conversations."""
    return folder / f"{FOLDERS[side]}-{group}.answers"


def text_part(folder: Path, group: int) -> Path:
    """A shard's validation documents of one data set as text."""
    return folder / f"{HELDOUT}-{group}.jsonl"


def verified(folder: Path) -> int:
    """How many of a finished shard's documents were compared with the reference."""
    return int((folder / "verified").read_text(encoding="utf-8"))


def tokenize_shard(plan: ShardPlan, verifier: Verifier, folder: Path, template: ChatTemplate | None = None) -> int:
    """Tokenize a shard; bytes of text that were encoded. `finish_shard` makes the folder appear.

    Args:
        plan: the shard's.
        verifier: encodes.
        folder: to be made.
        template: of conversations; None where the shard holds documents.

    Raises:
        UserError: the template refuses a conversation.
        VerificationError: the back end's ids are not the reference's.
    """
    partial = _partial(folder)
    remove(partial)
    partial.mkdir()
    at = compared = size = encoded = 0
    with ExitStack() as stack:
        files = _Files(stack, partial)
        for batch in read_shard(plan.shard, checked=True):
            here = slice(at, at + len(batch))
            sides, groups = plan.sides[here], plan.group[here]
            kept = np.isin(sides, list(FOLDERS))
            text = chosen(batch, kept)
            where = f"{plan.shard.file}, document {at + 1} of the shard and after"
            answers = None
            if template is None:
                ids, lengths, checked = verifier.encode(text, plan.hashes[here][kept], encoded, where)
            else:
                ids, lengths, answers, checked = encode_conversations(
                    text, template, verifier, number=encoded, where=where
                )
            encoded += len(text) > 0
            _sort(files, ids, lengths, answers, sides=sides[kept], groups=groups[kept])
            _hold_out(files, batch, plan, np.flatnonzero(sides == VALID), at=at, chats=template is not None)
            at, compared, size = here.stop, compared + checked, size + text.nbytes
    (partial / "verified").write_text(str(compared), encoding="utf-8")
    return size


def finish_shard(folder: Path) -> None:
    """Flush what `tokenize_shard` wrote to disk, and give it its name."""
    for path in _partial(folder).iterdir():
        fsync_path(path)
    _partial(folder).rename(folder)


def _partial(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


class _Files:
    """The shard's files, opened when there is something to write, few enough at once to stay below the limit."""

    AT_ONCE = 64

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        self.open: dict[Path, IO[bytes]] = {}
        stack.callback(self._close)

    def write(self, path: Path, parts: Iterable[Any]) -> None:
        if path not in self.open:
            if len(self.open) >= self.AT_ONCE:
                self._close()
            self.open[path] = path.open("ab")
        self.open[path].writelines(parts)

    def _close(self) -> None:
        for file in self.open.values():
            file.close()
        self.open.clear()


def _sort(
    files: _Files,
    ids: Ids,
    lengths: Ids,
    answers: Answers | None,
    *,
    sides: npt.NDArray[np.int8],
    groups: npt.NDArray[np.int32],
) -> None:
    """Write each document's ids to its data set and side."""
    if not len(lengths):
        return
    changes = np.flatnonzero((np.diff(groups) != 0) | (np.diff(sides) != 0)) + 1
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    runs: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)  # of documents, by side and data set
    for begin, end in pairwise([0, *changes.tolist(), len(lengths)]):
        runs[int(sides[begin]), int(groups[begin])].append((begin, end))
    for cell, ranges in runs.items():
        files.write(ids_part(files.folder, *cell), (ids[ends[begin] : ends[end]].data for begin, end in ranges))
        files.write(lengths_part(files.folder, *cell), (lengths[begin:end].data for begin, end in ranges))
        if answers is not None:
            parts = (answers[ends[begin] : ends[end]].data for begin, end in ranges)
            files.write(answers_part(files.folder, *cell), parts)


def _hold_out(
    files: _Files, batch: Batch, plan: ShardPlan, documents: npt.NDArray[np.int64], *, at: int, chats: bool
) -> None:
    """Write validation documents as text, or conversations as messages, an object a line, with what is known of them.

    Args:
        files: the shard's.
        batch: some documents of the shard.
        plan: the shard's.
        documents: those of the batch that are held out.
        at: documents of the shard before the batch.
        chats: whether they are conversations.
    """
    if not len(documents):
        return
    rows = pa.array(documents)
    values, offsets = utf8(batch.text)  # Arrow's own way to one text copies it
    stated = {name: column.take(rows).to_pylist() for name, column in batch.stated.items()}
    for place, document in enumerate(documents.tolist()):
        group = int(plan.group[at + document])
        key = plan.keys[group]
        known = {name: values[place] for name, values in stated.items() if values[place] not in (None, "")}
        origin = (
            batch.keys[document] if batch.keys else f"{plan.shard.name}#{plan.before + int(batch.numbers[document])}"
        )
        facts = {"doc_id": f"{plan.shard.source}/{origin}"} | known
        facts |= {"source": key.source, "part": key.part, "document_type": key.document_type}
        text = values[offsets[document] : offsets[document + 1]]
        line = _json_messages(bytes(text), facts) if chats else _json_line(memoryview(text), facts)
        files.write(text_part(files.folder, group), line)


def _json_messages(text: bytes, facts: dict[str, Any]) -> Iterator[bytes]:
    """A conversation and what is known of it as an object."""
    messages = [message.to_json() for message in of_text(text.decode())]
    yield json.dumps({"messages": messages, **facts}, ensure_ascii=False).encode() + b"\n"


def _json_line(text: memoryview, facts: dict[str, Any]) -> Iterator[bytes]:
    """A document's text and what is known of it as an object, a stretch of text at a time."""
    yield b'{"text": "'
    begin = 0
    while begin < len(text):
        part = decode(text, begin, TEXT_BYTES)
        yield json.dumps(part, ensure_ascii=False)[1:-1].encode()
        begin += len(part.encode())
    yield b'", ' + json.dumps(facts, ensure_ascii=False)[1:].encode() + b"\n"
