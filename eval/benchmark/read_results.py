"""Results of `pdapt eval run`, read for reports: each model's answers to each task, or why they are left out."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.files import sha256
from ...core.integrity import AGAIN, check, file_names
from ...core.manifest import MANIFEST_FILE
from ..harness.result_files import (
    ANSWERS_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    SETTINGS_FILE,
    AnswerNote,
    AnswerSettings,
    Protocol,
    Sample,
    TaskResults,
    is_finite,
    read_samples,
)
from ..models import Role
from ..tasks.all_tasks import ALL_TASKS
from ..tasks.suite import PAPER_SUITE
from ..tasks.task_suite import ScoredTask, TaskSuite
from .results_folder import PLAN_FILE, Member, Plan

UNPARSEABLE = "[invalid]"
"""The text that lm-eval's filter puts in the place of an answer that it does not find."""


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
        measures: name -> other scores of each answer, [questions], of tasks that have some.
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
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)

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
            measures={name: values[mask] for name, values in self.measures.items()},
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
class StatedScore:
    """A model's score on a task as lm-eval's results state it: a fraction with its error, and the number of answers."""

    score: float
    stderr: float
    questions: int
    protocol: Protocol


class Reason(StrEnum):
    """Why a model's task is left out of a comparison: keys of the report's texts."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    DUPLICATED = "duplicated"
    PARTIAL = "partial"
    NOT_A_NUMBER = "not_a_number"
    GRADED = "graded"
    DISAGREES = "disagrees"
    OTHER_SHOTS = "other_shots"
    OTHER_VERSION = "other_version"
    OTHER_LM_EVAL = "other_lm_eval"
    OTHER_CHAT_TEMPLATE = "other_chat_template"
    OTHER_QUESTIONS = "other_questions"
    OTHER_PROMPTS = "other_prompts"
    OTHER_SIZE = "other_size"
    NOT_OF_ALL = "not_of_all"


@dataclass(frozen=True)
class Problem:
    """The reason why a model's task is left out of a comparison, and the values that the reason's text shows."""

    model: str
    task: str
    reason: Reason
    values: Mapping[str, object]


@dataclass(frozen=True)
class Runs:
    """A folder of results.

    Attributes:
        name, folder: of the results.
        members: the models.
        answers: (model, task) -> answers that can be used.
        problems: of the others.
        config: settings that all results share.
        suite: the tasks.
        stated: (model, task) -> score, where models may be compared by it, too.
        inputs: name -> file that the results were read from, where `folder` has no plan.
    """

    name: str
    folder: Path
    members: list[Member]
    answers: dict[tuple[str, str], Answers]
    problems: list[Problem]
    config: dict[str, Any]
    suite: TaskSuite = PAPER_SUITE
    stated: dict[tuple[str, str], StatedScore] = field(default_factory=dict)
    inputs: dict[str, Path] = field(default_factory=dict)

    def with_role(self, role: Role) -> list[Member]:
        """Models with a role; checkpoints by step."""
        return sorted((m for m in self.members if m.role == role), key=lambda m: m.step or 0)


class Unusable(Exception):
    """A model's results of a task cannot be used, for a `Reason` with its values."""

    def __init__(self, reason: Reason, **values: object) -> None:
        super().__init__(reason)
        self.reason, self.values = reason, values


def read_runs(folder: Path, name: str | None = None) -> Runs:
    """Read `<folder>/<model>/<task>/` of every model and task that `runs.json` names.

    Raises:
        UserError: the folder holds no results, or none that can be used.
    """
    plan = Plan.read(folder)
    members, suite = plan.models, plan.suite
    tasks = [task for task in suite.tasks if task in plan.tasks]
    if len(names := {member.name for member in members}) < len(members):
        raise UserError(f"two models have the same name: {sorted(names)}", where=str(folder / PLAN_FILE))
    check("report", _finished_files(folder, [member.name for member in members], tasks), fix=AGAIN)
    answers: dict[tuple[str, str], Answers] = {}
    problems: list[Problem] = []
    for member in members:
        for task in tasks:
            try:
                answers[member.name, task] = _read_answers(folder / member.name / task, member.name, suite.tasks[task])
            except Unusable as error:
                problems.append(Problem(member.name, task, error.reason, error.values))
    if not answers:
        raise UserError(
            f"no task of any model can be used; the first problem: {problems[0] if problems else 'there is no task'}",
            where=str(folder),
            fix="run `pdapt eval run` to the end",
        )
    return Runs(
        name or folder.name, folder, members, answers=answers, problems=problems, config=plan.config, suite=suite
    )


