"""Benchmark runs as lm-eval left them: each model's answers to each task, or what is wrong with them."""

import hashlib
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.files import read_jsonl, read_object, sha256
from ...core.integrity import AGAIN, check, file_names
from ...core.jsonio import JsonObject, parse_json
from ...core.manifest import MANIFEST_FILE
from ..harness.lm_eval_process import ANSWERS, RESULTS, SAMPLES, SETTINGS
from ..tasks.suite import TASKS, Benchmark
from .results_folder import PLAN, read_plan

UNPARSEABLE = "[invalid]"
"""What lm-eval's filter puts in the place of an answer that it does not find."""


@dataclass(frozen=True)
class Member:
    """A model of a folder of runs: `role` is base, checkpoint, merged or other; `step` of a checkpoint, if known."""

    name: str
    role: str
    step: int | None


@dataclass(frozen=True)
class Answers:
    """One model's answers to one task's questions, in the order of `doc_id`.

    Attributes:
        model, task: whose, and to what.
        path, digest: the samples file and its SHA-256.
        keys: a question's `doc_id` and `doc_hash`.
        prompts: hash of what was asked.
        right: 1 where the answer is right, else 0; [questions].
        margin: log-probability of the true choice minus the best other one's, in nats; None where text is generated.
        unparseable: where no answer was found in the text; [questions].
        truncated: where the token limit ended the text; None where that was not noted.
        cut: where the prompt's beginning was left out; None where that was not noted.
        asked: what must be alike in a comparison: shots, version of the task, version of lm-eval, chat template.
        made: how the answers were made, as `settings.json` has it; empty where it is not there.
        seconds: what it took.
    """

    model: str
    task: str
    path: Path
    digest: str
    keys: list[str]
    prompts: list[str]
    right: np.ndarray
    margin: np.ndarray | None
    unparseable: np.ndarray
    truncated: np.ndarray | None
    cut: np.ndarray | None
    asked: dict[str, Any]
    made: dict[str, Any]
    seconds: float

    def keep(self, mask: np.ndarray) -> "Answers":
        """The answers to some of the questions; `mask` is [questions] of bool."""
        return replace(
            self,
            keys=[key for key, kept in zip(self.keys, mask, strict=True) if kept],
            prompts=[prompt for prompt, kept in zip(self.prompts, mask, strict=True) if kept],
            right=self.right[mask],
            margin=None if self.margin is None else self.margin[mask],
            unparseable=self.unparseable[mask],
            truncated=None if self.truncated is None else self.truncated[mask],
            cut=None if self.cut is None else self.cut[mask],
        )

    @property
    def score(self) -> float:
        """Fraction of right answers."""
        return float(self.right.mean())

    @property
    def stderr(self) -> float:
        """s / sqrt(n) with n - 1 in s, as lm-eval has it."""
        return float(self.right.std(ddof=1) / math.sqrt(len(self.right)))


@dataclass(frozen=True)
class Problem:
    """Why a model's task is left out of what it would be compared in; `reason` is a key of the texts."""

    model: str
    task: str
    reason: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Runs:
    """A folder of runs. `answers` holds what can be used, `problems` what cannot."""

    name: str
    folder: Path
    members: list[Member]
    answers: dict[tuple[str, str], Answers]
    problems: list[Problem]
    config: dict[str, Any]

    def named(self, role: str) -> list[Member]:
        """Models with a role; checkpoints by step."""
        return sorted((m for m in self.members if m.role == role), key=lambda m: m.step or 0)


class _Unusable(Exception):
    def __init__(self, reason: str, **values: Any) -> None:
        super().__init__(reason)
        self.reason, self.values = reason, values


