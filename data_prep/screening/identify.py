"""The language of one text, by all of its letters: slower than by its function words, and right on short texts too."""

from functools import cache

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from .language import FUNCTION_WORDS, NOT_TOLD, OTHER_SCRIPT, Bytes, in_another_script

SURE = 0.9
"""Probability from which a language is believed: no French text of the samples is taken for another one then."""
PIECES, PIECE_BYTES = 8, 250
"""Pieces of a longer text that are looked at, spread over it, and their bytes."""


def identify(text: Bytes) -> str:
    """The language of a text.

    Args:
        text: as UTF-8.

    Returns:
        A key of FUNCTION_WORDS, OTHER_SCRIPT, or NOT_TOLD where none is sure.
    """
    if len(text) > PIECES * PIECE_BYTES:
        begins = np.linspace(0, len(text) - PIECE_BYTES, PIECES).astype(np.int64)
        text = text[begins[:, None] + np.arange(PIECE_BYTES)].ravel()
    if in_another_script(text):
        return OTHER_SCRIPT
    # A piece may begin or end within a letter.
    language, probability = _identifier().classify(text.tobytes().decode(errors="ignore"))
    return language if probability >= SURE else NOT_TOLD


@cache
def _identifier() -> LanguageIdentifier:
    """py3langid with its own model, which takes 80 MB, and the languages that function words tell."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(FUNCTION_WORDS))
    return identifier
