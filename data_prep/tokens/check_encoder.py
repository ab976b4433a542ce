"""Is what a fast back end gives what the reference gives?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .encoders import Encoder, Ids, Reference
from .tokenizer import Vocabulary

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
        expected, expected_lengths = Reference(self.vocabulary).encode(text.take(pa.array(chosen)))
        ours, theirs = _documents(ids, lengths), _documents(expected, expected_lengths)
        for number, document in enumerate(chosen.tolist()):
            if not np.array_equal(ours(document), theirs(number)):
                self._say(text[document].as_py(), ours(document), theirs(number), where)
        return ids, lengths, len(chosen)

    def _sample(self, text: pa.StringArray, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        sizes = np.diff(np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1])
        short = np.flatnonzero(sizes <= max(SAMPLE_BYTES, int(sizes.min())))
        return short[[np.argmin(hashes[short])]]

    def _say(self, text: str, ours: Ids, theirs: Ids, where: str) -> None:
        """Raise, with the characters around the first token that differs."""
        shared = min(len(ours), len(theirs))
        at = int(np.flatnonzero(np.append(ours[:shared] != theirs[:shared], True))[0])
        encoding = self.vocabulary.tokenizer.encode(text, add_special_tokens=False)
        place = encoding.offsets[at][0] if at < len(encoding.offsets) else len(text)
        shown = text[max(0, place - SHOWN) : place + SHOWN]
        raise VerificationError(
            f"the fast back end's ids are not the reference's\n  where: {where}, character {place + 1}\n"
            f"  text: {shown!r}\n  ids: {ours[at : at + 8].tolist()}\n  reference: {theirs[at : at + 8].tolist()}\n"
            "  fix: --backend hf takes the reference; please report the text"
        )


def _documents(ids: Ids, lengths: Ids) -> Callable[[int], Ids]:
    """A function that gives one document's ids of all."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return lambda number: ids[ends[number] : ends[number + 1]]
