"""Scores of answers on clinical documents: lists of mentions, letters of right options, and codes.

lm-eval calls the functions `score_...` for the tasks of this folder.
"""

import re
from typing import Any

NONE = {"aucune", "aucun", "néant", "aucune mention"}
"""Words of an answer that nothing is to be listed."""
ENTITY_MEASURES = ("true_positives", "predicted", "gold")
CHOICE_MEASURES = ("hamming",)
CODE_MEASURES = ("histology",)


def score_entities(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """`correct` where all mentions are listed and nothing else, and the counts that F1 is made of.

    A mention is its words; case and blanks do not matter, and one that stands in the text several times counts once.
    """
    predicted, gold = listed(results[0]), {_uniform(mention) for mention in doc["mentions"]}
    counts = (len(predicted & gold), len(predicted), len(gold))
    return {"correct": float(predicted == gold), **dict(zip(ENTITY_MEASURES, map(float, counts), strict=True))}


def f1(true_positives: float, predicted: float, gold: float) -> float:
    """The harmonic mean of precision and recall, of the counts of all questions; 1 where nothing is to be found."""
    return 2 * true_positives / (predicted + gold) if predicted + gold else 1.0


def score_choices(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """`correct` where exactly the right options are named, and the Hamming score.

    As Labrak et al. (FrenchMedMCQA, LOUHI 2022) have them: exact match, and right options that are named, over all that
    are right or named.
    """
    letters, right = set(re.findall(r"\b[A-E]\b", results[0])), set(doc["right"])
    return {"correct": float(letters == right), "hamming": len(letters & right) / len(letters | right)}


def score_code(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """`correct` where the code is the text's, and `histology` where its four digits before the behaviour are."""
    return {
        "correct": float(results[0] == doc["code"]),
        "histology": float(results[0].partition("/")[0] == doc["code"].partition("/")[0]),
    }


def listed(answer: str) -> set[str]:
    """The mentions that an answer lists, between semicolons."""
    mentions = {_uniform(mention) for mention in answer.split(";")}
    return mentions - NONE - {""}


def _uniform(mention: str) -> str:
    return " ".join(mention.split()).strip(" .").casefold()