def _finished_files(folder: Path, models: list[str], tasks: list[str]) -> dict[Path, list[str]]:
    """Folder of each finished evaluation -> its files."""
    evaluations = [folder / model / task for model in models for task in tasks]
    return {evaluation: file_names(evaluation) for evaluation in evaluations if (evaluation / MANIFEST_FILE).is_file()}


def first_half(keys: list[str]) -> np.ndarray:
    """Questions that may choose a checkpoint, by a hash of their keys: the same for every model and run.

    [questions] of bool.
    """
    return np.array([hashlib.sha256(f"half\0{key}".encode()).digest()[0] < 128 for key in keys], bool)


def difference_in_questions(first: Answers, second: Answers) -> tuple[Reason, Mapping[str, object]] | None:
    """Reason and values of a `Problem` where two models' answers to a task cannot be compared; None where they can."""
    difference = difference_in_protocol(first.protocol, second.protocol)
    if difference:
        return difference
    if first.keys != second.keys:
        return Reason.OTHER_QUESTIONS, {"count": len(set(first.keys) ^ set(second.keys))}
    changed = sum(a != b for a, b in zip(first.prompts, second.prompts, strict=True))
    return (Reason.OTHER_PROMPTS, {"count": changed, "questions": len(first.prompts)}) if changed else None


def difference_in_protocol(first: Protocol, second: Protocol) -> tuple[Reason, Mapping[str, object]] | None:
    """Reason and values of a `Problem` where a task was put to two models in different ways; None where it was not."""
    other = asdict(second)
    for key, value in asdict(first).items():
        if other[key] != value:
            return Reason(f"other_{key}"), {"one": value, "other": other[key]}
    return None


def _read_answers(folder: Path, model: str, task: ScoredTask) -> Answers:
    for name in (RESULTS_FILE, SAMPLES_FILE):
        if not (folder / name).is_file():
            raise Unusable(Reason.MISSING, what=name)
    results = _results(folder / RESULTS_FILE, task)
    return _answers(
        results, results.questions, folder / SAMPLES_FILE, model=model, task=task, any_target=task.name not in ALL_TASKS
    )


def read_answers(results_file: Path, samples: Path, model: str, task: ScoredTask) -> Answers:
    """A model's answers to a task in lm-eval's two files, wherever they lie.

    Raises:
        Unusable: they cannot be used.
    """
    results = _results(results_file, task)
    return _answers(results, results.answered, samples, model=model, task=task, any_target=True)


def _answers(
    results: TaskResults, wanted: int, path: Path, model: str, task: ScoredTask, *, any_target: bool = False
) -> Answers:
    """Answers in a file of samples, of which there must be as many as wanted; notes lie beside it, if there are.

    With `any_target` choices have margins only where all targets are places of choices; else they must be.
    """
    folder, samples = path.parent, _samples(path, task)
    right = _right(samples, task, results.score, wanted=wanted)
    notes = _notes(folder / ANSWERS_FILE, samples)
    return Answers(
        model=model,
        task=task.name,
        path=path,
        digest=sha256(path),
        keys=[f"{sample.doc_id}:{sample.doc_hash}" for sample in samples],
        prompts=[sample.prompt_hash for sample in samples],
        right=right,
        margin=_margins(samples) if task.has_choices and not (any_target and _words_as_targets(samples)) else None,
        unparseable=np.array([sample.responses == [UNPARSEABLE] for sample in samples]),
        truncated=_flags([note.truncated for note in notes]) if task.generates else None,
        prompt_cut=_flags([note.prompt_cut for note in notes]),
        protocol=results.protocol,
        settings=_settings(folder / SETTINGS_FILE),
        seconds=results.seconds,
        measures={name: _measured(samples, name) for name in task.measures},
    )


