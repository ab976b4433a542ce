"""Folders -> reports."""

from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.manifest import Manifest
from .pipeline import REQUEST, report_run


def build(
    runs: list[str], out: Path | None, checkpoints: list[str], test: str, contaminated: Path | None, language: str
) -> Manifest:
    """The report of a run of the whole, or of folders of benchmark runs.

    Raises:
        UserError: a folder holds neither, a name is given twice, or `out` is missing.
    """
    from ..eval.benchmark_report import Wanted, build_benchmark_report
    from ..eval.cells import PLAN

    folders = named(runs)
    first = next(iter(folders.values()))
    if (first / REQUEST).is_file():
        if len(folders) > 1 or checkpoints or contaminated is not None or language != "en":
            raise UserError(
                "a `pdapt run` is reported alone, in English, and has no checkpoint to choose",
                where=str(first),
                mend="give folders of `pdapt eval run`, or this one without options",
            )
        return report_run(first, out or first / "report")
    for folder in folders.values():
        if not (folder / PLAN).is_file():
            raise UserError(
                "neither a run nor benchmark runs",
                where=str(folder),
                allowed=f"a folder with {REQUEST} (`pdapt run`) or {PLAN} (`pdapt eval run`)",
            )
    if out is None:
        raise UserError("--out is missing", where="pdapt report build", mend="name the folder to make")
    chosen = _chosen(checkpoints, folders)
    return build_benchmark_report(Wanted(folders, chosen, test, contaminated, language), out)


def paper(
    tables: Path | None, runs: list[str], checkpoints: list[str], out: Path | None, language: str
) -> dict[str, Any]:
    """What the paper's tables say, as JSON values; with `out`, the page of it, too.

    Raises:
        UserError: the tables are spoilt, or runs are given without `out` or by an unknown name.
    """
    from ..eval.language import check_language
    from ..eval.paper import TABLES, Tables
    from ..eval.paper_claims import as_object

    check_language(language)
    path = tables or TABLES
    folders = named(runs)
    if out is not None:
        from ..eval.benchmark_report import Wanted
        from ..eval.paper_page import build_paper_report

        wanted = Wanted(folders, _chosen(checkpoints, folders), language=language)
        build_paper_report(path, wanted, out)
    elif runs or checkpoints:
        raise UserError("--out is missing", where="pdapt report paper", mend="name the folder to make")
    return as_object(Tables.read(path), language)


def _chosen(checkpoints: list[str], folders: dict[str, Path]) -> dict[str, str]:
    """`[NAME=]CHECKPOINT` of each as name -> checkpoint."""
    chosen: dict[str, str] = {}
    for item in checkpoints:
        name, equals, model = item.rpartition("=")
        if not equals and len(folders) != 1:
            raise UserError(f"{item!r} names no runs", where="--checkpoint", allowed="NAME=CHECKPOINT")
        chosen[name or next(iter(folders))] = model
    return chosen


def named(runs: list[str]) -> dict[str, Path]:
    """`[NAME=]FOLDER` of each as name -> folder.

    Raises:
        UserError: two have one name.
    """
    from ..eval.cells import check_name

    folders: dict[str, Path] = {}
    for item in runs:
        name, equals, path = item.rpartition("=")
        name = name if equals else Path(path).resolve().name
        check_name(name, item)
        if name in folders:
            raise UserError(f"two folders are called {name}", where=item, mend="give NAME=FOLDER")
        folders[name] = Path(path)
    return folders
