"""Results of `pdapt eval run`, read for reports: each model's answers to each task, or why they are left out."""

import hashlib
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.files import read_object, sha256
from ...core.integrity import AGAIN, check, file_names
from ...core.jsonio import JsonObject, parse_json
from ...core.manifest import MANIFEST_FILE
from ..harness.result_files import (
    ANSWERS_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    SETTINGS_FILE,
    AnswerNote,
    AnswerSettings,
)
from ..models import Role
from ..tasks.suite import TASKS, Benchmark
from .results_folder import PLAN_FILE, Member, Plan

UNPARSEABLE = "[invalid]"
"""The text that lm-eval's filter puts in the place of an answer that it does not find."""


@dataclass(frozen=True)
class Protocol:
    """How a task was put to a model; answers are compared where it is the same.

    `shots` are worked examples, `version` the task's, `chat_template` the hash of the template, if there was one.
    """

    shots: int
    version: Any
    lm_eval: Any
    chat_template: Any


@dataclass(frozen=True)
class Answers:
    """One model's answers to one task's questions, in the order of `doc_id`.

    Attributes:
        model, task: their names.
        path, digest: the samples file and its SHA-256.
        keys: `doc_id:doc_hash` of each question.
        prompts: hash of each prompt.
        right: 1 where the answer is right, else 0; [questions].
        margin: log-probability of the true choice minus the best other one's, in nats, [questions]; None where text is
            generated.
        unparseable: where no answer was found in the text; [questions] of bool.
        truncated: where the token limit ended the text; None where that was not noted.
        prompt_cut: where the prompt's beginning was left out; None where that was not noted.
        protocol: what must be the same in a comparison.
        settings: how the answers were made; None where `settings.json` is missing.
        seconds: wall time of the evaluation.
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
    prompt_cut: np.ndarray | None
    protocol: Protocol
    settings: AnswerSettings | None
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
            prompt_cut=None if self.prompt_cut is None else self.prompt_cut[mask],
        )

    @property
    def score(self) -> float:
        """Fraction of right answers."""
        return float(self.right.mean())

    @property
    def stderr(self) -> float:
        """Standard error of the score: s / sqrt(n) with n - 1 in s, as lm-eval computes it."""
        return float(self.right.std(ddof=1) / math.sqrt(len(self.right)))


@dataclass(frozen=True)
class Problem:
    """The reason why a model's task is left out of a comparison: a key of the report's texts, and its values."""

    model: str
    task: str
    reason: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Runs:
    """A folder of results: (model, task) -> answers that can be used, and problems of the others."""

    name: str
    folder: Path
    members: list[Member]
    answers: dict[tuple[str, str], Answers]
    problems: list[Problem]
    config: dict[str, Any]

    def with_role(self, role: Role) -> list[Member]:
        """Models with a role; checkpoints by step."""
        return sorted((m for m in self.members if m.role == role), key=lambda m: m.step or 0)


@dataclass(frozen=True)
class _Sample:
    """The part of lm-eval's sample that a report reads; `score` is 1 for a right answer, else 0."""

    doc_id: int
    doc_hash: str
    prompt_hash: str
    target: Any
    answers: list[Any]
    score: float


class _Unusable(Exception):
    def __init__(self, reason: str, **values: Any) -> None:
        super().__init__(reason)
        self.reason, self.values = reason, values


def read_runs(folder: Path, name: str | None = None) -> Runs:
    """Read `<folder>/<model>/<task>/` of every model and task that `runs.json` names.

    Raises:
        UserError: the folder holds no results, or none that can be used.
    """
    plan = Plan.read(folder)
    members = plan.models
    tasks = [task for task in TASKS if task in plan.tasks]
    if len(names := {member.name for member in members}) < len(members):
        raise UserError(f"models occur twice: {sorted(names)}", where=str(folder / PLAN_FILE))
    check("report", _finished_files(folder, [member.name for member in members], tasks), fix=AGAIN)
    answers: dict[tuple[str, str], Answers] = {}
    problems: list[Problem] = []
    for member in members:
        for task in tasks:
            try:
                answers[member.name, task] = _read_answers(folder / member.name / task, member.name, TASKS[task])
            except _Unusable as error:
                problems.append(Problem(member.name, task, error.reason, error.values))
    if not answers:
        raise UserError(
            f"no task of any model can be used; the first problem: {problems[0] if problems else 'there is no task'}",
            where=str(folder),
            fix="run `pdapt eval run` to the end",
        )
    return Runs(name or folder.name, folder, members, answers=answers, problems=problems, config=plan.config)


