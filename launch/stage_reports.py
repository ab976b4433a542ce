"""Reports of one stage alone: of `pdapt eval proxy`, `pdapt merge choose`, or trainings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError
from ..core.manifest import Manifest
from ..core.remarks.remark import Remark, RemarkKind
from ..training.run.folder import METRICS
from ..training.run.journal import JOURNAL_FILE, Event, kept, read_history, read_steps, spent
from .hf_models import CURVE

if TYPE_CHECKING:
    from ..eval.training.training_report import Training


@dataclass(frozen=True)
class ReportOptions:
    """The options of `pdapt report build`, as they are given."""

    test: str
    checkpoints: list[str] = field(default_factory=list)
    contaminated: Path | None = None
    training: list[str] = field(default_factory=list)
    language: str = "en"
    roles: list[str] = field(default_factory=list)
    metric: str = ""
    groups: Path | None = None
    target: str | None = None

    @property
    def of_lm_eval(self) -> bool:
        """Whether an option of lm-eval's own results is given."""
        return bool(self.metric or self.groups or self.target)


Build = Callable[[dict[str, Path], Path, ReportOptions], Manifest]


def stage_report(folders: dict[str, Path]) -> Build | None:
    """The function that reports on folders of one stage, all of one kind; None where they are of none.

    Raises:
        UserError: only some of the folders are of the first one's stage.
    """
    from ..eval.scores import PROXY_FILE
    from ..eval.statistics.tradeoff import TRADEOFF_FILE

    builds: dict[str, Build] = {PROXY_FILE: _proxy, f"{CURVE}/{TRADEOFF_FILE}": _choice, JOURNAL_FILE: _trainings}
    first = next(iter(folders.values()))
    for file, build in builds.items():
        if not (first / file).is_file():
            continue
        others = [folder for folder in folders.values() if not (folder / file).is_file()]
        if others:
            raise UserError(
                f"{first} has {file}, and {others[0]} has none", where=str(others[0]), fix="report them one by one"
            )
        return build
    return None


def _of_benchmarks(options: ReportOptions) -> bool:
    """Whether an option is given that only reports on tasks have."""
    return bool(options.checkpoints or options.contaminated or options.roles or options.of_lm_eval)


def _only(folders: dict[str, Path], options: ReportOptions, stage: str, *, training: bool) -> tuple[str, Path]:
    """The one folder of a stage, and its name.

    Raises:
        UserError: there are several, or options of benchmark runs are given.
    """
    (name, folder), *others = folders.items()
    of_benchmarks = _of_benchmarks(options) or (options.training and not training)
    if others or of_benchmarks:
        also = ", --training" if training else ""
        raise UserError(
            f"{stage} is reported alone", where=str(folder), fix=f"give this folder with --out, --language{also} alone"
        )
    return name, folder


def _proxy(folders: dict[str, Path], out: Path, options: ReportOptions) -> Manifest:
    name, folder = _only(folders, options, "`pdapt eval proxy`", training=True)
    return _heldout(name, folder, out, options, choice=None)


def _choice(folders: dict[str, Path], out: Path, options: ReportOptions) -> Manifest:
    name, folder = _only(folders, options, "`pdapt merge choose`", training=True)
    return _heldout(name, folder / "scores", out, options, choice=folder / CURVE)


def _heldout(name: str, scores: Path, out: Path, options: ReportOptions, choice: Path | None) -> Manifest:
    from ..eval.report.heldout_report import HeldoutReportOptions, build_heldout_report
    from ..eval.report.texts import Words, check_language

    check_language(options.language)
    trained = [Path(run.rpartition("=")[2]) for run in options.training]
    contents = HeldoutReportOptions(
        title=Words.read(options.language)("heldout_title", name=name),
        training=[run / METRICS for run in trained],
        record_faults={run.name: record_faults(run) for run in trained},
        choice=choice,
        language=options.language,
    )
    return build_heldout_report(scores, out, contents)


def record_faults(training: Path) -> list[Remark]:
    """Remarks on damage to a training's record, which is logged, too."""
    if not (training / JOURNAL_FILE).is_file():
        return [Remark(RemarkKind.RECORD_MISSING, {"file": JOURNAL_FILE})]
    history = read_history(training / JOURNAL_FILE)
    history.say()
    return history.faults()


def _trainings(folders: dict[str, Path], out: Path, options: ReportOptions) -> Manifest:
    from ..eval.training.training_report import build_training_report

    if _of_benchmarks(options) or options.training:
        first = next(iter(folders.values()))
        raise UserError(
            "trainings are reported alone", where=str(first), fix="give their folders with --out and --language alone"
        )
    return build_training_report([_training(name, run) for name, run in folders.items()], out, options.language)


def _training(name: str, run: Path) -> "Training":
    """A run's losses and cost, read from its journal, which has them during the run, too.

    Raises:
        UserError: it has not done a step, or no step has a loss.
    """
    from ..eval.report.heldout_figures import LossCurve
    from ..eval.training.training_report import Training

    history = read_steps(run / JOURNAL_FILE)
    training, validation = (
        [(step, float(row["loss"])) for step, row in kept(history.rows, event).items() if row.get("loss") is not None]
        for event in (Event.STEP, Event.VALIDATION)
    )
    cost = spent(history)
    assert cost, "there is a step"
    if not training:
        raise UserError("no step of this run has a loss", where=str(run / JOURNAL_FILE))
    return Training(LossCurve(name, training, validation), cost, run / JOURNAL_FILE)
