"""Build reports: `pdapt report build` of runs' folders, and `pdapt report paper`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UserError, check_known
from ..core.files import read_object
from ..core.jsonio import JsonObject
from ..core.manifest import MANIFEST_FILE, Manifest
from ..core.training_cost import Spent
from ..merge.factors import point_name
from ..training.run.folder import METRICS
from ..training.run.journal import JOURNAL_FILE
from .hf_models import CHOICE, CURVE, MERGES_FOLDER
from .preflight import GENERAL
from .prepare_text import GENERAL_CORPUS, UNSEEN
from .request import REQUEST_FILE, FittedRecipe, merge_points
from .run_defaults import PRETRAIN
from .stage_reports import ReportOptions, record_faults, stage_report

if TYPE_CHECKING:
    from ..eval.report.benchmark_findings import BenchmarkReportOptions
    from ..eval.report.texts import Words
    from ..eval.statistics.verdict import ModelRow


def build_report(runs: list[str], out: Path | None, options: ReportOptions) -> Manifest:
    """The report of a run of the whole, of one stage of it, or of folders of benchmark runs.

    Raises:
        UserError: a folder holds none of them, a name is given twice, or `out` is missing.
    """
    from ..eval.benchmark.read_lm_eval import results_files
    from ..eval.benchmark.results_folder import PLAN_FILE
    from ..eval.models import parse_roles
    from ..eval.report.benchmark_findings import BenchmarkReportOptions
    from ..eval.report.benchmark_report import build_benchmark_report

    folders = named(runs)
    first = next(iter(folders.values()))
    if (first / REQUEST_FILE).is_file():
        if len(folders) > 1 or options != ReportOptions(test=options.test, language=options.language):
            raise UserError(
                "the report of a `pdapt run` covers that run alone, and has no checkpoint to choose",
                where=str(first),
                fix="give folders of `pdapt eval run`, or this one with --out and --language alone",
            )
        return report_run(first, out or first / report_folder(options.language), options.language)
    kind = stage_report(folders)
    of_lm_eval = kind is None and not (first / PLAN_FILE).is_file() and bool(results_files(first))
    if kind is None and not of_lm_eval:
        _check_benchmarks(folders)
    if out is None:
        raise UserError("--out is missing", where="pdapt report build", fix="name the folder to make")
    if kind:
        return kind(folders, out, options)
    if of_lm_eval:
        return build_benchmark_report(_of_lm_eval(folders, options), out)
    if options.metric:
        raise UserError(
            "--metric is for lm-eval's own results",
            where=str(first),
            fix="leave it out: `pdapt eval run` has one metric for each task",
        )
    benchmark_options = BenchmarkReportOptions(
        folders=folders,
        checkpoints=_chosen(options.checkpoints, folders),
        test=options.test,
        contaminated=options.contaminated,
        language=options.language,
        training=_training(options.training, folders),
        roles=parse_roles(options.roles),
        groups=options.groups,
        target=options.target,
    )
    return build_benchmark_report(benchmark_options, out)


def _check_benchmarks(folders: dict[str, Path]) -> None:
    """Check that all folders are of `pdapt eval run`.

    Raises:
        UserError: one is not, nor anything else that a report can be made from.
    """
    from ..eval.benchmark.results_folder import PLAN_FILE
    from ..eval.scores import PROXY_FILE

    for folder in folders.values():
        if not (folder / PLAN_FILE).is_file():
            raise UserError(
                "the folder holds nothing that a report can be made from",
                where=str(folder),
                allowed=f"a folder of `pdapt run` ({REQUEST_FILE}), `pdapt eval run` ({PLAN_FILE}), `pdapt eval proxy`"
                f" ({PROXY_FILE}), `pdapt merge choose` ({CURVE}/), `pdapt train` ({JOURNAL_FILE}), or lm-eval's own "
                "results (results*.json)",
            )


def _of_lm_eval(folders: dict[str, Path], options: ReportOptions) -> "BenchmarkReportOptions":
    """The options of a report on lm-eval's own results, of which each folder has those of a model."""
    from ..eval.benchmark.read_lm_eval import LmEvalFolders
    from ..eval.models import parse_roles
    from ..eval.report.benchmark_findings import BenchmarkReportOptions

    given = LmEvalFolders(
        folders, parse_roles(options.roles), metric=options.metric, groups=options.groups, target=options.target
    )
    family = given.family
    return BenchmarkReportOptions(
        folders={},
        checkpoints=_chosen(options.checkpoints, {family: folders[family]}),
        test=options.test,
        contaminated=options.contaminated,
        language=options.language,
        training=_training(options.training, {family: folders[family]}),
        lm_eval=given,
    )


