"""Scores and comparisons on held-out text, computed from lm-eval's samples."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_jsonl
from ...core.jsonio import JsonObject
from ..harness.result_files import SAMPLES_FILE
from ..models import Model, Role
from ..scores import LARGEST_LOGARITHM, Comparison, Metric, Score, Scores
from ..statistics.estimates import Estimate, paired_difference, ratio
from ..statistics.multiple_testing import holm
from .task_index import HeldoutTask, TaskKind

Ratio = tuple[float, float]
"""Numerator and denominator: nats and bytes or words, or right answers and questions."""
Document = tuple[str, str]
"""Source and `doc_id`."""

LEAST_DENOMINATOR, LARGEST_PART = 1e-9, 1e15
"""Bounds of a sample's denominator, and of numerator and denominator."""


@dataclass(frozen=True)
class Sample:
    """One of lm-eval's samples of a model on a task: its document, and each metric's ratio."""

    document: Document
    ratios: dict[Metric, Ratio]


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


METRICS: dict[TaskKind, dict[Metric, Callable[[Estimate], Estimate]]] = {
    TaskKind.PERPLEXITY: {
        Metric.BYTE_PERPLEXITY: _exponential,
        Metric.WORD_PERPLEXITY: _exponential,
        Metric.BITS_PER_BYTE: _bits,
    },
    TaskKind.CONTINUATION: {
        Metric.ACCURACY: _unchanged,
        Metric.ACCURACY_NORM: _unchanged,
        Metric.GOLD_LOGPROB: _unchanged,
    },
}
"""Kind of task -> metric -> function of the ratio of its totals (nats per byte or word, right answers per question)."""
COMPARED_METRICS = {TaskKind.PERPLEXITY: Metric.BYTE_PERPLEXITY, TaskKind.CONTINUATION: Metric.ACCURACY}
"""Kind of task -> the metric by which models are compared."""


def compute_scores(folder: Path, models: list[Model], tasks: list[HeldoutTask]) -> Scores:
    """Compute scores and paired comparisons from `folder/<model>/<task>/samples.jsonl`.

    Sources have scores of perplexity only: a question mixes sources among its choices.

    Raises:
        UserError: a file of samples is damaged, or two models' are of other documents.
    """
    samples = {
        (model.name, task.task): _read_samples(folder / model.name / task.task / SAMPLES_FILE, task.kind)
        for model in models
        for task in tasks
    }
    scores = [
        score
        for model in models
        for task in tasks
        for score in _scores(model.name, task, samples[model.name, task.task])
    ]
    comparisons = [_compare(model, against, task, samples) for task in tasks for model, against in _pairs(models)]
    adjusted = holm([comparison.p for comparison in comparisons])
    return Scores(
        models=[(model.name, model.role) for model in models],
        scores=scores,
        comparisons=[replace(row, p_holm=p) for row, p in zip(comparisons, adjusted, strict=True)],
    )


def _read_samples(path: Path, kind: TaskKind) -> list[Sample]:
    """Read and check lm-eval's samples of a task."""
    samples = [_sample(row, kind) for row in read_jsonl(path, nan=True)]
    if len({sample.document for sample in samples}) < 2:
        raise UserError("there are samples of fewer than two documents", where=str(path))
    return samples


def _sample(row: JsonObject, kind: TaskKind) -> Sample:
    doc = row.object("doc")
    document = doc.text("source"), doc.text("doc_id")
    try:
        ratios = {metric: _ratio(row, metric) for metric in METRICS[kind]}
        usable = all(map(_is_usable, ratios.values()))
    except (LookupError, TypeError, ValueError, OverflowError):
        usable, ratios = False, {}
    if not usable:
        raise UserError(f"the line is not one of lm-eval's samples of {kind}", where=row.where)
    return Sample(document, ratios)


def _is_usable(value: Ratio) -> bool:
    """Whether a ratio is a number, and so is its exponential."""
    numerator, denominator = value
    return (
        LEAST_DENOMINATOR <= denominator <= LARGEST_PART
        and abs(numerator) <= LARGEST_PART
        and numerator / denominator < LARGEST_LOGARITHM
    )


def _ratio(row: JsonObject, metric: Metric) -> Ratio:
    """A metric of a sample: lm-eval writes (log-likelihood, bytes or words), or 1.0 for a right answer."""
    value = _gold_logprob(row) if metric == Metric.GOLD_LOGPROB else row.values[metric]
    return (-float(value[0]), float(value[1])) if isinstance(value, list) else (float(value), 1.0)


def _gold_logprob(row: JsonObject) -> float:
    """Log-probability of the true choice, in nats."""
    return float(row.values["filtered_resps"][int(row.values["target"])][0])


def _totals(samples: list[Sample], metric: Metric) -> dict[Document, Ratio]:
    """Numerator and denominator of a metric, summed over each document's samples."""
    totals: dict[Document, Ratio] = defaultdict(lambda: (0.0, 0.0))
    for sample in samples:
        numerator, denominator = sample.ratios[metric]
        total = totals[sample.document]
        totals[sample.document] = (total[0] + numerator, total[1] + denominator)
    return totals


def _scores(model: str, task: HeldoutTask, samples: list[Sample]) -> Iterator[Score]:
    sources = sorted({sample.document[0] for sample in samples}) if task.kind == TaskKind.PERPLEXITY else []
    for metric, transform in METRICS[task.kind].items():
        totals = _totals(samples, metric)
        for source in ["", *sources]:
            of_source = [total for document, total in totals.items() if source in ("", document[0])]
            numerators, denominators = zip(*of_source, strict=True)
            estimate = asdict(transform(ratio(numerators, denominators)))
            units = int(sum(denominators))
            yield Score(model, task.task, task.domain, source=source, metric=metric, **estimate, units=units)


def _pairs(models: list[Model]) -> Iterator[tuple[str, str]]:
    """Pairs to compare: every model against the base, and the merged one against the last checkpoint."""
    by_role = {role: [model.name for model in models if model.role == role] for role in Role}
    for base in by_role[Role.BASE]:
        yield from ((model.name, base) for model in models if model.name != base)
    for last in by_role[Role.CHECKPOINT][-1:]:
        yield from ((merged, last) for merged in by_role[Role.MERGED])


def _compare(model: str, against: str, task: HeldoutTask, samples: dict[tuple[str, str], list[Sample]]) -> Comparison:
    metric = COMPARED_METRICS[task.kind]
    first, second = (_totals(samples[name, task.task], metric) for name in (model, against))
    if first.keys() != second.keys():
        raise UserError(
            f"{model} and {against} answered questions about different documents of {task.task}",
            where=SAMPLES_FILE,
            fix="evaluate both again, into a new folder",
        )
    difference = paired_difference(
        [first[document][0] for document in first],
        [second[document][0] for document in first],
        [first[document][1] for document in first],
    )
    return Comparison(
        model=model,
        against=against,
        task=task.task,
        domain=task.domain,
        metric=metric,
        difference=difference.value,
        stderr=difference.stderr,
        low=difference.low,
        high=difference.high,
        p=difference.p,
        p_holm=difference.p,
        documents=difference.documents,
    )
