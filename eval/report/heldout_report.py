"""The report of an evaluation on held-out text: one self-contained HTML page, and its figures as PNG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import write_text
from ...core.integrity import AGAIN, check, stage_files
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE, Manifest, run_stage
from ..harness.result_files import PromptCounts
from ..models import Role
from ..scores import SCORES_FILE, Metric, Score, Scores
from ..statistics.tradeoff import TRADEOFF_FILE, Tradeoff, choice_sentences
from ..statistics.verdict import MAIN_METRICS, change_of, change_text, verdict
from .heldout_figures import LossCurve, draw_loss, draw_scores, missing_iterations, read_loss_curve
from .page import SYMBOLS, Picture, data_uris, render
from .theme import THEMES, draw_twice


@dataclass(frozen=True)
class ScoreCell:
    """A cell of the table of scores, as the reader sees it.

    `change`, against the base, is in words; its symbol and the outcome stand beside the value. Empty for the base.
    """

    value: str
    stderr: str
    outcome: str = ""
    symbol: str = ""
    change: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """A model's row; a cell for each domain and metric."""

    model: str
    role: Role
    cells: list[ScoreCell]


@dataclass(frozen=True)
class ScoreTable:
    """The table of scores; `base` says whether one of the models is a base."""

    domains: list[str]
    rows: list[ScoreRow]
    base: bool


@dataclass(frozen=True)
class SourceRow:
    """A source's perplexities, a score for each model."""

    domain: str
    source: str
    documents: int
    cells: list[Score]


@dataclass(frozen=True)
class SourceTable:
    """The table of perplexities by source."""

    models: list[str]
    rows: list[SourceRow]


def build_heldout_report(
    title: str,
    scores: Path,
    training: list[Path],
    manifests: list[Path],
    out: Path,
    settings: Mapping[str, object],
    choice: Path | None = None,
    record_faults: Sequence[str] = (),
) -> Manifest:
    """Write `index.html` and `figures/*.png` (stage `report`).

    Args:
        title: heading of the page.
        scores: folder of a finished evaluation.
        training: `metrics.jsonl` files, lines {"iteration", "slots", "loss"} or {"iteration", "valid_loss"}; each is
            named after its folder. The page names those that are missing.
        manifests: folders of the other finished stages, in the order of the run.
        out: the folder to make.
        settings: name -> value, shown as a table.
        choice: folder of `build_tradeoff`, where one of several merges was chosen.
        record_faults: sentences on damage to the trainings' records, for the page.

    Raises:
        UserError: a folder holds no finished stage or no scores, no two models are compared, or a metrics file holds no
            losses.
    """
    stages = [*manifests, scores]
    existing = [path for path in training if path.is_file()]
    _check_inputs(scores, stages, existing)
    inputs = {"scores": scores / SCORES_FILE}
    inputs |= {f"training/{i}": path for i, path in enumerate(existing)}
    inputs |= {f"stage/{i}": folder / MANIFEST_FILE for i, folder in enumerate(stages)}
    inputs |= {"choice": choice / TRADEOFF_FILE} if choice else {}

    def body(work: Path) -> dict[str, Any]:
        evaluated, of_scores = Scores.read(scores), Manifest.read(scores)
        curves = [read_loss_curve(path) for path in existing]
        warnings = [*_curve_warnings([path for path in training if path not in existing], curves), *record_faults]
        pictures = list(_pictures(evaluated, curves, work / "figures"))
        pictures += [_choice_picture(choice)] if choice else []
        page = render(
            "heldout.html.jinja",
            title=title,
            sentences=[*verdict(scores), *(choice_sentences(choice) if choice else [])],
            table=_score_table(evaluated),
            counts=PromptCounts.from_json(JsonObject(of_scores.counts, f"{scores / MANIFEST_FILE}: counts")),
            sources=_source_table(evaluated),
            pictures=pictures,
            warnings=warnings,
            settings=settings,
            stages=[(folder.name, Manifest.read(folder)) for folder in stages],
        )
        write_text(work / "index.html", page)
        return {"figures": len(pictures)}

    config: dict[str, Any] = {"title": title, "settings": dict(settings)}
    config |= {"record_faults": list(record_faults)} if record_faults else {}
    return run_stage("report", inputs, config, out=out, body=body)