def read_runs(folder: Path, name: str | None = None) -> Runs:
    """Read `<folder>/<model>/<task>/` of every model and task that `runs.json` names.

    Raises:
        UserError: the folder holds no runs, or none that can be used.
    """
    plan = read_plan(folder)
    members = [Member(row["name"], row["role"], row.get("step")) for row in plan.values["models"]]
    tasks = [task for task in TASKS if task in plan.values["tasks"]]
    config = plan.values["config"]
    if len(named := {m.name for m in members}) < len(members):
        raise UserError(f"models are there twice: {sorted(named)}", where=str(folder / PLAN))
    check("report", _finished(folder, [member.name for member in members], tasks), mend=AGAIN)
    answers: dict[tuple[str, str], Answers] = {}
    problems: list[Problem] = []
    for member in members:
        for task in tasks:
            try:
                answers[member.name, task] = _read(folder / member.name / task, member.name, TASKS[task])
            except _Unusable as error:
                problems.append(Problem(member.name, task, error.reason, error.values))
    if not answers:
        raise UserError(
            f"no task of any model can be used; the first: {problems[0] if problems else 'there is none'}",
            where=str(folder),
            mend="run `pdapt eval run` to the end",
        )
    return Runs(name or folder.name, folder, members, answers, problems, config)


def _finished(folder: Path, models: list[str], tasks: list[str]) -> dict[Path, list[str]]:
    """The files of all finished units, for `checking`."""
    units = [folder / model / task for model in models for task in tasks]
    return {unit: file_names(unit) for unit in units if (unit / MANIFEST_FILE).is_file()}


def first_half(keys: list[str]) -> np.ndarray:
    """Which questions may choose a checkpoint, by a hash of what they are: the same for every model and run.

    [questions] of bool.
    """
    return np.array([hashlib.sha256(f"half\0{key}".encode()).digest()[0] < 128 for key in keys], bool)


def differs(first: Answers, second: Answers) -> tuple[str, dict[str, Any]] | None:
    """Why two models' answers to a task cannot be compared; None where they can."""
    for key, value in first.asked.items():
        if second.asked[key] != value:
            return f"other_{key}", {"one": value, "other": second.asked[key]}
    if first.keys != second.keys:
        only = len(set(first.keys) ^ set(second.keys))
        return "other_questions", {"count": only}
    changed = sum(a != b for a, b in zip(first.prompts, second.prompts, strict=True))
    return ("other_prompts", {"count": changed, "questions": len(first.prompts)}) if changed else None


def _read(folder: Path, model: str, task: Benchmark) -> Answers:
    results, path = _results(folder, task), folder / SAMPLES
    rows = _rows(path, task)
    found = results["results"][task.name]
    stated = found.get(task.score_key)
    if not _finite(stated):
        raise _Unusable("not_a_number", what=task.score_key)
    counts = results["n-samples"][task.name]
    if len(rows) != counts["original"]:
        raise _Unusable("partial", found=len(rows), wanted=counts["original"])
    right = np.array([row[task.metric] for row in rows], float)
    if not np.isfinite(right).all() or not np.isin(right, (0, 1)).all():
        raise _Unusable("not_a_number", what=SAMPLES)
    if len(right) < 2:
        raise _Unusable("partial", found=len(right), wanted=2)
    if not math.isclose(float(right.mean()), stated, abs_tol=1e-9):
        raise _Unusable("disagrees", stated=100 * stated, found=100 * float(right.mean()))
    return Answers(
        model=model,
        task=task.name,
        path=path,
        digest=sha256(path),
        keys=[f"{row['doc_id']}:{row['doc_hash']}" for row in rows],
        prompts=[row["prompt_hash"] for row in rows],
        right=right,
        margin=None if task.generates else _margins(rows),
        unparseable=np.array([row["filtered_resps"] == [UNPARSEABLE] for row in rows]),
        truncated=_noted(folder / ANSWERS, rows, "truncated") if task.generates else None,
        cut=_noted(folder / ANSWERS, rows, "prompt_cut"),
        asked={
            "shots": results["n-shot"][task.name],
            "version": results["versions"][task.name],
            "lm_eval": results.get("lm_eval_version"),
            "chat_template": results.get("chat_template_sha"),
        },
        made=_made(folder / SETTINGS),
        seconds=_seconds(results.get("total_evaluation_time_seconds")),
    )