def _measured(samples: list[Sample], name: str) -> np.ndarray:
    """A measure of each answer, [questions]."""
    values = [sample.measures[name] for sample in samples]
    if not all(map(is_finite, values)):
        raise Unusable(Reason.NOT_A_NUMBER, what=f"{SAMPLES_FILE}: {name}")
    return np.array(values, float)


def _right(samples: list[Sample], task: ScoredTask, stated: Any, wanted: int) -> np.ndarray:
    """1 where an answer is right, else 0, [questions]; checked against the score that lm-eval states."""
    if not is_finite(stated):
        raise Unusable(Reason.NOT_A_NUMBER, what=task.score_key)
    if len(samples) != wanted:
        raise Unusable(Reason.PARTIAL, found=len(samples), wanted=wanted)
    right = np.array([sample.score for sample in samples], float)
    if not np.isfinite(right).all():
        raise Unusable(Reason.NOT_A_NUMBER, what=SAMPLES_FILE)
    if not np.isin(right, (0, 1)).all():
        raise Unusable(Reason.GRADED, what=SAMPLES_FILE)
    if len(right) < 2:
        raise Unusable(Reason.PARTIAL, found=len(right), wanted=2)
    if not math.isclose(float(right.mean()), stated, abs_tol=1e-9):
        raise Unusable(Reason.DISAGREES, stated=100 * stated, found=100 * float(right.mean()))
    return right


def _results(path: Path, task: ScoredTask) -> TaskResults:
    try:
        return TaskResults.read(path, task)
    except UserError as error:
        raise Unusable(Reason.UNREADABLE, what=path.name, why=str(error)) from None


def _samples(path: Path, task: ScoredTask) -> list[Sample]:
    """Samples of the filter that scores the task, in the order of their questions."""
    samples: dict[int, Sample] = {}
    try:
        for sample in read_samples(path, task):
            if sample.filter != task.filter:
                continue
            if sample.doc_id in samples:
                raise Unusable(Reason.DUPLICATED, question=sample.doc_id)
            if not is_finite(sample.score):
                raise Unusable(Reason.NOT_A_NUMBER, what=f"{SAMPLES_FILE}: {sample.doc_id}")
            samples[sample.doc_id] = sample
    except UserError as error:
        raise Unusable(Reason.UNREADABLE, what=SAMPLES_FILE, why=str(error)) from None
    return [samples[question] for question in sorted(samples)]


def _words_as_targets(samples: list[Sample]) -> bool:
    """Whether some target is not the index of a choice, as in tasks that state the answer itself."""
    return any(str(sample.target) not in map(str, range(len(sample.responses))) for sample in samples)


def _margins(samples: list[Sample]) -> np.ndarray:
    """Margins of the true choices, [questions]."""
    margins = []
    for sample in samples:
        try:
            values = sample.log_probabilities()
            gold = values.pop(int(sample.target))
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise Unusable(Reason.UNREADABLE, what=f"{SAMPLES_FILE}: {sample.doc_id}", why=repr(error)) from None
        margins.append(gold - max(values, default=math.nan))
    if not np.isfinite(margins).all():
        raise Unusable(Reason.NOT_A_NUMBER, what=SAMPLES_FILE)
    return np.array(margins)


def _settings(path: Path) -> AnswerSettings | None:
    if not path.is_file():
        return None
    try:
        return AnswerSettings.read(path)
    except UserError as error:
        raise Unusable(Reason.UNREADABLE, what=SETTINGS_FILE, why=error.what) from None


def _notes(path: Path, samples: list[Sample]) -> list[AnswerNote]:
    """The notes on the answers of samples; none where the run took none."""
    if not path.is_file():
        return []
    try:
        notes = {note.doc_id: note for note in AnswerNote.read(path)}
        return [notes[sample.doc_id] for sample in samples]
    except (UserError, KeyError) as error:
        raise Unusable(Reason.UNREADABLE, what=ANSWERS_FILE, why=str(error)) from None


def _flags(flags: list[bool | None]) -> np.ndarray | None:
    """A flag of each answer, [questions] of bool; None where one was not noted."""
    return None if not flags or None in flags else np.array(flags, bool)