def _check_inputs(scores: Path, stages: list[Path], curves: list[Path]) -> None:
    for folder in stages:
        if not (folder / MANIFEST_FILE).is_file():
            raise UserError(
                "there is no finished stage here", where=str(folder), fix="give the folder that holds manifest.json"
            )
    check("report", stage_files([scores / SCORES_FILE, *curves]), fix=AGAIN)
    if not verdict(scores):
        raise UserError(
            "nothing can be compared: " + ", ".join(f"{name} ({role})" for name, role in Scores.read(scores).models),
            where=str(scores),
            allowed="scores of a base, and of a checkpoint or a merged model",
        )


def _curve_warnings(missing: list[Path], curves: list[LossCurve]) -> list[str]:
    """Sentences on curves and iterations that are missing; also logged."""
    sentences = [f"The curve of {path.parent.name} is missing: {path} is not there." for path in missing]
    sentences += filter(None, map(missing_iterations, curves))
    for sentence in sentences:
        log.warn(f"report: {sentence}")
    return sentences


def _pictures(scores: Scores, curves: list[LossCurve], folder: Path) -> Iterator[Picture]:
    folder.mkdir(exist_ok=True)
    for number, curve in enumerate(curves):
        images = draw_twice(partial(draw_loss, curve), folder, f"loss-{number}-{curve.name}")
        (start, first), (end, last) = curve.training[0], curve.training[-1]
        alt = f"Training loss of {curve.name}: {first:.3f} at iteration {start}, {last:.3f} at iteration {end}."
        yield Picture(data_uris(images), f"Loss of {curve.name}.", alt)
    figures = [([domain], Metric.BYTE_PERPLEXITY, f"Perplexity per byte, {domain}") for domain in scores.domains]
    figures.append((scores.domains, Metric.ACCURACY, "Accuracy in choosing the continuation"))
    for domains, metric, label in figures:
        images = draw_twice(partial(draw_scores, scores, domains, metric, label), folder, "-".join([metric, *domains]))
        caption = f"{label}, on held-out documents; bars are ± 1 standard error."
        yield Picture(data_uris(images), caption, f"{caption} The values are in the table of scores.")


def _choice_picture(choice: Path) -> Picture:
    tradeoff = Tradeoff.read(choice)
    names = ", ".join(point.model for point in tradeoff.points)
    caption = f"Merges between base and last checkpoint, {tradeoff.domain} against {tradeoff.general}."
    images = {theme.name: choice / f"tradeoff-{theme.name}.png" for theme in THEMES}
    return Picture(data_uris(images), caption, f"{caption} Points: {names}; chosen: {tradeoff.proposed}.")


def _score_table(scores: Scores) -> ScoreTable:
    columns = [(domain, metric) for domain in scores.domains for metric in MAIN_METRICS]
    rows = [
        ScoreRow(name, role, [_score_cell(scores, name, domain, metric) for domain, metric in columns])
        for name, role in scores.models
    ]
    return ScoreTable(scores.domains, rows, base=bool(scores.with_role(Role.BASE)))


def _score_cell(scores: Scores, model: str, domain: str, metric: Metric) -> ScoreCell:
    score = scores.score(model, domain, metric)
    scale, digits = (100, 1) if metric == Metric.ACCURACY else (1, 3)
    stderr = "" if score.stderr is None else f"{scale * score.stderr:.{digits}f}"
    cell = ScoreCell(f"{scale * score.value:.{digits}f}", stderr)
    for base in scores.with_role(Role.BASE):
        if base != model:
            comparison = scores.comparison(model, base, domain, metric)
            outcome = change_of(comparison)
            cell = replace(cell, outcome=outcome, symbol=SYMBOLS[outcome], change=change_text(comparison))
    return cell


def _source_table(scores: Scores) -> SourceTable:
    names = [name for name, _ in scores.models]
    of_sources = [score for score in scores.scores if score.metric == Metric.BYTE_PERPLEXITY and score.source]
    documents = {(score.domain, score.source): score.documents for score in of_sources}
    rows = [
        SourceRow(
            domain=domain,
            source=source,
            documents=count,
            cells=[scores.score(name, domain, Metric.BYTE_PERPLEXITY, source) for name in names],
        )
        for (domain, source), count in documents.items()
    ]
    return SourceTable(names, rows)