def report_folder(language: str) -> str:
    """Name of the folder of a run's report in a language."""
    return "report" if language == "en" else f"report-{language}"


def report_run(run: Path, out: Path, language: str = "en") -> Manifest:
    """Write the report of a run of the whole.

    Raises:
        UserError: the folder holds no such run, a stage of it is not finished, or the language is unknown.
    """
    from ..eval.report.heldout_report import HeldoutReportOptions, build_heldout_report
    from ..eval.report.texts import Words, check_language

    check_language(language)
    request = read_object(run / REQUEST_FILE)
    trained = [folder / METRICS for folder in (run / "base", run / "cpt") if _was_trained(folder)]
    stages = ["sample", "corpus", "decontaminated", "tokenizer", "tokens"]
    stages += [GENERAL_CORPUS, UNSEEN, "tasks", "base", "cpt"]
    stages += ["hf/base", *(f"hf/{path.name}" for path in sorted((run / "hf").glob("cpt-*")))]
    points = merge_points(request)
    merges = ["hf/merged"] if len(points) == 1 else [f"{MERGES_FOLDER}/{point_name(t)}" for t in points]
    options = HeldoutReportOptions(
        title=request.text("title"),
        training=trained,
        manifests=[run / name for name in [*stages, *merges] if (run / name / MANIFEST_FILE).is_file()],
        settings=_settings(request, run, Words.read(language)),
        choice=None if len(points) == 1 else run / CHOICE / CURVE,
        record_faults={path.parent.name: record_faults(path.parent) for path in trained},
        domain=request.text("domain"),
        language=language,
    )
    return build_heldout_report(run / "scores", out, options)


def _was_trained(folder: Path) -> bool:
    """Whether a base was trained here, not imported: the page then says if its curve is missing."""
    return (folder / MANIFEST_FILE).is_file() and Manifest.read(folder).stage == "train"


def _settings(request: JsonObject, run: Path, w: "Words") -> dict[str, Any]:
    from ..eval.report.texts import format_number

    recipe = _config(run / "cpt")
    parallel, data = recipe.object("parallel"), recipe.object("data")
    nodes, ranks, tp, pp = (parallel.integer(name) for name in ("nodes", "ranks_per_node", "tp", "pp"))
    notes = FittedRecipe.read(request).notes
    points = w("semicolon").join(format_number(t, "g", w.language) for t in _points(request, run))
    trained_here = w("setting_base_trained", general=GENERAL, pretrain=PRETRAIN)
    return {w("setting_recipe", number=number): w.remark(note) for number, note in enumerate(notes, start=1)} | {
        w("setting_base"): request.text("base", "") or trained_here,
        w("setting_domain"): request.text("domain"),
        w("setting_steps"): recipe.integer("steps"),
        w("setting_sequences"): recipe.object("batch").integer("global_size"),
        w("setting_tokens"): data.integer("seq_length"),
        w("setting_layout"): data.text("layout"),
        w("setting_lr"): w("setting_lr_value", lr=recipe.object("optimizer").number("lr")),
        w("setting_precision"): recipe.object("model").text("precision"),
        w("setting_ranks"): f"{nodes} x {ranks} (TP {tp}, PP {pp})",
        w("setting_merge"): w("setting_merge_value", t=points),
        w("setting_seed"): recipe.integer("seed"),
    }


def _points(request: JsonObject, run: Path) -> list[float]:
    """Each t of the merges that were made."""
    points = merge_points(request)
    return points if len(points) > 1 else [_config(run / "hf" / "merged").number("t")]


def _config(folder: Path) -> JsonObject:
    """The options that a stage's folder was made with."""
    return JsonObject(Manifest.read(folder).config, f"{folder / MANIFEST_FILE}: config")


def paper_claims(
    tables: Path | None, runs: list[str], checkpoints: list[str], out: Path | None, language: str
) -> dict[str, Any]:
    """Recompute the paper's tables, as JSON values; with `out`, write their page, too.

    Raises:
        UserError: the tables are damaged, or runs are given without `out` or by an unknown name.
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
        from ..eval.report.benchmark_findings import BenchmarkReportOptions

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


def summary(out: Path) -> tuple[list["ModelRow"], list[str]]:
    """The final table's rows, and the sentences that say what happened."""
    from ..eval.statistics.tradeoff import choice_sentences
    from ..eval.statistics.verdict import summary_table, verdict

    several = len(merge_points(read_object(out / REQUEST_FILE))) > 1
    choice = choice_sentences(out / CHOICE / CURVE) if several else []
    return summary_table(out / "scores"), [*verdict(out / "scores"), *choice]