def _finished_files(folder: Path, models: list[str], tasks: list[str]) -> dict[Path, list[str]]:
    """Folder of each finished evaluation -> its files."""
    evaluations = [folder / model / task for model in models for task in tasks]
    return {evaluation: file_names(evaluation) for evaluation in evaluations if (evaluation / MANIFEST_FILE).is_file()}


def first_half(keys: list[str]) -> np.ndarray:
    """Questions that may choose a checkpoint, by a hash of their keys: the same for every model and run.

    [questions] of bool.
    """
    return np.array([hashlib.sha256(f"half\0{key}".encode()).digest()[0] < 128 for key in keys], bool)


def difference_in_questions(first: Answers, second: Answers) -> tuple[str, dict[str, Any]] | None:
    """Reason and values of a `Problem` where two models' answers to a task cannot be compared; None where they can."""
    second_protocol = asdict(second.protocol)
    for key, value in asdict(first.protocol).items():
        if second_protocol[key] != value:
            return f"other_{key}", {"one": value, "other": second_protocol[key]}
    if first.keys != second.keys:
        return "other_questions", {"count": len(set(first.keys) ^ set(second.keys))}
    changed = sum(a != b for a, b in zip(first.prompts, second.prompts, strict=True))
    return ("other_prompts", {"count": changed, "questions": len(first.prompts)}) if changed else None


def _read_answers(folder: Path, model: str, task: Benchmark) -> Answers:
    results, path = _results(folder, task), folder / SAMPLES_FILE
    samples = _samples(path, task)
    stated = results["results"][task.name].get(task.score_key)
    right = _right(samples, task, stated, wanted=results["n-samples"][task.name]["original"])
    notes = _notes(folder / ANSWERS_FILE, samples)
    return Answers(
        model=model,
        task=task.name,
        path=path,
        digest=sha256(path),
        keys=[f"{sample.doc_id}:{sample.doc_hash}" for sample in samples],
        prompts=[sample.prompt_hash for sample in samples],
        right=right,
        margin=None if task.generates else _margins(samples),
        unparseable=np.array([sample.answers == [UNPARSEABLE] for sample in samples]),
        truncated=_flags([note.truncated for note in notes]) if task.generates else None,
        prompt_cut=_flags([note.prompt_cut for note in notes]),
        protocol=Protocol(
            shots=results["n-shot"][task.name],
            version=results["versions"][task.name],
            lm_eval=results.get("lm_eval_version"),
            chat_template=results.get("chat_template_sha"),
        ),
        settings=_settings(folder / SETTINGS_FILE),
        seconds=_seconds(results.get("total_evaluation_time_seconds")),
    )


def _right(samples: list[_Sample], task: Benchmark, stated: Any, wanted: int) -> np.ndarray:
    """1 where an answer is right, else 0, [questions]; checked against the score that lm-eval states."""
    if not _finite(stated):
        raise _Unusable("not_a_number", what=task.score_key)
    if len(samples) != wanted:
        raise _Unusable("partial", found=len(samples), wanted=wanted)
    right = np.array([sample.score for sample in samples], float)
    if not np.isfinite(right).all() or not np.isin(right, (0, 1)).all():
        raise _Unusable("not_a_number", what=SAMPLES_FILE)
    if len(right) < 2:
        raise _Unusable("partial", found=len(right), wanted=2)
    if not math.isclose(float(right.mean()), stated, abs_tol=1e-9):
        raise _Unusable("disagrees", stated=100 * stated, found=100 * float(right.mean()))
    return right


