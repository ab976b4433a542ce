"""The report of trainings alone: their losses, their cost, and damage to their records."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...core.files import write_text
from ...core.manifest import Manifest, run_stage
from ...core.training_cost import Spent
from ..report.answer import Answer
from ..report.heldout_figures import LossCurve, draw_loss, loss_caption, missing_iterations
from ..report.page import Detail, Paragraph, Picture, draw_picture, render, tables_of
from ..report.settings_tables import training_cost_tables
from ..report.table_formats import Entry, Row, Table, number_entry, write_tables
from ..report.texts import Words, check_language


@dataclass(frozen=True)
class Training:
    """A training: the losses and the cost of the steps that count, and its record, which both were read from."""

    curve: LossCurve
    spent: Spent
    record: Path


def build_training_report(trainings: Sequence[Training], out: Path, language: str = "en") -> Manifest:
    """Write `index.html`, `figures/*.png` and `*.pdf`, `tables/*.csv` and `*.tex` (stage `training-report`).

    Args:
        trainings: of different names, one at least, finished or not.
        out: the folder to make.
        language: of the page.

    Raises:
        UserError: the language is unknown.
    """
    check_language(language)
    inputs = {f"record/{training.curve.name}": training.record for training in trainings}
    costs = {training.curve.name: asdict(training.spent) for training in trainings}
    body = partial(_write_report, trainings, Words.read(language))
    return run_stage("training-report", inputs, {"language": language, "costs": costs}, out=out, body=body)


def _write_report(trainings: Sequence[Training], w: Words, work: Path) -> dict[str, Any]:
    """Fill the report's folder; the manifest's counts."""
    figures = work / "figures"
    figures.mkdir()
    first, *others = _pictures(trainings, w, figures)
    gaps = [Paragraph(gap) for training in trainings if (gap := missing_iterations(training.curve, w))]
    costs = training_cost_tables({training.curve.name: training.spent for training in trainings}, w)
    details = [
        Detail(
            "losses", w("training_losses"), gaps, pictures=others, tables=[_losses_table(trainings, w)], is_open=True
        ),
        Detail("cost", w("training_cost"), tables=costs, is_open=True),
    ]
    write_tables(tables_of(details), work / "tables")
    text = render(
        "report.html.jinja",
        title=w("training_title", names=", ".join(training.curve.name for training in trainings)),
        w=w,
        lead=w("training_lead", count=len(trainings)),
        answer=Answer((_sentence(trainings, w), w("training_basis")), first),
        warnings=[],
        details=details,
    )
    write_text(work / "index.html", text)
    return {"figures": len(others) + 1}


def _sentence(trainings: Sequence[Training], w: Words) -> str:
    """The sentence on the loss: how it went, or of several trainings which ended with the lowest."""
    if len(trainings) == 1:
        curve, spent = trainings[0].curve, trainings[0].spent
        points = _main_losses(curve)
        kind = w("curve_validation" if curve.validation else "curve_training")
        values = {"first": points[0][1], "last": points[-1][1], "kind": kind}
        key = "training_one" if len(points) > 1 else "training_one_point"
        return w(key, name=curve.name, steps=spent.steps, tokens=spent.tokens, **values)
    validated = all(training.curve.validation for training in trainings)
    losses = {
        each.curve.name: (each.curve.validation if validated else each.curve.training)[-1][1] for each in trainings
    }
    best = min(losses, key=lambda name: losses[name])
    kind = w("curve_validation" if validated else "curve_training")
    return w("training_several", count=len(trainings), best=best, loss=losses[best], kind=kind)


def _main_losses(curve: LossCurve) -> list[tuple[int, float]]:
    return curve.validation or curve.training


def _losses_table(trainings: Sequence[Training], w: Words) -> Table:
    """First and last loss of each training, in training and in validation."""
    rows = []
    for training in trainings:
        entries = []
        for points in (training.curve.training, training.curve.validation):
            ends = (points[0], points[-1]) if points else ()
            entries += [number_entry(loss, w.language, ".3f") for _, loss in ends] or [Entry("–"), Entry("–")]
        rows.append(Row(training.curve.name, entries))
    kinds = (w("curve_training"), w("curve_validation"))
    columns = [w(key, kind=kind) for kind in kinds for key in ("first_loss", "last_loss")]
    return Table("losses", w("losses_caption"), [w("run"), *columns], rows)


def _pictures(trainings: Sequence[Training], w: Words, folder: Path) -> Iterator[Picture]:
    for number, curve in enumerate(training.curve for training in trainings):
        (start, first), (end, last) = curve.training[0], curve.training[-1]
        alt = w("loss_alt", run=curve.name, first=first, start=start, last=last, end=end)
        caption = loss_caption(curve, w)
        name = f"loss-{number}-{curve.name}"
        yield draw_picture(partial(draw_loss, curve, w), folder, name, caption=caption, w=w, alt=alt)