def _results(folder: Path, task: Benchmark) -> dict[str, Any]:
    for name in (RESULTS, SAMPLES):
        if not (folder / name).is_file():
            raise _Unusable("missing", what=name)
    try:
        results = read_object(folder / RESULTS, nan=True)
        results.object("results").object(task.name)
        results.object("n-samples").object(task.name).integer("original")
        results.object("n-shot").integer(task.name)
        if task.name not in results.object("versions"):
            raise UserError(f"versions: {task.name} is missing", where=results.where)
    except UserError as error:
        raise _Unusable("unreadable", what=RESULTS, why=str(error)) from None
    return results.values


def _rows(path: Path, task: Benchmark) -> list[dict[str, Any]]:
    """Samples of the filter that scores the task, in the order of their questions, each without its texts."""
    kept = ("doc_id", "doc_hash", "prompt_hash", "target", "filtered_resps", task.metric)
    rows: dict[int, dict[str, Any]] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                sample = JsonObject(parse_json(line, f"{path}:{number}", nan=True), f"{path}:{number}")
                sample.integer("doc_id"), sample.text("doc_hash"), sample.text("prompt_hash")
                sample.list("filtered_resps")
                row = {key: sample.values[key] for key in kept}
                if sample.text("filter") != task.filter:
                    continue
            except (UserError, KeyError) as error:
                raise _Unusable("unreadable", what=f"{SAMPLES}:{number}", why=str(error)) from None
            if row["doc_id"] in rows:
                raise _Unusable("duplicated", question=row["doc_id"])
            if not _finite(row[task.metric]):
                raise _Unusable("not_a_number", what=f"{SAMPLES}:{number}")
            rows[row["doc_id"]] = row
    return [rows[question] for question in sorted(rows)]


def _margins(rows: list[dict[str, Any]]) -> np.ndarray:
    """lm-eval writes each choice as [log-probability, is greedy], and all of it as strings."""
    margins = []
    for row in rows:
        try:
            values = [float(choice[0]) for choice in row["filtered_resps"]]
            gold = values.pop(int(row["target"]))
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise _Unusable("unreadable", what=f"{SAMPLES}: {row['doc_id']}", why=repr(error)) from None
        margins.append(gold - max(values, default=math.nan))
    if not np.isfinite(margins).all():
        raise _Unusable("not_a_number", what=SAMPLES)
    return np.array(margins)


def _made(path: Path) -> dict[str, Any]:
    """How the answers were made; empty where that was not written down."""
    if not path.is_file():
        return {}
    try:
        made = read_object(path)
        made.object("batch_size"), made.flag("chat_template")
        [JsonObject(row, str(path)).integer("times") for row in made.list("warnings")]
        if "generation_config_unused" in made:
            made.object("generation_config_unused")
    except UserError as error:
        raise _Unusable("unreadable", what=SETTINGS, why=error.what) from None
    return made.values


def _noted(path: Path, rows: list[dict[str, Any]], key: str) -> np.ndarray | None:
    """A flag of each answer, as the run noted it beside lm-eval's samples; None where it noted nothing."""
    if not path.is_file():
        return None
    try:
        noted = {row.integer("doc_id"): row.flag(key) if key in row else None for row in read_jsonl(path, nan=True)}
        flags = [noted[row["doc_id"]] for row in rows]
    except (UserError, KeyError) as error:
        raise _Unusable("unreadable", what=ANSWERS, why=str(error)) from None
    return None if None in flags else np.array(flags, bool)


def _finite(value: Any) -> bool:
    """Whether a value is a number that a 64-bit float holds; an integer of 400 digits is not."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _seconds(value: Any) -> float:
    """lm-eval writes its time as a string; 0 where it wrote none."""
    try:
        return float(value or 0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
