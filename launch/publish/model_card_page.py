"""The card of a published model: training, data, licences, evaluation, intended use and limits, energy."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...core.errors import UserError
from ...core.training_cost import Spent
from ...data_prep.licences.report import Licensed
from ...data_prep.publish.dataset_card import plain, table

EVALUATION_TABLES = ("groups", "scores")
"""Tables of a report that a card shows, of benchmark runs and of held-out text."""
PERMISSIVE = "apache-2.0"
LIMITS = (
    "{kind}, and no answer of it was checked by a "
    "physician. It must not be used for diagnosis, treatment or triage, nor to copy doses or laboratory values "
    "unchecked. It has the errors and biases of its base and of its corpus, whose documents are of the times and "
    "places that they were written in. The table above says what it was evaluated on; nothing else is known."
)
KINDS = {
    False: "It continues text; it is not tuned to follow instructions or to converse",
    True: "It answers in conversations that its chat template writes",
}
"""Whether a model ends its turns -> its kind in words."""
OPEN = "All documents of the corpus may be used commercially, on the terms of their licences."
CLOSED = (
    "Not all of the corpus may be used commercially, or its licence is not known or disputed: {sources}. Whether a "
    "model is bound by that is open; this one is therefore not put under the base's licence."
)


@dataclass(frozen=True)
class ModelFacts:
    """Facts for a card that the weights do not contain.

    Attributes:
        title: of the model.
        base: its base on the Hub, OWNER/NAME.
        base_licence: the base's licence, as the Hub names it.
        cost: of its training.
        licences: of its corpus.
        evaluation: folder of a report.
        converses: whether it ends its turns, as after fine-tuning on conversations.
        citation: what to cite.
    """

    title: str
    base: str
    base_licence: str
    cost: Spent
    licences: Sequence[Licensed]
    evaluation: Path
    converses: bool = False
    citation: str = ""


def licence_of(facts: ModelFacts) -> str:
    """The model's licence for the Hub: the base's where all of the corpus may be used commercially, else `other`."""
    free = all(row.commercial and not row.conflict for row in facts.licences)
    return facts.base_licence if free and facts.base_licence == PERMISSIVE else "other"


def model_card(facts: ModelFacts, about: str) -> str:
    """The card's Markdown.

    Args:
        facts: see there.
        about: the card that lies beside the weights, without its header: how they were made.

    Raises:
        UserError: the report has no table of scores.
    """
    header: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": ["fr", "en"],
        "license": licence_of(facts),
        "base_model": facts.base,
        "tags": ["supervised-fine-tuning" if facts.converses else "continued-pretraining", "medical"],
    }
    if header["license"] == "other":
        header |= {"license_name": "see-licences", "license_link": "README.md"}
    limits = LIMITS.format(kind=KINDS[facts.converses])
    sections = [
        f"# {plain(facts.title)}",
        f"[{facts.base}](https://huggingface.co/{facts.base}), trained further on French biomedical text.",
        f"## Training\n\n{_training(facts.cost)}",
        f"## Data and licences\n\n{_licences(facts)}",
        f"## Evaluation\n\n{evaluation_table(facts.evaluation)}",
        f"## Intended use and limits\n\nFor research on French biomedical text.\n\n{limits}",
        f"## Energy\n\n{_energy(facts.cost)}",
        f"## How the weights were made\n\n{about}",
    ]
    if facts.citation:
        sections.append(f"## Citation\n\n```\n{facts.citation}\n```")
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n" + "\n\n".join(sections).rstrip() + "\n"


def _training(cost: Spent) -> str:
    at_least = "at least " if cost.lost else ""
    hours = "" if cost.rank_hours is None else f", {cost.rank_hours:,.1f} GPU-hours (or hours of CPU ranks)"
    steps = f"{at_least}{cost.steps:,} steps on {cost.tokens:,} tokens that count in the loss"
    return f"{steps[0].upper()}{steps[1:]}; {cost.hours:,.1f} hours of all starts{hours}."


def _energy(cost: Spent) -> str:
    if cost.joules is None:
        return "Not measured: not every step has a measurement of the GPUs' energy."
    hours = f"{cost.joules / 3.6e6:,.1f} kWh"
    return f"{hours} of the GPUs in all steps, those done again included; hosts and cooling are not in it."


def _licences(facts: ModelFacts) -> str:
    rows = []
    for row in facts.licences:
        allowed = {True: "yes", False: "no", None: "not known"}[row.commercial]
        amounts = f"{row.documents:,}", f"{row.words:,}"
        rows.append((row.source, row.licence or "not stated", allowed, row.conflict or "–", *amounts))
    closed = sorted({row.source for row in facts.licences if not row.commercial or row.conflict})
    chain = CLOSED.format(sources=", ".join(closed)) if closed else OPEN
    columns = ("source", "licence", "commercial use", "conflict", "documents", "words")
    return f"The base is under {facts.base_licence}. {chain}\n\n{table(columns, rows)}"


def evaluation_table(report: Path) -> str:
    """The report's table of groups, or of scores on held-out text, as Markdown.

    Raises:
        UserError: the folder is not a report, or has no such table.
    """
    for name in EVALUATION_TABLES:
        path = report / "tables" / f"{name}.csv"
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                head, *rows = csv.reader(file)
            return table(tuple(head), [tuple(_rounded(value) for value in row) for row in rows])
    raise UserError(
        "the report has no table of scores", where=str(report), allowed="a folder of `pdapt report build`, in English"
    )


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value or "–"
