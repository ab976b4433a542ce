"""Build reports: `pdapt report build` of runs' folders, and `pdapt report paper`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import UserError, check_known
from ..core.manifest import Manifest
from ..core.training_cost import Spent
from .pipeline import report_run
from .request import REQUEST_FILE


@dataclass(frozen=True)
class ReportOptions:
    """The options of `pdapt report build`, as they are given."""

    test: str
    checkpoints: list[str] = field(default_factory=list)
    contaminated: Path | None = None
    training: list[str] = field(default_factory=list)
    language: str = "en"
    roles: list[str] = field(default_factory=list)


def build_report(runs: list[str], out: Path | None, options: ReportOptions) -> Manifest:
    """The report of a run of the whole, or of folders of benchmark runs.

    Raises:
        UserError: a folder holds neither, a name is given twice, or `out` is missing.
    """
    from ..eval.benchmark.results_folder import PLAN_FILE
    from ..eval.models import parse_roles
    from ..eval.report.benchmark_report import BenchmarkReportOptions, build_benchmark_report

    folders = named(runs)
    first = next(iter(folders.values()))
    if (first / REQUEST_FILE).is_file():
        if len(folders) > 1 or options != ReportOptions(test=options.test):
            raise UserError(
                "a `pdapt run` is reported alone, in English, and has no checkpoint to choose",
                where=str(first),
                fix="give folders of `pdapt eval run`, or this one without options",
            )
        return report_run(first, out or first / "report")
    for folder in folders.values():
        if not (folder / PLAN_FILE).is_file():
            raise UserError(
                "this is neither a run nor a folder of benchmark runs",
                where=str(folder),
                allowed=f"a folder with {REQUEST_FILE} (`pdapt run`) or {PLAN_FILE} (`pdapt eval run`)",
            )
    if out is None:
        raise UserError("--out is missing", where="pdapt report build", fix="name the folder to make")
    benchmark_options = BenchmarkReportOptions(
        folders=folders,
        checkpoints=_chosen(options.checkpoints, folders),
        test=options.test,
        contaminated=options.contaminated,
        language=options.language,
        training=_training(options.training, folders),
        roles=parse_roles(options.roles),
    )
    return build_benchmark_report(benchmark_options, out)


def paper_claims(
    tables: Path | None, runs: list[str], checkpoints: list[str], out: Path | None, language: str
) -> dict[str, Any]:
    """Recompute the paper's tables, as JSON values; with `out`, write their page, too.

    Raises:
        UserError: the tables are spoilt, or runs are given without `out` or by an unknown name.
    """
    from ..eval.paper.claims import claims_json
    from ..eval.paper.tables import Tables
    from ..eval.paper.tables_file import TABLES_FILE
    from ..eval.report.texts import check_language

    check_language(language)
    path = tables or TABLES_FILE
    folders = named(runs)
    if out is not None:
        from ..eval.paper.paper_report import build_paper_report
        from ..eval.report.benchmark_report import BenchmarkReportOptions

        options = BenchmarkReportOptions(folders, _chosen(checkpoints, folders), language=language)
        build_paper_report(path, options, out)
    elif runs or checkpoints:
        raise UserError("--out is missing", where="pdapt report paper", fix="name the folder to make")
    return claims_json(Tables.read(path), language)


def _chosen(checkpoints: list[str], folders: dict[str, Path]) -> dict[str, str]:
    """`[NAME=]CHECKPOINT` of each as name -> checkpoint."""
    return dict(_split(item, folders, "--checkpoint", "CHECKPOINT") for item in checkpoints)


def _training(runs: list[str], folders: dict[str, Path]) -> dict[str, Spent]:
    """`[NAME=]RUN` of each as name -> what the run took."""
    from ..training.run.journal import JOURNAL_FILE, read_steps, spent

    costs = {}
    for item in runs:
        name, run = _split(item, folders, "--training", "RUN")
        check_known(name, folders, "folder", "--training")
        cost = spent(read_steps(Path(run) / JOURNAL_FILE))
        assert cost, "there is a step"
        costs[name] = cost
    return costs


def _split(item: str, folders: dict[str, Path], option: str, what: str) -> tuple[str, str]:
    """`NAME=VALUE`, or `VALUE` where there is one folder, as name and value."""
    name, equals, value = item.rpartition("=")
    if not equals and len(folders) != 1:
        raise UserError(f"{item!r} does not say which folder it is for", where=option, allowed=f"NAME={what}")
    return name or next(iter(folders)), value


def named(runs: list[str]) -> dict[str, Path]:
    """`[NAME=]FOLDER` of each as name -> folder.

    Raises:
        UserError: two have one name.
    """
    from ..eval.models import check_name

    folders: dict[str, Path] = {}
    for item in runs:
        name, equals, path = item.rpartition("=")
        name = name if equals else Path(path).resolve().name
        check_name(name, item)
        if name in folders:
            raise UserError(f"two folders are called {name}", where=item, fix="give NAME=FOLDER")
        folders[name] = Path(path)
    return folders
