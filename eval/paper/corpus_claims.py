"""Claims of the paper's sections 3 to 5 on corpus, training and errors, computed again from its tables.

Each function takes the tables and returns whether the claim follows, and the values that show why; the texts are in
`claims.yaml`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .tables import Tables, possible_counts
from .tables_file import GROUPS


@dataclass(frozen=True)
class Finding:
    """Whether a statement follows from the tables, and the values that were compared."""

    holds: bool
    values: Mapping[str, object]


Check = Callable[[Tables], Finding]


def _scientific(tables: Tables, *, commercial_only: bool) -> float:
    scientific = [source for source in tables.file.sources if source.document_type == "Scientific"]
    words = sum(source.size.words for source in scientific if source.commercial or not commercial_only)
    return 100 * words / tables.corpus_size(commercial_only=commercial_only).words


def sources_listed(tables: Tables) -> Finding:
    """Do all sources that section 3.1 names stand in Table 1?"""
    listed = {source.name for source in tables.file.sources}
    missing = [name for name in tables.stated.sources if name not in listed]
    values = {
        "named": len(tables.stated.sources),
        "listed": len(listed),
        "missing": ", ".join(missing) or "-",
    }
    return Finding(not missing, values)


def _totals(tables: Tables, edition: str) -> Finding:
    stated = tables.file.editions[edition]
    total = tables.corpus_size(commercial_only=edition == "commercial")
    values = {
        "docs": total.documents,
        "words": total.words,
        "stated_docs": stated.documents,
        "stated_words": stated.words,
        "docs_off": stated.documents - total.documents,
        "words_off": stated.words - total.words,
    }
    return Finding(total == stated, values)


def commercial_totals(tables: Tables) -> Finding:
    """Do the commercial rows of Table 1 add up to its subtotal?"""
    return _totals(tables, "commercial")


def research_totals(tables: Tables) -> Finding:
    """Do all rows of Table 1 add up to its total?"""
    return _totals(tables, "research")


def scientific_share(tables: Tables) -> Finding:
    """Are about 94 % of the words scientific?"""
    research, commercial = (_scientific(tables, commercial_only=only) for only in (False, True))
    stated = tables.stated.scientific_percent
    return Finding(round(research) == stated, {"research": research, "commercial": commercial, "stated": stated})


def documents_collected(tables: Tables) -> Finding:
    """Were 906,489 documents collected?"""
    docs, stated = tables.corpus_size(commercial_only=False).documents, tables.stated.documents
    return Finding(docs == stated, {"docs": docs, "stated": stated})


def training_documents(tables: Tables) -> Finding:
    """Does the edition that was trained on have 892 thousand documents?"""
    docs = tables.corpus_size(commercial_only=True).documents
    stated = tables.stated.training_documents_thousand
    return Finding(round(docs / 1000) == stated, {"docs": docs, "stated": stated})


def best_base(tables: Tables) -> Finding:
    """Is Qwen3-8B-Base ahead of the other base models, and of Llama, Mistral, Apollo and BioMistral?"""
    stated, ranks = tables.stated, tables.ranks()
    bases = {name for name, kind in tables.file.model_types.items() if kind == "Base"}
    others = bases | set(stated.base_beats)
    ordered = sorted(others, key=lambda name: ranks[name])
    best, second = ordered[:2]
    values = {"best": best, "rank": ranks[best], "second": second, "second_rank": ranks[second], "models": len(others)}
    return Finding(best == stated.best_base, values)


def four_sizes(tables: Tables) -> Finding:
    """Are the same four sizes in Tables 3 to 6?"""
    sizes = [[name.split("-")[1] for name in tables.file.results[group]] for group in GROUPS]
    holds = all(of_table == ["0.6B", "1.7B", "4B", "8B"] for of_table in sizes)
    return Finding(holds, {"sizes": "; ".join(", ".join(of_table) for of_table in sizes)})


def tokens_and_words(tables: Tables) -> Finding:
    """Are there over 1.95 G tokens in under 1 G words?"""
    stated, words = tables.stated, tables.corpus_size(commercial_only=True).words
    holds = stated.tokens > stated.tokens_over and words < stated.words_under
    return Finding(holds, {"tokens": stated.tokens, "words": words, "ratio": stated.tokens / words})


def epochs(tables: Tables) -> Finding:
    """Can 4,320 steps of 1,152 sequences be 2.53 epochs?

    A document of n tokens gives at most 1 + n / (2,048 - 4) sequences, and all documents together at least
    tokens / 2,048; so the passes over the corpus have bounds.
    """
    stated, docs = tables.stated, tables.corpus_size(commercial_only=True).documents
    read = stated.steps * stated.batch
    most = docs + stated.tokens / (stated.sequence - stated.overlap)
    least = stated.tokens / stated.sequence
    low, high = read / most, read / least
    values = {"sequences": read, "most": round(most), "least": round(least), "low": low, "high": high}
    values |= {"stated": stated.epochs, "needed": round(read / stated.epochs)}
    return Finding(low <= stated.epochs <= high, values)


def checkpoints(tables: Tables) -> Finding:
    """Is the chosen step one of the checkpoints that were saved every 720 steps?"""
    every, steps, chosen = tables.stated.checkpoint_every, tables.stated.steps, tables.stated.checkpoint
    saved = list(range(every, steps + 1, every))
    return Finding(chosen in saved and saved[-1] == steps, {"count": len(saved), "every": every, "chosen": chosen})


def errors_bootstrapped(tables: Tables) -> Finding:
    """Are the standard errors bootstrapped?

    lm-eval computes the error of a mean as s / sqrt(n) with n - 1 in s; a bootstrap estimates the same with n in s. The
    cells where the two print differently tell which it was.
    """
    fits = total = analytic = bootstrap = 0
    for _, cell, questions, decimals in tables.cells():
        total += 1
        rights = possible_counts(cell.score, questions, decimals) or [cell.score * questions / 100]
        with_n_1 = {_printed_error(right, questions, questions - 1) for right in rights}
        with_n = {_printed_error(right, questions, questions) for right in rights}
        fits += cell.stderr in with_n_1
        if not with_n_1 & with_n:
            analytic += cell.stderr in with_n_1
            bootstrap += cell.stderr in with_n
    values = {
        "fits": fits,
        "cells": total,
        "telling": analytic + bootstrap,
        "analytic": analytic,
        "bootstrap": bootstrap,
    }
    return Finding(bootstrap > analytic, values)


def _printed_error(right: float, questions: int, divisor: int) -> float:
    share = right / questions
    return round(100 * math.sqrt(share * (1 - share) / divisor), 1)


def smaller_sets_wider_errors(tables: Tables) -> Finding:
    """Are the errors wider on the small medical sets?"""
    medical, other = (
        [cell.stderr for _, cell, questions, _ in tables.cells() if (questions < 300) == small]
        for small in (True, False)
    )
    values = {"small": float(np.mean(medical)), "large": float(np.mean(other))}
    return Finding(values["small"] > values["large"], values)


def scores_possible(tables: Tables) -> Finding:
    """Is every score a number of right answers over the number of questions?"""
    wrong = [
        f"{where}: {cell.score:g}"
        for where, cell, questions, decimals in tables.cells()
        if not possible_counts(cell.score, questions, decimals)
    ]
    cells = sum(1 for _ in tables.cells())
    return Finding(not wrong, {"cells": cells, "impossible": len(wrong), "which": "; ".join(wrong) or "-"})


CHECKS: dict[str, Check] = {
    "corpus-sources-listed": sources_listed,
    "corpus-totals-commercial": commercial_totals,
    "corpus-totals-research": research_totals,
    "corpus-scientific-share": scientific_share,
    "corpus-documents-collected": documents_collected,
    "corpus-training-documents": training_documents,
    "best-base-model": best_base,
    "four-sizes": four_sizes,
    "tokens-and-words": tokens_and_words,
    "epochs": epochs,
    "checkpoint-interval": checkpoints,
    "errors-bootstrapped": errors_bootstrapped,
    "errors-wider-on-small-sets": smaller_sets_wider_errors,
    "scores-are-counts": scores_possible,
}
