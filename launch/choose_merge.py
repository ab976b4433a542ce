"""A sweep -> held-out scores of every point -> the trade-off curve, and the point that a rule takes -> its tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.manifest import MANIFEST_FILE, Manifest, fingerprint
from ..eval.benchmark.run import BenchmarkSettings, run_benchmark
from ..eval.harness.backends import Limits
from ..eval.heldout.build_tasks import build_tasks
from ..eval.heldout.domains import read_domains
from ..eval.heldout.evaluate import evaluate
from ..eval.models import Model, Role
from ..eval.statistics.tradeoff import Tradeoff, build_tradeoff
from ..eval.tasks.select_tasks import AnyTask
from .run_defaults import MAX_LOSS
from .score_models import MERGES


@dataclass(frozen=True)
class Rule:
    """The rule by which a point is proposed.

    Attributes:
        general: the domain that must not lose.
        domain: the domain that is to gain; by default the one beside `general`.
        max_loss: see `build_tradeoff`.
    """

    general: str
    domain: str | None = None
    max_loss: float = MAX_LOSS


def choose(
    base: Path,
    tuned: Path,
    sweep: Path,
    *,
    heldout: list[str],
    out: Path,
    rule: Rule,
    limits: Limits,
    batch_size: int,
    verify: bool = True,
) -> Manifest:
    """Evaluate base, points and tuned model on held-out text, and propose one of them.

    Args:
        base, tuned: Hugging Face folders, the sweep's parents.
        sweep: folder of the points: made by `sweep`, `merge` or `average`.
        heldout: `DOMAIN=PATH`, of two domains.
        out: folder to make: `scores`, `scores-tasks`, and `curve` with the figure and `tradeoff.json`.
        rule: see `Rule`.
        limits, batch_size: see `eval.heldout.evaluate`.
        verify: whether the models' files are compared with the hashes that were written with them.

    Raises:
        UserError: no points, points of other parents, or domains that are not there.
    """
    domain, general = rule.domain or _domain(heldout, rule.general), rule.general
    points = _points(base, tuned, sweep)
    models = [("base", base), *points, *([] if any(name == "t1" for name, _ in points) else [("tuned", tuned)])]
    build_tasks(read_domains(heldout, verify=verify), out / "scores-tasks")
    evaluate(
        [Model(name, Role.CHECKPOINT if number else Role.BASE, path) for number, (name, path) in enumerate(models)],
        out / "scores-tasks",
        out / "scores",
        limits=limits,
        batch_size=batch_size,
        verify=verify,
    )
    return build_tradeoff(out / "scores", out / "curve", domain=domain, general=general, max_loss=rule.max_loss)


def run_tasks(
    base: Path,
    tuned: Path,
    sweep: Path,
    out: Path,
    *,
    data: Path | None,
    tasks: Sequence[AnyTask],
    settings: BenchmarkSettings,
    verify: bool = True,
) -> None:
    """Run tasks on base, tuned model and proposed point: after the choice, so that they cannot influence it.

    Args:
        base, tuned, sweep, out: as for `choose`, which must have been called.
        data: folder made by `eval fetch`, for tasks of the suite.
        tasks: of the suite, or the user's own. Results go to `<out>/tasks`, which `report build` takes.
        settings: how they are run.
        verify: as of `choose`.

    Raises:
        EvaluationFailed: lm-eval failed on one or more.
    """
    models = [Model("base", Role.BASE, base), Model("tuned", Role.CHECKPOINT, tuned)]
    proposed = Tradeoff.read(out / "curve").proposed
    if proposed not in (model.name for model in models):
        models.append(Model(proposed, Role.MERGED, sweep / proposed))
    run_benchmark(models, tasks, data, out / "tasks", settings=settings, verify=verify)


def _domain(heldout: list[str], general: str) -> str:
    named = list(dict.fromkeys(item.partition("=")[0] for item in heldout))
    others = [name for name in named if name != general]
    if len(others) != 1 or general not in named:
        raise UserError(
            f"the held-out text covers {', '.join(named)}",
            where="--heldout",
            allowed=f"'{general}' (--general) and one other domain; with --domain several others",
        )
    return others[0]


def _points(base: Path, tuned: Path, sweep: Path) -> list[tuple[str, Path]]:
    """Name and folder of each point: those with a t in its order, then the others."""
    manifests = {path.parent: Manifest.read(path.parent) for path in sorted(sweep.glob(f"*/{MANIFEST_FILE}"))}
    manifests = {folder: manifest for folder, manifest in manifests.items() if manifest.stage in MERGES}
    if not manifests:
        raise UserError(
            "there are no merged models here", where=str(sweep), fix="run `pdapt merge sweep BASE TUNED FOLDER`"
        )
    prints = {"base": fingerprint(base), "tuned": fingerprint(tuned)}
    for folder, manifest in manifests.items():
        differing = [name for name, value in prints.items() if manifest.inputs.get(name, value) != value]
        if differing:
            raise UserError(
                f"{folder.name} was made from another {differing[0]} model", where=str(folder / MANIFEST_FILE)
            )

    def order(item: tuple[Path, Manifest]) -> tuple[float, str]:
        t = item[1].config.get("t")
        return (t if isinstance(t, float) and item[1].stage == "sweep" else 2.0), item[0].name

    return [(folder.name, folder) for folder, _ in sorted(manifests.items(), key=order)]


def table(out: Path) -> list[str]:
    """Lines for the terminal: every point, the rule, and the point it proposes."""
    tradeoff = Tradeoff.read(out / "curve")
    domain, general = tradeoff.domain, tradeoff.general
    lines = [f"change of perplexity per byte against the base, in % (95 % interval): {domain}; {general}"]
    for point in tradeoff.points:
        changes = "; ".join(f"{c.value:+7.2f} ({c.low:+.2f} to {c.high:+.2f})" for c in (point.domain, point.general))
        marks = [word for word, shown in (("Pareto", point.pareto), ("within the loss", point.allowed)) if shown]
        lines.append(f"{point.model:>12}: {changes}  {', '.join(marks)}")
    return [*lines, f"Rule: {tradeoff.rule}"]
