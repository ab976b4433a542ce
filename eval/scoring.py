"""From lm-eval's samples to scores and comparisons."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import read_jsonl
from .harness.lm_eval_process import SAMPLES
from .scores import LARGEST, Comparison, Model, Score, Scores
from .statistics.estimates import Estimate, holm, paired_difference, ratio

Totals = dict[tuple[str, str], tuple[float, float]]
"""(source, doc_id) -> numerator and denominator of a metric, summed over the document's samples."""
Task = dict[str, str]
"""A line of a task folder's index: `task`, `kind`, `domain`."""

LEAST, MOST = 1e-9, 1e15
"""Bounds of a sample's denominator, and of its parts."""
GOLD = "gold_logprob"
"""Log-probability of the true answer in nats, which moves before accuracy does; not one of lm-eval's metrics."""


def _exponential(estimate: Estimate) -> Estimate:
    """The delta method: the standard error of exp(r) is exp(r) times that of r."""
    value = math.exp(estimate.value)
    return replace(estimate, value=value, stderr=estimate.stderr and value * estimate.stderr)


def _bits(estimate: Estimate) -> Estimate:
    return replace(
        estimate, value=estimate.value / math.log(2), stderr=estimate.stderr and estimate.stderr / math.log(2)
    )


def _unchanged(estimate: Estimate) -> Estimate:
    return estimate


METRICS: dict[str, dict[str, Callable[[Estimate], Estimate]]] = {
    "perplexity": {"byte_perplexity": _exponential, "word_perplexity": _exponential, "bits_per_byte": _bits},
    "continuation": {"acc": _unchanged, "acc_norm": _unchanged, GOLD: _unchanged},
}
"""Kind of task -> metric -> what makes it of the ratio of its totals (nats per byte or word, right per question)."""
COMPARED = {"perplexity": "byte_perplexity", "continuation": "acc"}


def score(folder: Path, models: list[Model], tasks: list[Task]) -> Scores:
    """Compute scores and paired comparisons from `folder/<model>/<task>/samples.jsonl`.

    Per source only perplexity is given: questions mix the sources of their answers.

    Raises:
        UserError: a file of samples is damaged, or two models' are of other documents.
    """
    samples = {
        (model.name, task["task"]): _read_samples(folder / model.name / task["task"] / SAMPLES, task["kind"])
        for model in models
        for task in tasks
    }
    found = [
        row
        for model in models
        for task in tasks
        for row in _scores(model.name, task, samples[model.name, task["task"]])
    ]
    compared = [_compare(model, against, task, samples) for task in tasks for model, against in _pairs(models)]
    adjusted = holm([comparison.p for comparison in compared])
    return Scores(
        models=[(model.name, model.role) for model in models],
        scores=found,
        comparisons=[replace(row, p_holm=p) for row, p in zip(compared, adjusted, strict=True)],
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """A file of an object a line, such as lm-eval's samples of one model on one task."""
    return [row.values for row in read_jsonl(path, nan=True)]


def _read_samples(path: Path, kind: str) -> list[dict[str, Any]]:
    """lm-eval's samples of a task, what is computed with checked."""
    rows = list(read_jsonl(path, nan=True))
    for row in rows:
        row.object("doc").text("source"), row.object("doc").text("doc_id")
        try:
            sound = all(_is_sound(*_parts(row.values, metric)) for metric in METRICS[kind])
        except (LookupError, TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise UserError(f"not one of lm-eval's samples of {kind}", where=row.where)
    if len({row["doc"]["source"] + "\0" + row["doc"]["doc_id"] for row in (row.values for row in rows)}) < 2:
        raise UserError("samples of fewer than two documents", where=str(path))
    return [row.values for row in rows]


def _is_sound(numerator: float, denominator: float) -> bool:
    """Whether a ratio of such is a number, and so is its exponential."""
    return LEAST <= denominator <= MOST and abs(numerator) <= MOST and numerator / denominator < LARGEST


def _parts(sample: dict[str, Any], metric: str) -> tuple[float, float]:
    """Numerator and denominator: lm-eval's samples hold (log-likelihood, bytes or words), or 1.0 for a right answer."""
    value = gold_logprob(sample) if metric == GOLD else sample[metric]
    return (-float(value[0]), float(value[1])) if isinstance(value, list) else (float(value), 1.0)


def gold_logprob(sample: dict[str, Any]) -> float:
    """Log-probability of the true choice in one of lm-eval's samples of a multiple-choice task, in nats."""
    return float(sample["filtered_resps"][int(sample["target"])][0])


def _totals(samples: list[dict[str, Any]], metric: str) -> Totals:
    """Totals by document."""
    totals: Totals = defaultdict(lambda: (0.0, 0.0))
    for sample in samples:
        numerator, denominator = _parts(sample, metric)
        key = (sample["doc"]["source"], sample["doc"]["doc_id"])
        totals[key] = (totals[key][0] + numerator, totals[key][1] + denominator)
    return totals


def _scores(model: str, task: Task, samples: list[dict[str, Any]]) -> Iterator[Score]:
    sources = sorted({sample["doc"]["source"] for sample in samples}) if task["kind"] == "perplexity" else []
    for metric, transform in METRICS[task["kind"]].items():
        totals = _totals(samples, metric)
        for source in ["", *sources]:
            chosen = [total for key, total in totals.items() if source in ("", key[0])]
            numerators, denominators = zip(*chosen, strict=True)
            estimate = asdict(transform(ratio(numerators, denominators)))
            yield Score(model, task["task"], task["domain"], source, metric, **estimate, units=int(sum(denominators)))


def _pairs(models: list[Model]) -> Iterator[tuple[str, str]]:
    """Every model against the base, and the merged one against the last checkpoint."""
    by_role = {
        role: [model.name for model in models if model.role == role] for role in ("base", "checkpoint", "merged")
    }
    for base in by_role["base"]:
        yield from ((model.name, base) for model in models if model.name != base)
    for last in by_role["checkpoint"][-1:]:
        yield from ((merged, last) for merged in by_role["merged"])


def _compare(model: str, against: str, task: Task, samples: dict[tuple[str, str], list[dict[str, Any]]]) -> Comparison:
    metric = COMPARED[task["kind"]]
    first, second = (_totals(samples[name, task["task"]], metric) for name in (model, against))
    if first.keys() != second.keys():
        raise UserError(
            f"{model} and {against} were asked about other documents of {task['task']}",
            where=SAMPLES,
            mend="evaluate both again, into a new folder",
        )
    difference = paired_difference(
        [first[key][0] for key in first], [second[key][0] for key in first], [first[key][1] for key in first]
    )
    return Comparison(
        model=model,
        against=against,
        task=task["task"],
        domain=task["domain"],
        metric=metric,
        difference=difference.value,
        stderr=difference.stderr,
        low=difference.low,
        high=difference.high,
        p=difference.p,
        p_holm=difference.p,
        documents=difference.documents,
    )
