"""Every kind of page, in both languages, small: what a browser and axe-core are shown."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from commands import pdapt
from test_lm_eval_results import BETTER, HALF, write
from test_reports_of_stages import write_run

from pdapt.bench.scaling import Plan, collect, compare, write_result
from pdapt.core.manifest import run_stage
from pdapt.core.training_cost import Spent
from pdapt.eval.clinical.documents.document_tasks import DOCUMENT_TASKS
from pdapt.eval.clinical.numbers.number_tasks import NUMBER_TASKS
from pdapt.eval.paper.paper_report import build_paper_report
from pdapt.eval.paper.tables_file import TABLES_FILE
from pdapt.eval.report.benchmark_findings import BenchmarkReportOptions
from pdapt.eval.report.benchmark_report import build_benchmark_report
from pdapt.eval.report.heldout_report import HeldoutReportOptions, build_heldout_report
from pdapt.eval.statistics.tradeoff import build_tradeoff
from pdapt.eval.tasks.suite import TASKS
from pdapt.launch.build_reports import ReportOptions, build_report
from pdapt.recipes.filling import Filling
from pdapt.recipes.load import load
from pdapt.scaling.work import Scaling

LONG = "Qwen3-30B-A3B-Instruct-2507-medical-fr-continued-pretraining-seed-1234"
"""A name as models on the Hub have them."""
MEDICAL = ["mmlu_med_fr_anatomy", "mmlu_prox_fr_health"]


@dataclass(frozen=True)
class Makers:
    """The tests' makers of results: `make_benchmark`, `make_scores`, and the changes of `trade`."""

    benchmark: Callable[..., Any]
    scores: Callable[..., Path]
    trade: dict[tuple[str, str], dict[str, float]]


def _right(share: float, shift: int = 0) -> Callable[[str, int], bool]:
    return lambda task, question: (question * 7 + shift + len(task)) % 40 < 40 * share


def _family(makers: Makers, folder: Path, tasks: list[str], names: dict[str, str], questions: int = 40) -> Path:
    """A folder of runs: each model a little better than the one before."""
    written = makers.benchmark(folder, questions=questions)
    written.tasks = tasks
    for number, (name, role) in enumerate(names.items()):
        written.add(name, role, _right(0.3 + 0.07 * number, number), step=number if role == "checkpoint" else None)
    return written.folder


def _report(folders: dict[str, Path], language: str, out: Path, **options: Any) -> None:
    build_benchmark_report(BenchmarkReportOptions(folders, {}, language=language, **options), out)


