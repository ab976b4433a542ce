"""Comparison of a fast back end's ids with those of the reference."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .encoders import Encoder, Ids, Reference
from .pieces import PIECE_BYTES
from .selection.shards import utf8
from .tokenizer import Vocabulary
from .words import compose

SAMPLE, ALL = "sample", "all"
VERIFICATIONS = (SAMPLE, ALL)
SAMPLE_BYTES = 8_000
"""Longest document that a sample takes, where there is a shorter one: the reference does about 3 MB a second."""
SAMPLED = 8
"""Batches of a shard for each that is compared with the reference."""
SHOWN = 60
"""Characters that are shown before and after a difference."""


class VerificationError(RuntimeError):
    """A back end's ids are not the reference's."""


@dataclass(frozen=True)
class Verifier:
    """An encoder whose ids are compared with the reference's.

    Attributes:
        encoder: the back end.
        vocabulary: of the reference.
        verify: SAMPLE (a document of the first batch of a shard, and of every eighth after it) or ALL.
    """

    encoder: Encoder
    vocabulary: Vocabulary
    verify: str

    def encode(
        self, text: pa.StringArray, hashes: npt.NDArray[np.uint64], number: int, where: str
    ) -> tuple[Ids, Ids, int]:
        """Encode a batch and compare.

        Args:
            text: the texts.
            hashes: of the texts; of those that are short enough, the lowest is the sample.
            number: of the batch in its shard, from 0.
            where: what to call the shard in an error.

        Returns:
            All ids, the number of each text's, and how many texts were compared.

        Raises:
            VerificationError: on the first difference, with the text around it.
        """
        ids, lengths = self.encoder.encode(text)
        skipped = self.verify == SAMPLE and number % SAMPLED
        if skipped or isinstance(self.encoder, Reference) or not len(text):
            return ids, lengths, 0
        chosen = np.arange(len(text)) if self.verify == ALL else self._sample(text, hashes)
        ours = _documents(ids, lengths)
        for document, theirs in self._expected(text, chosen):
            self._compare(text.slice(document, 1), ours(document), theirs, where)
        return ids, lengths, len(chosen)

    def _sample(self, text: pa.StringArray, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        sizes = np.diff(utf8(text)[1])
        short = np.flatnonzero(sizes <= max(SAMPLE_BYTES, int(sizes.min())))
        return short[[np.argmin(hashes[short])]]

    def _expected(self, text: pa.StringArray, chosen: npt.NDArray[np.int64]) -> Iterator[tuple[int, Iterable[Ids]]]:
        """The reference's ids of each chosen text, in parts, so that a long text's are not held twice."""
        reference, eod = Reference(self.vocabulary), np.array([self.vocabulary.eod_id], np.int32)
        long = np.diff(utf8(text)[1])[chosen] > PIECE_BYTES
        expected = _documents(*reference.encode(text.take(pa.array(chosen[~long]))))
        yield from ((document, [expected(number)]) for number, document in enumerate(chosen[~long].tolist()))
        yield from (
            (document, chain(reference.parts(text.slice(document, 1)), [eod])) for document in chosen[long].tolist()
        )

    def _compare(self, text: pa.StringArray, ours: Ids, theirs: Iterable[Ids], where: str) -> None:
        """Compare a text's ids.

        Raises:
            VerificationError: with the characters around the first token that differs.
        """
        at = 0
        for part in theirs:
            if not np.array_equal(ours[at : at + len(part)], part):
                self._say(text[0].as_py(), ours, part, at=at, where=where)
            at += len(part)
        if at != len(ours):
            self._say(text[0].as_py(), ours, ours[:0], at=at, where=where)

    def _say(self, text: str, ours: Ids, theirs: Ids, *, at: int, where: str) -> None:
        """Raise for a part of the reference's ids, which begins at a token of ours."""
        mine = ours[at : at + len(theirs)]
        shared = int(np.flatnonzero(np.append(mine != theirs[: len(mine)], True))[0])
        composed = bytes(compose(memoryview(text.encode())))
        before = int(self.vocabulary.token_bytes[ours[: at + shared]].sum())
        place = len(composed[:before].decode("utf-8", "ignore"))
        shown = composed.decode()[max(0, place - SHOWN) : place + SHOWN]
        wrong, right = ours[at + shared :][:8].tolist(), theirs[shared:][:8].tolist()
        raise VerificationError(
            f"the fast back end's ids differ from the reference's\n  where: {where}, character {place + 1}\n"
            f"  text: {shown!r}\n  ids: {wrong}\n  reference: {right}\n"
            "  fix: use --backend hf, which is the reference; please report the text"
        )


def _documents(ids: Ids, lengths: Ids) -> Callable[[int], Ids]:
    """A function that gives one document's ids of all."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return lambda number: ids[ends[number] : ends[number + 1]]
