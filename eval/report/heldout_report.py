"""The report: one HTML page that needs nothing else, and its figures as PNG."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import write_text
from ...core.integrity import AGAIN, check, stage_files
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE, Manifest, run_stage
from ..scores import SCORES, Scores
from ..statistics.verdict import ACCURACY, PERPLEXITY, change, outcome, verdict
from .figures import Curve, draw_loss, draw_scores, draw_twice, lacking, read_curve
from .page import SYMBOLS, Picture, inline, render


def build_report(
    title: str,
    scores: Path,
    training: list[Path],
    manifests: list[Path],
    out: Path,
    settings: dict[str, Any],
) -> Manifest:
    """Write `index.html` and `figures/*.png` (stage `report`).

    Args:
        title: heading of the page.
        scores: folder of a finished evaluation.
        training: `metrics.jsonl` files, lines {"iteration", "slots", "loss"} or {"iteration", "valid_loss"}; each is
            named after its folder. One that is missing is said on the page.
        manifests: folders of the other finished stages, in the order of the run.
        out: the folder to make.
        settings: name -> value, shown as a table.

    Raises:
        UserError: a folder holds no finished stage or no scores, or of models that nobody compared, or a metrics file
            holds no losses.
    """
    stages = [*manifests, scores]
    for folder in stages:
        if not (folder / MANIFEST_FILE).is_file():
            raise UserError(
                "no finished stage here", where=str(folder), mend="give the folder that holds manifest.json"
            )
    there = [path for path in training if path.is_file()]
    check("report", stage_files([scores / SCORES, *there]), mend=AGAIN)
    if not verdict(scores):
        raise UserError(
            "nothing can be compared: " + ", ".join(f"{name} ({role})" for name, role in Scores.read(scores).models),
            where=str(scores),
            allowed="scores of a base, and of a checkpoint or a merged model",
        )
    inputs = {"scores": scores / SCORES}
    inputs |= {f"training/{i}": path for i, path in enumerate(there)}
    inputs |= {f"stage/{i}": folder / MANIFEST_FILE for i, folder in enumerate(stages)}

    def body(work: Path) -> dict[str, Any]:
        found = Scores.read(scores)
        curves = [read_curve(path) for path in there]
        lacks = [
            f"The curve of {path.parent.name} is missing: {path} is not there."
            for path in training
            if path not in there
        ]
        lacks += filter(None, map(lacking, curves))
        for sentence in lacks:
            log.warn(f"report: {sentence}")
        pictures = list(_pictures(found, curves, work / "figures"))
        page = render(
            "report.html.jinja",
            title=title,
            sentences=verdict(scores),
            table=_table(found),
            cut=_cut(scores),
            sources=_sources(found),
            pictures=pictures,
            lacks=lacks,
            settings=settings,
            stages=[(folder.name, Manifest.read(folder)) for folder in stages],
        )
        write_text(work / "index.html", page)
        return {"figures": len(pictures)}

    return run_stage("report", inputs, {"title": title, "settings": settings}, out, body)


def _cut(scores: Path) -> dict[str, int]:
    """Prompts that were cut, and how many there were."""
    counts = JsonObject(Manifest.read(scores).counts, f"{scores / MANIFEST_FILE}: counts")
    return {name: counts.integer(name, 0) for name in ("prompts_cut", "prompts")}


def _pictures(scores: Scores, curves: list[Curve], folder: Path) -> Iterator[Picture]:
    folder.mkdir(exist_ok=True)
    for number, curve in enumerate(curves):
        images = draw_twice(partial(draw_loss, curve), folder, f"loss-{number}-{curve.name}")
        (start, first), (end, last) = curve.training[0], curve.training[-1]
        told = f"Training loss of {curve.name}: {first:.3f} at iteration {start}, {last:.3f} at iteration {end}."
        yield Picture(inline(images), f"Loss of {curve.name}.", told)
    figures = [([domain], PERPLEXITY, f"Perplexity per byte, {domain}") for domain in scores.domains]
    for domains, metric, label in [*figures, (scores.domains, ACCURACY, "Accuracy in choosing the continuation")]:
        images = draw_twice(partial(draw_scores, scores, domains, metric, label), folder, "-".join([metric, *domains]))
        caption = f"{label}, on held-out documents; bars are ± 1 standard error."
        yield Picture(inline(images), caption, f"{caption} The values are in the table of scores.")


def _table(scores: Scores) -> dict[str, Any]:
    """Columns (domain, metric) and for each model its cells."""
    columns = [(domain, metric) for domain in scores.domains for metric in (PERPLEXITY, ACCURACY)]
    rows = [
        {"model": name, "role": role, "cells": [_cell(scores, name, domain, metric) for domain, metric in columns]}
        for name, role in scores.models
    ]
    return {"domains": scores.domains, "rows": rows, "base": bool(scores.named("base"))}


def _sources(scores: Scores) -> dict[str, Any]:
    """Perplexity by source: a column for each model."""
    names = [name for name, _ in scores.models]
    found = [score for score in scores.scores if score.metric == PERPLEXITY and score.source]
    rows = {(score.domain, score.source): score.documents for score in found}
    return {
        "models": names,
        "rows": [
            {
                "domain": domain,
                "source": source,
                "documents": documents,
                "cells": [scores.score(name, domain, PERPLEXITY, source) for name in names],
            }
            for (domain, source), documents in rows.items()
        ],
    }


def _cell(scores: Scores, model: str, domain: str, metric: str) -> dict[str, str]:
    score = scores.score(model, domain, metric)
    scale, digits = (100, 1) if metric == ACCURACY else (1, 3)
    stderr = "" if score.stderr is None else f"{scale * score.stderr:.{digits}f}"
    cell = {"value": f"{scale * score.value:.{digits}f}", "stderr": stderr, "outcome": "", "symbol": "", "change": ""}
    for base in scores.named("base"):
        if base != model:
            found = scores.comparison(model, base, domain, metric)
            cell |= {"outcome": outcome(found), "symbol": SYMBOLS[outcome(found)], "change": change(found)}
    return cell