def numbers(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """Altered quantities and clinical documents beside two of the 28 tasks; a cost, and a contaminated question."""
    tasks = [MEDICAL[0], *(task.name for task in (*NUMBER_TASKS, *DOCUMENT_TASKS))]
    scores = _family(makers, folder / "Qwen3-8B", tasks, {"base": "base", "cpt-720": "checkpoint", "merged": "merged"})
    path = folder / "contaminated.jsonl"
    path.write_text("".join(json.dumps({"task": task, "doc_id": 1}) + "\n" for task in tasks))
    spent = {"Qwen3-8B": Spent(4320, 10_191_000_000, 12.5, 600.0, 0.9312, 1.26e9)}
    _report({"Qwen3-8B": scores}, language, out, contaminated=path, training=spent)


def many_models(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """Nine families of long names, each with a base and a checkpoint; one is merged, too."""
    folders = {}
    for number in range(9):
        name = f"{LONG[: 12 + 7 * number]}-{number}"
        names = {"base": "base", "cpt": "checkpoint"} | ({"merged": "merged"} if number == 2 else {})
        folders[name] = _family(makers, folder / name, ["mmlu_anatomy", *MEDICAL], names)
    _report(folders, language, out)


def few_questions(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """Five questions of one task, two models."""
    names = {"base": "base", LONG: "checkpoint"}
    _report({"Qwen3-0.6B": _family(makers, folder / "few", MEDICAL[:1], names, questions=5)}, language, out)


def no_base(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """Models that are ranked."""
    names = dict.fromkeys([LONG, "Apollo-7B", "BioMistral-7B"], "other")
    _report({"baselines": _family(makers, folder / "baselines", MEDICAL, names)}, language, out)


def results_of_lm_eval(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """Folders of lm-eval's own, with groups of a file; one model's answers to a task are not there."""
    del makers
    folders = {"base": write(folder / "b", HALF), LONG: write(folder / "t", BETTER, samples=("jura_bgb",))}
    groups = folder / "groups.yaml"
    groups.write_text(yaml.safe_dump({"Recht-der-Schuldverhaeltnisse": ["jura_*"], "rechnen": ["rechnen"]}))
    options = ReportOptions(
        test="holm", groups=groups, target="Recht-der-Schuldverhaeltnisse", roles=[f"{LONG}=tuned"], language=language
    )
    build_report([f"{name}={path}" for name, path in folders.items()], out, options)


def benchmark(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """The 28 tasks, one model with checkpoints, a merge, and a model of somebody else's."""
    names = {"base": "base", "cpt-00720": "checkpoint", "cpt-01440": "checkpoint", "merged": "merged"}
    scores = _family(makers, folder / "Qwen3-0.6B-Base", list(TASKS), names | {"Apollo-7B": "other"})
    _report({"Qwen3-0.6B-Base": scores}, language, out)


def quickstart(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """A run of the whole: scores on held-out text, curves, settings, stages."""
    scores = makers.scores(folder, makers.trade)
    curves = []
    for name in ("base", "cpt"):
        points = [{"iteration": i, "loss": 3 + 5 * math.exp(-i / 20)} for i in range(1, 101)]
        points += [{"iteration": i, "valid_loss": 3.1 + 5 * math.exp(-i / 20)} for i in (50, 100)]
        (folder / name).mkdir()
        curves.append(folder / name / "metrics.jsonl")
        curves[-1].write_text("".join(json.dumps(point) + "\n" for point in points))
    settings = {"learning rate": 3e-4, "t": 0.5}
    title = "Qwen3 (tiny), domain medical"
    options = HeldoutReportOptions(title, curves, [scores], settings, domain="medical", language=language)
    build_heldout_report(scores, out, options)


def proxy(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """A folder as `pdapt eval proxy` leaves it."""
    made = makers.scores(folder, makers.trade)
    for model in ("base", "cpt-10", "merged"):

        def body(work: Path) -> dict[str, int]:
            (work / "made").write_text("")
            return {"tasks": 2, "prompts_cut": 1, "prompts": 100}

        run_stage("proxy", {"model": made / "scores.json"}, {"questions": None}, folder / "proxy" / model, body)
    shutil.copy(made / "scores.json", folder / "proxy/proxy.json")
    build_report([str(folder / "proxy")], out, ReportOptions(test="holm", language=language))


def merge_choice(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """A folder as `pdapt merge choose` leaves it."""
    scores = makers.scores(folder, makers.trade)
    build_tradeoff(scores, folder / "curve", domain="medical", general="general", max_loss=5)
    build_report([str(folder)], out, ReportOptions(test="holm", language=language))


def trainings(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """Two trainings alone, one of them with a damaged record."""
    del makers
    one = write_run(folder / LONG, [9 - 0.5 * n for n in range(12)], validation=3.5)
    two = write_run(folder / "two", [9.0, 6.5])
    with (two / "log.jsonl").open("a") as file:
        file.write("{broken\n")
    build_report([str(one), str(two)], out, ReportOptions(test="holm", language=language))


def training(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """One training, of one step."""
    del makers
    build_report([str(write_run(folder / "run", [9.0]))], out, ReportOptions(test="holm", language=language))


def paper(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """The paper's tables, with a run of ours beside them."""
    runs = _family(makers, folder / "ours", MEDICAL[:1], {"base": "base", "cpt-1": "checkpoint"}, questions=135)
    build_paper_report(TABLES_FILE, BenchmarkReportOptions({"Qwen3-0.6B-Base": runs}, {}, language=language), out)


def data_set(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """The page of a published corpus, which is in English."""
    del makers, language
    rows = [{"text": f"Le foie pèse {n} kg.", "licence": "CC BY 4.0", "document_type": "Note"} for n in range(6)]
    (folder / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pdapt("corpus", "build", folder / "notes.jsonl", "--out", folder / "corpus")
    pdapt("corpus", "publish", folder / "corpus", "--out", out, "--title", f"Corpus {LONG}")


def two_profiles(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """A document as two cleaning profiles leave it, in English."""
    del makers, language
    (folder / "note.txt").write_text("Le  patient\u00a0: 5 mg,\tpuis 10 mg. <b>Fin</b>\n" * 3 + "a" * 300 + "\n")
    out.mkdir()
    pdapt("corpus", "diff", folder / "note.txt", "--html", out / "index.html")


def scaling(makers: Makers, folder: Path, language: str, out: Path) -> None:
    """Measured scaling, in English."""
    del makers, language
    given = Plan(load("qwen3_tiny_cpt_2xcpu", ["steps=10"]), [1, 2, 4], [Scaling.WEAK, Scaling.STRONG], 1, gpu=False)
    for way, world, turn, recipe in given.runs():
        slots = recipe.batch.global_size * recipe.data.seq_length
        step = {"event": "step", "start": 1, "seconds": 1.0, "data_wait": 0.0, "tokens": slots, "slots": slots}
        rows = [step | {"step": n, "time": float(n), "skipped": False, "sources": {}} for n in range(1, 11)]
        run = folder / "runs" / f"{way}-{world}-{turn}" / "run"
        run.mkdir(parents=True)
        (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = compare(given, collect(given, folder / "runs"), Filling(1.0, 512.0, "made up"))
    write_result(given, replace(result, others=0.5), out)
    (out / "scaling.html").rename(out / "index.html")


KINDS: tuple[Callable[[Makers, Path, str, Path], None], ...] = (
    benchmark,
    numbers,
    many_models,
    few_questions,
    no_base,
    results_of_lm_eval,
    quickstart,
    proxy,
    merge_choice,
    trainings,
    training,
    paper,
)
OTHERS: tuple[Callable[[Makers, Path, str, Path], None], ...] = (data_set, two_profiles, scaling)
"""Pages that are in English alone."""


def build_pages(makers: Makers, folder: Path) -> dict[str, Path]:
    """Name of each page -> its folder: all kinds, the reports in English and French."""
    pages = {}
    for kind in (*KINDS, *OTHERS):
        for language in ("en", "fr") if kind in KINDS else ("en",):
            name = f"{kind.__name__}-{language}"
            (folder / name).mkdir(parents=True)
            kind(makers, folder / name, language, folder / name / "page")
            pages[name] = folder / name / "page"
    return pages
