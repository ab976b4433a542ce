"""Two back ends that turn text into the same ids: the reference, and a fast one that is checked against it.

- `hf`: Hugging Face's `tokenizers`, as in `Vocabulary`.
- `fast`: fastokens (Apache-2.0). With Qwen3's vocabulary no difference was found on any character in any context that
  was tried; with another one, a long s after an apostrophe may be cut otherwise, so that documents that hold UNSAFE go
  through the reference. `tests/data_prep/tokens/test_encoders.py` tries every character.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...core.errors import UserError, check_known
from .pieces import PIECE_BYTES, PieceEncoder, cuts_alike, encode_pieces
from .selection.shards import utf8
from .tokenizer import Vocabulary

HF, FAST = "hf", "fast"
BACKENDS = (FAST, HF)
UNSAFE = "\u017f".encode()
"""The long s, which the pattern's `(?i:'s|…)` takes for an s, and fastokens does not."""

Ids = npt.NDArray[np.int32]


class Encoder(Protocol):
    """Turns texts into ids. Threads may share one."""

    def encode(self, text: pa.StringArray) -> tuple[Ids, Ids]:
        """All ids one after the other, each text's ended by the end of a document; and the number of each text's."""
        ...


@dataclass(frozen=True)
class Reference:
    """The `hf` back end."""

    vocabulary: Vocabulary

    def encode(self, text: pa.StringArray) -> tuple[Ids, Ids]:
        """See `Encoder`."""
        return _encode_by_pieces(text, self._encode, self.vocabulary)

    def parts(self, text: pa.StringArray) -> Iterator[Ids]:
        """The ids of one text, in parts where it is long, without the end of a document."""
        if _long(text, self.vocabulary).any():
            return _parts(text, self._encode, self.vocabulary)
        return iter([self._encode(text)[0][:-1]])

    def _encode(self, text: pa.StringArray) -> tuple[Ids, Ids]:
        documents = list(self.vocabulary.encode(text.to_pylist()))
        lengths = np.fromiter(map(len, documents), np.int32, len(documents))
        return np.concatenate([np.empty(0, np.int32), *documents]), lengths


@dataclass(frozen=True)
class Fast:
    """The `fast` back end.

    Attributes:
        vocabulary: for what goes through the reference, and the end of a document.
        tokenizer: fastokens', which knows no added token and so cannot make one of a document's text.
    """

    vocabulary: Vocabulary
    tokenizer: Any

    def encode(self, text: pa.StringArray) -> tuple[Ids, Ids]:
        """See `Encoder`."""
        if not _holds_unsafe(text):
            return _encode_by_pieces(text, self._encode, self.vocabulary)
        unsafe = np.array([UNSAFE.decode() in each for each in text.to_pylist()])
        safe, rest = text.filter(pa.array(~unsafe)), text.filter(pa.array(unsafe))
        return _interleave(unsafe, self.encode(safe), Reference(self.vocabulary).encode(rest))

    def _encode(self, text: pa.StringArray) -> tuple[Ids, Ids]:
        ids, borders = self.tokenizer.encode_batch_flat(text.to_pylist())
        ends = np.frombuffer(borders, np.uint64)[1:].astype(np.int64)
        lengths = np.diff(ends, prepend=0).astype(np.int32)
        return np.insert(np.frombuffer(ids, np.int32), ends, self.vocabulary.eod_id), lengths + 1


def make_encoder(backend: str, vocabulary: Vocabulary) -> Encoder:
    """The back end of a name.

    Raises:
        UserError: there is none of that name, or the fast one does not know this kind of tokenizer.
    """
    check_known(backend, BACKENDS, "back end", "--backend")
    if backend == HF:
        return Reference(vocabulary)
    os.environ["FASTOKENS_BPE_THREADS"] = "1"  # the threads are ours: one for each shard at work
    from fastokens import Tokenizer

    try:
        return Fast(vocabulary, Tokenizer.from_json_str(json.dumps(vocabulary.definition | {"added_tokens": []})))
    except ValueError as error:
        raise UserError(
            f"the fast back end does not know this kind of tokenizer: {error}",
            where=str(vocabulary.files[0]),
            fix="use --backend hf, the reference, which is much slower",
        ) from None


def _encode_by_pieces(
    text: pa.StringArray, encode: Callable[[pa.StringArray], tuple[Ids, Ids]], vocabulary: Vocabulary
) -> tuple[Ids, Ids]:
    """Encode texts, of a long one a piece at a time: a back end takes 140 bytes a character and more."""
    long = _long(text, vocabulary)
    if not long.any():
        return encode(text)
    _, borders = utf8(text)
    # All at once and not in parts, which would be held a second time when they are joined; what is not filled takes no
    # memory. A token has a byte at least, and NFC makes a text three times as long at most.
    ids = np.empty(3 * int(borders[-1] - borders[0]) + len(text), np.int32)
    lengths, size = np.zeros(len(text), np.int32), 0
    for begin, end in pairwise(_runs(long)):
        run, first = text.slice(begin, end - begin), size
        if long[begin]:
            parts = chain(_parts(run, encode, vocabulary), [np.array([vocabulary.eod_id], np.int32)])
        else:
            together, lengths[begin:end] = encode(run)
            parts = [together]
        for part in parts:
            ids[size : size + len(part)] = part
            size += len(part)
        if long[begin]:
            lengths[begin] = size - first
    return ids[:size], lengths


def _long(text: pa.StringArray, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Which of some texts are encoded in parts."""
    if not cuts_alike(vocabulary.definition):
        return np.zeros(len(text), np.bool_)
    return np.diff(utf8(text)[1]) > PIECE_BYTES


def _runs(long: npt.NDArray[np.bool_]) -> list[int]:
    """Borders between the runs of documents that are encoded at once: each long one is a run of its own."""
    borders = np.flatnonzero(long[1:] | long[:-1]) + 1
    return [0, *borders.tolist(), len(long)]


def _parts(
    text: pa.StringArray, encode: Callable[[pa.StringArray], tuple[Ids, Ids]], vocabulary: Vocabulary
) -> Iterator[Ids]:
    """The ids of one text in parts, without the end of a document."""
    encoder = PieceEncoder(
        text=lambda piece: encode(pa.array([piece]))[0][:-1],
        word=vocabulary.encode_word,
        token_bytes=vocabulary.token_bytes,
    )
    return encode_pieces(utf8(text)[0], encoder)


def _holds_unsafe(text: pa.StringArray) -> bool:
    """Whether any text holds UNSAFE; ten times faster than to look for it in each."""
    values, _ = utf8(text)
    first = np.flatnonzero(values[:-1] == UNSAFE[0])
    return bool((values[first + 1] == UNSAFE[1]).any())


def _interleave(mask: npt.NDArray[np.bool_], false: tuple[Ids, Ids], true: tuple[Ids, Ids]) -> tuple[Ids, Ids]:
    """Documents of two groups in their common order: those that `mask` marks are the second group's."""
    lengths = np.empty(len(mask), np.int32)
    lengths[~mask], lengths[mask] = false[1], true[1]
    of_true = np.repeat(mask, lengths)
    ids = np.empty(len(of_true), np.int32)
    ids[~of_true], ids[of_true] = false[0], true[0]
    return ids, lengths
