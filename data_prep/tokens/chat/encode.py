"""The ids of conversations, and which of them are answers."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ....core.errors import UserError
from ...sources.formats.conversations import Message, of_text
from ..check_encoder import ALL, Verifier
from ..encoders import Ids
from ..selection.shards import utf8
from ..selection.split import hash_texts
from .template import ChatTemplate, Piece, RefusedConversationError

Answers = npt.NDArray[np.uint8]
"""1 for each token that is part of an answer, else 0."""


def encode_conversations(
    text: pa.StringArray, template: ChatTemplate, verifier: Verifier, *, number: int, where: str
) -> tuple[Ids, Ids, Answers, int]:
    """Encode a batch of conversations, with nothing after what the template writes.

    Args:
        text: the conversations as texts, [conversations].
        template: writes them.
        verifier: encodes what of them is text; compares a text of a batch, or all, with the reference.
        number: of the batch in its shard, from 0.
        where: what to call the shard in an error.

    Returns:
        All ids, the number of each conversation's, which ids are answers, and how many conversations were compared.

    Raises:
        UserError: the template refuses a conversation, which is named.
        VerificationError: see `Verifier.encode`.
    """
    pieces: list[Piece] = []
    counts = np.zeros(len(text), np.int64)
    chats = [of_text(each) for each in text.to_pylist()]
    for place, (rendered, messages) in enumerate(zip(_rendered(chats, template, where), chats, strict=True)):
        try:
            mine = template.pieces_of(rendered, messages)
        except UserError as error:
            raise _located(error, where, place) from None
        pieces += mine
        counts[place] = len(mine)
    texts = pa.array([piece.text for piece in pieces if piece.token is None], pa.string())
    ids, lengths, compared = verifier.encode(texts, hash_texts(*utf8(texts), 0), number, where)
    every, answers = _joined(pieces, ids, lengths, verifier.vocabulary.token_bytes)
    sizes = np.array([len(each) for each in every], np.int64)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])[np.concatenate([[0], np.cumsum(counts)])]
    whole = len(text) if verifier.verify == ALL else 1
    return (
        np.concatenate([np.empty(0, np.int32), *every]),
        np.diff(ends).astype(np.int32),
        np.concatenate([np.empty(0, np.uint8), *answers]),
        whole if compared else 0,
    )


def _rendered(chats: list[list[Message]], template: ChatTemplate, where: str) -> list[str]:
    try:
        return template.rendered(chats)
    except RefusedConversationError as error:
        raise _located(error, where, error.at) from None


def _located(error: UserError, where: str, place: int | None) -> UserError:
    """The error with the conversation that it is about."""
    number = "" if place is None else f", number {place + 1}"
    return UserError(f"{error.what} (at {where}{number})", where=error.where, allowed=error.allowed, fix=error.fix)


def _joined(
    pieces: list[Piece], ids: Ids, lengths: Ids, token_bytes: npt.NDArray[np.int32]
) -> tuple[list[Ids], list[Answers]]:
    """The ids of each piece and which are answers; `ids` are the texts', each with the end of a document."""
    ends = pairwise(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).tolist())
    every, answers = [], []
    for piece in pieces:
        if piece.token is not None:
            mine = np.array([piece.token], np.int32)
        else:
            begin, end = next(ends)
            mine = ids[begin : end - 1]
        learned = np.full(len(mine), piece.learned, np.uint8)
        if piece.skipped:
            # A token across the border, such as two ends of a line, is the answer's: so transformers has it.
            learned[np.cumsum(token_bytes[mine]) <= piece.skipped] = 0
        every.append(mine)
        answers.append(learned)
    return every, answers
