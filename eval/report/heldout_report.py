"""The report of an evaluation on held-out text: one self-contained HTML page, its figures and its tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import write_text
from ...core.integrity import AGAIN, check, stage_files
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE, Manifest, run_stage
from ...core.remarks.remark import Remark
from ..harness.result_files import PromptCounts
from ..scores import SCORES_FILE, Metric, Scores, scores_file
from ..statistics.tradeoff import TRADEOFF_FILE, Tradeoff, draw_tradeoff
from ..statistics.verdict import verdict
from . import heldout_tables as tables
from .answer import answer
from .heldout_figures import (
    LossCurve,
    draw_loss,
    draw_scores,
    loss_caption,
    missing_iterations,
    read_loss_curve,
)
from .page import Detail, Paragraph, Picture, draw_picture, render, tables_of
from .table_formats import write_tables
from .texts import Words, check_language


@dataclass(frozen=True)
class HeldoutReportOptions:
    """Contents of a page on held-out text beside the scores.

    Attributes:
        title: heading of the page.
        training: `metrics.jsonl` files, lines {"iteration", "slots", "loss"} or {"iteration", "valid_loss"}; each is
            named after its folder. The page names those that are missing.
        manifests: folders of the other finished stages, in the order of the run.
        settings: name -> value, shown as a table.
        choice: folder of `build_tradeoff`, where one of several merges was chosen.
        record_faults: name of a training -> damage to its record.
        domain: the domain that training was for, where that is known.
        language: of the page.
    """

    title: str
    training: Sequence[Path] = ()
    manifests: Sequence[Path] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    choice: Path | None = None
    record_faults: Mapping[str, Sequence[Remark]] = field(default_factory=dict)
    domain: str = ""
    language: str = "en"


def build_heldout_report(scores: Path, out: Path, options: HeldoutReportOptions) -> Manifest:
    """Write `index.html`, `figures/*.png` and `*.pdf`, `tables/*.csv` and `*.tex` (stage `report`).

    Args:
        scores: folder of a finished evaluation, or of `pdapt eval proxy`.
        out: the folder to make.
        options: what else the page shows.

    Raises:
        UserError: a folder holds no finished stage or no scores, no two models are compared, a metrics file holds no
            losses, or the language is unknown.
    """
    check_language(options.language)
    stages = [*options.manifests, *_evaluations(scores)]
    existing = [path for path in options.training if path.is_file()]
    _check_inputs(scores, stages, existing)
    inputs = {"scores": scores_file(scores)}
    inputs |= {f"training/{i}": path for i, path in enumerate(existing)}
    inputs |= {f"stage/{i}": folder / MANIFEST_FILE for i, folder in enumerate(stages)}
    inputs |= {"choice": options.choice / TRADEOFF_FILE} if options.choice else {}
    config: dict[str, Any] = {"title": options.title, "settings": dict(options.settings)}
    faults = {name: [fault.to_json() for fault in damage] for name, damage in options.record_faults.items() if damage}
    config |= {"record_faults": faults} if faults else {}
    config |= {"domain": options.domain} if options.domain else {}
    config |= {"language": options.language} if options.language != "en" else {}
    body = partial(_write_report, scores, stages, existing, options)
    return run_stage("report", inputs, config, out=out, body=body)


def _write_report(
    scores: Path, stages: list[Path], existing: list[Path], options: HeldoutReportOptions, work: Path
) -> dict[str, Any]:
    """Fill the report's folder; the manifest's counts."""
    evaluated, w = Scores.read(scores), Words.read(options.language)
    curves = [read_loss_curve(path) for path in existing]
    figures = work / "figures"
    figures.mkdir()
    chosen = Tradeoff.read(options.choice).proposed if options.choice else ""
    page = answer(tables.domain_changes(evaluated, w, domain=options.domain, chosen=chosen), w, figures)
    details = _details(scores, evaluated, curves, options=options, figures=figures)
    write_tables([*([page.decisions] if page.decisions else []), *tables_of(details)], work / "tables")
    documents = sum(tables.documents_of(evaluated, domain) for domain in evaluated.domains)
    domains, models = ", ".join(evaluated.domains), len(evaluated.models)
    text = render(
        "heldout.html.jinja",
        title=options.title,
        w=w,
        lead=w("heldout_lead", models=models, documents=documents, domains=domains),
        answer=page,
        warnings=[],
        details=details,
        stages=[(folder.name, Manifest.read(folder)) for folder in stages],
    )
    write_text(work / "index.html", text)
    return {"figures": sum(len(detail.pictures) for detail in details) + 1}


def _details(
    scores: Path, evaluated: Scores, curves: list[LossCurve], options: HeldoutReportOptions, figures: Path
) -> list[Detail]:
    w = Words.read(options.language)
    counts = [
        PromptCounts.from_json(JsonObject(Manifest.read(folder).counts, f"{folder / MANIFEST_FILE}: counts"))
        for folder in _evaluations(scores)
    ]
    were_cut = sum(of_stage.prompts_cut for of_stage in counts)
    cut = w("prompts_cut_of", cut=were_cut, prompts=sum(of_stage.prompts for of_stage in counts))
    gaps = _curve_warnings([path for path in options.training if not path.is_file()], curves, w)
    faults = [
        Paragraph(w("of", group=name, what=w.remark(fault)))
        for name, damage in options.record_faults.items()
        for fault in damage
    ]
    sources, settings = tables.sources_table(evaluated, w), tables.settings_table(options.settings, w)
    return [
        Detail(
            "scores",
            w("heldout_scores"),
            [Paragraph(cut)] if were_cut else [],
            tables=[tables.scores_table(evaluated, w)],
            is_open=True,
        ),
        *([_choice_detail(options.choice, figures, w)] if options.choice else []),
        Detail("domains", w("heldout_figures"), pictures=list(_score_pictures(evaluated, w, figures))),
        Detail("sources", w("sources_title"), tables=[sources] if sources.rows else []),
        Detail("training", w("curves"), [*gaps, *faults], list(_loss_pictures(curves, w, figures))),
        Detail("method", w("method"), [Paragraph(w("method_text"))]),
        Detail("settings", w("run_settings"), tables=[settings] if settings.rows else []),
    ]


def _evaluations(scores: Path) -> list[Path]:
    """Folders of the stages that made the scores: one evaluation, or one for each model of a proxy."""
    if scores_file(scores).name == SCORES_FILE:
        return [scores]
    return [scores / name for name, _ in Scores.read(scores).models]


def _check_inputs(scores: Path, stages: list[Path], curves: list[Path]) -> None:
    for folder in stages:
        if not (folder / MANIFEST_FILE).is_file():
            raise UserError(
                "there is no finished stage here", where=str(folder), fix="give the folder that holds manifest.json"
            )
    check("report", stage_files([scores_file(scores), *curves]), fix=AGAIN)
    if not verdict(scores):
        raise UserError(
            "nothing can be compared: " + ", ".join(f"{name} ({role})" for name, role in Scores.read(scores).models),
            where=str(scores),
            allowed="scores of a base, and of a checkpoint or a merged model",
        )


def _choice_detail(folder: Path, figures: Path, w: Words) -> Detail:
    """The merge that was chosen of several, by which rule, and the curve of all of them."""
    tradeoff, manifest = Tradeoff.read(folder), Manifest.read(folder)
    limit = JsonObject(manifest.config, f"{folder / MANIFEST_FILE}: config").number("max_loss")
    areas = {"domain": tradeoff.domain, "general": tradeoff.general}
    rule = w("merge_choice_rule", **areas, max_loss=limit, count=len(tradeoff.points) - 1)
    caption = w("merge_choice_caption", **areas)
    names = ", ".join(point.model for point in tradeoff.points)
    alt = w("merge_choice_alt", caption=caption, names=names, chosen=tradeoff.proposed)
    picture = draw_picture(partial(draw_tradeoff, tradeoff, w), figures, "tradeoff", caption=caption, w=w, alt=alt)
    paragraphs = [Paragraph(w("merge_choice_proposed", model=tradeoff.proposed)), Paragraph(rule)]
    return Detail("choice", w("merge_choice_title"), paragraphs, [picture])


def _curve_warnings(missing: list[Path], curves: list[LossCurve], w: Words) -> list[Paragraph]:
    """Sentences on curves and iterations that are missing; also logged, in English."""

    def sentences(words: Words) -> list[str]:
        absent = [words("curve_missing", run=path.parent.name, path=path) for path in missing]
        return [*absent, *filter(None, (missing_iterations(curve, words) for curve in curves))]

    for sentence in sentences(Words.read("en")):
        log.warn(f"report: {sentence}")
    return [Paragraph(sentence) for sentence in sentences(w)]


def _loss_pictures(curves: list[LossCurve], w: Words, folder: Path) -> Iterator[Picture]:
    for number, curve in enumerate(curves):
        (start, first), (end, last) = curve.training[0], curve.training[-1]
        alt = w("loss_alt", run=curve.name, first=first, start=start, last=last, end=end)
        caption = loss_caption(curve, w)
        draw = partial(draw_loss, curve, w)
        yield draw_picture(draw, folder, f"loss-{number}-{curve.name}", caption=caption, w=w, alt=alt)


def _score_pictures(scores: Scores, w: Words, folder: Path) -> Iterator[Picture]:
    for domain in scores.domains:
        draw = partial(draw_scores, scores, [domain], Metric.BYTE_PERPLEXITY, w("axis_perplexity"))
        caption = w("figure_perplexity", domain=domain, documents=tables.documents_of(scores, domain))
        yield draw_picture(draw, folder, f"{Metric.BYTE_PERPLEXITY}-{domain}", caption=caption, w=w)
    draw = partial(draw_scores, scores, scores.domains, Metric.ACCURACY, w("axis_accuracy"))
    caption = w("figure_accuracy", documents=tables.documents_text(scores, w))
    yield draw_picture(draw, folder, "-".join([Metric.ACCURACY, *scores.domains]), caption=caption, w=w)
