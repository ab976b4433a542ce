"""The report of benchmark results: whether adaptation helped, by how much, and with which certainty."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError, check_known
from ...core.files import sha256, write_json, write_text
from ...core.log import counted
from ...core.manifest import Manifest, run_stage
from ...core.training_cost import Spent
from ..benchmark.read_lm_eval import LmEvalFolders
from ..benchmark.read_results import PLAN_FILE, Problem
from ..models import ROLE_NAMES, Role
from ..statistics.multiple_testing import ClearRule
from . import ranking_tables
from .benchmark_findings import BenchmarkReportOptions, Findings, read_findings, sample_hashes
from .benchmark_page import BenchmarkPage
from .page import render, tables_of
from .table_formats import write_tables
from .texts import Words, check_language

NUMBERS_FILE = "numbers.json"
"""`Compared`."""


def build_benchmark_report(options: BenchmarkReportOptions, out: Path) -> Manifest:
    """Write `index.html`, `figures/*.png`, `tables/*.csv` and `*.tex`, and `numbers.json` (stage `benchmark-report`).

    Raises:
        UserError: a folder holds no results, nothing can be compared, a checkpoint, test, role's model or language is
            unknown, or a list is malformed.
    """
    check_language(options.language)
    check_known(options.test, list(ClearRule), "test", "--test")
    findings = read_findings(options)
    _check_comparable(findings)
    english = Words.read("en")
    for problem in findings.problems:
        log.warn(f"report: left out: {_problem_text(problem, english)}")
    inputs = {f"runs/{runs.name}": runs.folder / PLAN_FILE for runs in findings.runs if not runs.inputs}
    inputs |= {f"results/{name}": path for runs in findings.runs for name, path in runs.inputs.items()}
    if options.contaminated is not None:
        inputs["contaminated"] = options.contaminated
    config: dict[str, Any] = {
        "test": options.test,
        "language": options.language,
        "checkpoints": options.checkpoints,
        "samples": sample_hashes(findings.runs),
        "training": {name: _cost(spent) for name, spent in options.training.items()},
    }
    config |= {"roles": options.roles} if options.roles else {}
    config |= {"lm_eval": _lm_eval_options(options.lm_eval)} if options.lm_eval else {}
    config |= {"groups": sha256(options.groups)} if options.groups else {}
    config |= {"target": options.target} if options.target else {}
    body = partial(_write_report, findings, ClearRule(options.test), Words.read(options.language))
    return run_stage("benchmark-report", inputs, config, out=out, body=body)


def _lm_eval_options(given: LmEvalFolders) -> dict[str, Any]:
    groups = None if given.groups is None else sha256(given.groups)
    return {"roles": given.roles, "metric": given.metric, "target": given.target, "groups": groups}


def _cost(spent: Spent) -> dict[str, Any]:
    """The JSON values of a training's cost; a record without faults is stated as before there were any."""
    return {name: value for name, value in asdict(spent).items() if name != "record_faults" or value}


def _write_report(findings: Findings, test: ClearRule, w: Words, work: Path) -> dict[str, int]:
    """Fill the report's folder; the manifest's counts."""
    compared, problems = findings.compared, findings.problems
    content = BenchmarkPage(findings, test, w, work / "figures")
    page, details = content.answer, content.details()
    own = [table for table in (page.decisions,) if table]
    write_tables([*own, *tables_of(details)], work / "tables")
    write_json(work / NUMBERS_FILE, compared.to_json())
    models = sum(len(runs.members) for runs in findings.runs)
    tasks = len({task for runs in findings.runs for _, task in runs.answers})
    text = render(
        "report.html.jinja",
        title=w("title"),
        w=w,
        lead=w("lead" if findings.is_of_paper else "lead_others", models=models, tasks=tasks),
        answer=page,
        warnings=_warnings(findings, w),
        details=details,
    )
    write_text(work / "index.html", text)
    figures = sum(len(detail.pictures) for detail in details) + (page.picture is not None)
    return {"figures": figures, "comparisons": len(compared.cells), "left_out": len(problems)}


def _warnings(findings: Findings, w: Words) -> list[str]:
    unpaired = sum(len(group.tasks) for group in findings.compared.unpaired)
    left_out = [w("warning_left_out", count=len(findings.problems))] if findings.problems else []
    return [*([w("warning_unpaired", count=unpaired)] if unpaired else []), *left_out]


def _problem_text(problem: Problem, w: Words) -> str:
    """A problem for the log, with the reason that is not in the page's language."""
    why = f" ({problem.values['why']})" if "why" in problem.values else ""
    return f"{problem.model}, {problem.task}: {w(problem.reason, **problem.values)}{why}"


def _check_comparable(findings: Findings) -> None:
    """Refuse to make a page without a comparison. Models with other roles alone are ranked.

    Raises:
        UserError: roles ask for a comparison, or there is one model, and nothing can be compared.
    """
    members = [member for runs in findings.runs for member in runs.members]
    ranked = any(len(ranking_tables.comparable_models(findings.runs, task)[0]) > 1 for task in findings.suite.tasks)
    if (
        findings.compared.cells
        or findings.compared.unpaired
        or (ranked and all(member.role == Role.OTHER for member in members))
    ):
        return
    english, problems = Words.read("en"), findings.problems
    examples = "; ".join(_problem_text(problem, english) for problem in problems[:3])
    left_out = counted(len(problems), "result was left out", "results were left out")
    reason = f"{left_out}, such as {examples}" if problems else "no two models fit"
    raise UserError(
        f"nothing can be compared: {reason}",
        where=", ".join(str(runs.folder) for runs in findings.runs),
        allowed="a base, and a tuned or a merged model that answered the same tasks; here are "
        + ", ".join(f"{member.name} ({ROLE_NAMES[member.role]})" for member in members),
        fix="set a model's role with --role NAME=base|tuned|merged, or run the tasks that one of them lacks",
    )
