"""The page of `pdapt bench scaling`: a single HTML file without dependencies."""

from pathlib import Path

from ..core.files import write_text
from ..recipes.schema import Recipe, describe_run
from .scaling_result import ScalingResult, ScalingRow

ROOM = Path(__file__).parent


def page(recipe: Recipe, result: ScalingResult, out: Path, *, gpu: bool) -> None:
    """Write `scaling.png` and `scaling.html`.

    Args:
        recipe: the recipe that was scaled.
        result: the result of `scaling.compare`.
        out: the folder.
        gpu: whether the ranks ran on GPUs.
    """
    from ..eval.report.page import data_uris, render
    from ..scaling.measured import WARM
    from .train import DISTURBED

    rows, others = result.rows, result.others or 0
    _draw(rows, out / "scaling.png")
    shared = sorted({row.measured.world for row in rows if row.measured.oversubscribed})
    text = render(
        "scaling.html.jinja",
        folder=ROOM,
        title="Scaling, measured",
        summary=describe_run(recipe),
        rows=rows,
        gpu=gpu,
        warm=WARM,
        shared=shared,
        others=others if others > DISTURBED else None,
        image=data_uris({"light": out / "scaling.png"})["light"],
    )
    write_text(out / "scaling.html", text)


def _draw(rows: list[ScalingRow], path: Path) -> None:
    """Draw tokens per second by number of ranks, with proportional scaling from the fewest ranks, and the plan."""
    from ..scaling.plotting import new_figure, save_figure
    from ..scaling.work import Scaling

    figure, axis = new_figure((7, 4))
    for scaling, style in ((Scaling.WEAK, "o-"), (Scaling.STRONG, "s-")):
        chosen = [row for row in rows if row.measured.scaling == scaling]
        if not chosen:
            continue
        worlds = [row.measured.world for row in chosen]
        speeds = [row.measured.tokens_per_second for row in chosen]
        planned = [
            speed * row.planned_from_fewest_ranks / row.measured.slots_per_second_per_rank
            for speed, row in zip(speeds, chosen, strict=True)
        ]
        axis.plot(worlds, speeds, style, label=f"{scaling}, measured")
        axis.plot(worlds, planned, ":", color="gray", label=f"{scaling}, planned from the fewest ranks")
    shared = [row.measured.world for row in rows if row.measured.oversubscribed]
    if shared:
        axis.axvspan(min(shared) - 0.5, max(shared) + 0.5, color="orange", alpha=0.15, label="more ranks than cores")
    axis.set(xlabel="ranks", ylabel="tokens/s", ylim=(0, None))
    axis.legend(fontsize=8)
    save_figure(figure, path)