def _results(folder: Path, task: Benchmark) -> dict[str, Any]:
    for name in (RESULTS_FILE, SAMPLES_FILE):
        if not (folder / name).is_file():
            raise _Unusable("missing", what=name)
    try:
        results = read_object(folder / RESULTS_FILE, nan=True)
        results.object("results").object(task.name)
        results.object("n-samples").object(task.name).integer("original")
        results.object("n-shot").integer(task.name)
        if task.name not in results.object("versions"):
            raise UserError(f"versions: {task.name} is missing", where=results.where)
    except UserError as error:
        raise _Unusable("unreadable", what=RESULTS_FILE, why=str(error)) from None
    return results.values


def _samples(path: Path, task: Benchmark) -> list[_Sample]:
    """Samples of the filter that scores the task, in the order of their questions, each without its texts."""
    samples: dict[int, _Sample] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                sample = _sample(JsonObject(parse_json(line, f"{path}:{number}", nan=True), f"{path}:{number}"), task)
            except (UserError, KeyError) as error:
                raise _Unusable("unreadable", what=f"{SAMPLES_FILE}:{number}", why=str(error)) from None
            if sample is None:
                continue
            if sample.doc_id in samples:
                raise _Unusable("duplicated", question=sample.doc_id)
            if not _finite(sample.score):
                raise _Unusable("not_a_number", what=f"{SAMPLES_FILE}:{number}")
            samples[sample.doc_id] = sample
    return [samples[question] for question in sorted(samples)]


def _sample(row: JsonObject, task: Benchmark) -> _Sample | None:
    """A line of the file; None for a sample of another filter."""
    sample = _Sample(
        doc_id=row.integer("doc_id"),
        doc_hash=row.text("doc_hash"),
        prompt_hash=row.text("prompt_hash"),
        target=row.values["target"],
        answers=row.list("filtered_resps"),
        score=row.values[task.metric],
    )
    return sample if row.text("filter") == task.filter else None


def _margins(samples: list[_Sample]) -> np.ndarray:
    """Margins of the true choices, [questions]; lm-eval writes a choice as [log-probability, is greedy], as strings."""
    margins = []
    for sample in samples:
        try:
            values = [float(choice[0]) for choice in sample.answers]
            gold = values.pop(int(sample.target))
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise _Unusable("unreadable", what=f"{SAMPLES_FILE}: {sample.doc_id}", why=repr(error)) from None
        margins.append(gold - max(values, default=math.nan))
    if not np.isfinite(margins).all():
        raise _Unusable("not_a_number", what=SAMPLES_FILE)
    return np.array(margins)


def _settings(path: Path) -> AnswerSettings | None:
    if not path.is_file():
        return None
    try:
        return AnswerSettings.read(path)
    except UserError as error:
        raise _Unusable("unreadable", what=SETTINGS_FILE, why=error.what) from None


def _notes(path: Path, samples: list[_Sample]) -> list[AnswerNote]:
    """The notes on the answers of samples; none where the run took none."""
    if not path.is_file():
        return []
    try:
        notes = {note.doc_id: note for note in AnswerNote.read(path)}
        return [notes[sample.doc_id] for sample in samples]
    except (UserError, KeyError) as error:
        raise _Unusable("unreadable", what=ANSWERS_FILE, why=str(error)) from None


def _flags(flags: list[bool | None]) -> np.ndarray | None:
    """A flag of each answer, [questions] of bool; None where one was not noted."""
    return None if not flags or None in flags else np.array(flags, bool)


def _finite(value: Any) -> bool:
    """Whether a value is a number that a 64-bit float can hold; an integer of 400 digits is not."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _seconds(value: Any) -> float:
    """Wall time, which lm-eval writes as a string; 0 where it is missing."""
    try:
        return float(value or 0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
