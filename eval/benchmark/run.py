"""`pdapt eval run`: tasks on many models, each task of each model in a process of its own."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError, check_known
from ...core.integrity import UnchangedFiles, check, hf_files
from ...core.log import counted
from ...core.manifest import MANIFEST_FILE, run_stage
from ...core.system.device import has_gpu
from ..harness.backends import (
    BACKENDS,
    Limits,
    ModelArguments,
    check_answers_fit,
    check_chat_template,
    model_arguments,
)
from ..harness.chat_template import check_rendering
from ..harness.check_weights import check_weights
from ..harness.job import BatchSizeSearch, Evaluation, LmEvalJob
from ..harness.lm_eval_process import EvaluationFailed, run_job
from ..harness.result_files import (
    ANSWERS_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    SETTINGS_FILE,
    AnswerNote,
    AnswerSettings,
    Sample,
    TaskResults,
    is_finite,
    read_samples,
)
from ..heldout.evaluate import check_models, models_damage_first
from ..models import Model
from ..tasks.data_index import DATA_INDEX_FILE
from ..tasks.own.own_task import OwnTask
from ..tasks.select_tasks import AnyTask
from .results_folder import MODEL_FILE, check_identity, claimed, write_plan
from .task_files import TaskFiles, fetched_names, files_of_tasks

BATCH_SIZES_FILE = "batch_sizes.json"
"""In a model's folder: kind of task -> the batch size that was found for it."""


@dataclass(frozen=True)
class BenchmarkSettings:
    """Settings of the tasks' runs. All but batch size and GPUs determine the results' identity.

    `chat_template` says whether prompts are put into the models' own; it belongs to a model's results, so that one
    folder may hold chat models beside others.

    Raises:
        UserError: by the constructor, a setting is not allowed.
    """

    backend: str = "hf"
    limits: Limits = field(default_factory=Limits)
    batch_size: int | str = "auto"
    gpus: int = 1
    chat_template: bool = False

    def __post_init__(self) -> None:
        check_known(self.backend, BACKENDS, "backend", "--backend")
        if self.gpus < 1:
            raise UserError(f"--gpus is {self.gpus}", where="--gpus", allowed="1 or more")
        if self.batch_size != "auto" and (not str(self.batch_size).isdigit() or int(self.batch_size) < 1):
            raise UserError(f"batch_size = {self.batch_size}", allowed="'auto', or 1 or more")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that all results of a folder share, as JSON values."""
        return {"backend": self.backend, "lm_eval": metadata.version("lm_eval"), **asdict(self.limits)}


@dataclass(frozen=True)
class Outcome:
    """The evaluations of one call, `<model>/<task>` each: done now or before, or left to another process."""

    done: list[str]
    elsewhere: list[str]


def run_benchmark(
    models: list[Model],
    tasks: Sequence[AnyTask],
    data: Path | None,
    out: Path,
    settings: BenchmarkSettings | None = None,
    *,
    verify: bool = True,
) -> Outcome:
    """Run tasks on models, each task of each model in a process of its own (stage `benchmark`).

    Fills `<out>/<model>/<task>/` with lm-eval's `results.json` and `samples.jsonl`, `answers.jsonl` and the stage's
    manifest. Finished evaluations are not repeated; one that another process works on is left to it, so that several
    calls with the same `out` share the work. More models and tasks may be added later. A failure does not hold up the
    other evaluations.

    Args:
        models: the models to evaluate.
        tasks: of the suite, or the user's own.
        data: a folder made by `fetch`, for tasks of the suite.
        out: folder of all results.
        settings: backend, limits, batch size, GPUs.
        verify: whether data and models are compared with the hashes that were written with them.

    Raises:
        UserError: a model's folder or the data are unusable, a model's window has no room for answers, or `out` holds
            results of another model, another task of the same name, or other settings.
        EvaluationFailed: lm-eval failed on one evaluation or more, which are named; the others are finished.
    """
    settings = settings or BenchmarkSettings()
    arguments = _check_models(models, tasks, settings, verify=verify)
    files = files_of_tasks(tasks, data)
    for task in tasks:
        if isinstance(task, OwnTask):
            log.info(f"eval: {task.name}: {task.taken}")
    unfinished = [
        model for model in models if not all((out / model.name / task.name / MANIFEST_FILE).is_file() for task in tasks)
    ]
    if data is not None and (fetched := fetched_names(files)):
        check("eval", {data: [DATA_INDEX_FILE, *fetched] if unfinished else []}, verify=verify)
    unchanged = {model.name: UnchangedFiles({model.path: hf_files(model.path)}) for model in models}
    check_weights({model.name: model.path for model in unfinished}, verify=verify)
    write_plan(models, tasks, settings.identity, out)
    for model in models:
        check_identity(model, out, chat_template=settings.chat_template)
    with tempfile.TemporaryDirectory() as scratch:
        runner = _Runner(
            files=files, out=out, settings=settings, tasks=tasks, unchanged=unchanged, scratch=Path(scratch)
        )
        for model in models:
            for task in tasks:
                runner.run_unless_claimed(model.name, arguments[model.name], task)
    if runner.errors:
        every = counted(len(models) * len(tasks), "evaluation")
        raise EvaluationFailed(f"{len(runner.errors)} of {every} failed:\n" + "\n\n".join(runner.errors))
    return runner.outcome


def _check_models(
    models: list[Model], tasks: Sequence[AnyTask], settings: BenchmarkSettings, *, verify: bool
) -> dict[str, ModelArguments]:
    """Check models and machine before anything is written; name of a model -> lm-eval's arguments."""
    _check_machine(settings)
    with models_damage_first(models, verify=verify):
        check_models(models)
        arguments = {
            model.name: model_arguments(settings.backend, model.path, settings.limits, settings.gpus)
            for model in models
        }
        check_answers_fit(arguments, tasks, settings.limits)
        if settings.chat_template:
            folders = {model.name: model.path for model in models}
            check_chat_template(folders)
            check_rendering(folders)
    return arguments


def _check_machine(settings: BenchmarkSettings) -> None:
    if settings.backend == "vllm" and find_spec("vllm") is None:
        raise UserError("vllm is not installed", where="--backend", fix="pip install vllm, on a machine with GPUs")
    if settings.gpus > 1 and not has_gpu():
        raise UserError(
            f"--gpus is {settings.gpus}, and this machine has no GPU", where="--gpus", allowed="1: the CPU is used"
        )


@dataclass(frozen=True)
class _Runner:
    """The evaluations of one call."""

    files: dict[str, TaskFiles]
    out: Path
    settings: BenchmarkSettings
    tasks: Sequence[AnyTask]
    unchanged: dict[str, UnchangedFiles]
    scratch: Path
    outcome: Outcome = field(default_factory=lambda: Outcome([], []))
    errors: list[str] = field(default_factory=list)

    def run_unless_claimed(self, model: str, arguments: ModelArguments, task: AnyTask) -> None:
        """Evaluate one model on one task unless another process does, and record the outcome."""
        name, folder = f"{model}/{task.name}", self.out / model / task.name
        with claimed(folder) as mine:
            if not mine:
                log.info(f"eval: {name}: another process is working on it")
                self.outcome.elsewhere.append(name)
                return
            try:
                self._run(model, arguments, task)
                self.outcome.done.append(name)
            except EvaluationFailed as error:
                log.warn(f"eval: {name} failed")
                self.errors.append(f"{name}: {error}")

    def _run(self, model: str, arguments: ModelArguments, task: AnyTask) -> None:
        """Fill the evaluation's folder, unless it is finished."""
        inputs = {"model": self.out / model / MODEL_FILE, **self.files[task.name].inputs}
        config = {"task": task.name, "shots": task.shots, "dtype": arguments.dtype, **self.settings.identity}
        # The window as it is, so that a model's own and the same number given are one.
        config["max_length"] = arguments.window
        if self.settings.chat_template:
            config["chat_template"] = True

        def body(work: Path) -> dict[str, Any]:
            evaluation = Evaluation(model, task.name, str((work / "evaluation").resolve()))
            run_job(self._job(arguments, task, evaluation))
            self.unchanged[model].check()  # the job has read the checked files a second time
            for path in (work / "evaluation").iterdir():
                path.rename(work / path.name)
            (work / "evaluation").rmdir()
            return self._counts(work, task)

        run_stage("benchmark", inputs, config, out=self.out / model / task.name, body=body)

    def _job(self, arguments: ModelArguments, task: AnyTask, evaluation: Evaluation) -> LmEvalJob:
        """The job of one evaluation. It holds all tasks of its kind: their longest prompt decides the batch size."""
        same_kind = [other for other in self.tasks if other.kind == task.kind and other.shots == task.shots]
        folder = self.scratch / "tasks" / f"{task.kind}-{task.shots}"
        for other in same_kind:
            self.files[other.name].write(folder)
        file = (self.out / evaluation.model / BATCH_SIZES_FILE).resolve()
        settings = self.settings
        return LmEvalJob(
            models={evaluation.model: arguments},
            evaluations=[evaluation],
            tasks=folder,
            scratch=self.scratch,
            backend=settings.backend,
            limits=settings.limits,
            shots=task.shots,
            batch_size=settings.batch_size,
            batch_size_search=BatchSizeSearch(task.kind, [other.name for other in same_kind], str(file)),
            chat_template=settings.chat_template,
            gpus=settings.gpus,
        )

    def _counts(self, work: Path, task: AnyTask) -> dict[str, Any]:
        """The manifest's counts: score, questions, flags of answers, settings; checked first for being whole."""
        samples = list(read_samples(work / SAMPLES_FILE, task))
        score = TaskResults.read(work / RESULTS_FILE, task).score
        questions = self.files[task.name].questions
        wanted = min(self.settings.limits.questions or questions, questions)
        check_samples(task, samples, score, wanted)
        notes = AnswerNote.read(work / ANSWERS_FILE)
        flags = {
            "truncated": sum(bool(note.truncated) for note in notes),
            "unparseable": sum(bool(note.unparseable) for note in notes),
            "prompt_cut": sum(bool(note.prompt_cut) for note in notes),
        }
        if flags["prompt_cut"]:
            prompts = counted(len(notes), "prompt")
            log.warn(f"eval: {task.name}: cut {flags['prompt_cut']} of {prompts} to fit the window")
        versions = {"vllm": metadata.version("vllm")} if self.settings.backend == "vllm" else {}
        counts = {"questions": len(samples), task.score_key: score, **flags, **versions, "gpus": self.settings.gpus}
        return counts | AnswerSettings.read(work / SETTINGS_FILE).to_json()


def check_samples(task: AnyTask, samples: list[Sample], score: Any, wanted: int) -> None:
    """Check that an evaluation's results are whole.

    Args:
        task: the task.
        samples: lm-eval's.
        score: lm-eval's score of the task.
        wanted: number of questions.

    Raises:
        EvaluationFailed: questions are missing or occur twice, or a score or a log-probability is not a number.
    """
    ids = {sample.doc_id for sample in samples}
    if len(ids) != wanted or len(samples) != wanted:
        held = f"{counted(len(samples), 'sample')} of {counted(len(ids), 'question')}"
        raise EvaluationFailed(f"{held} in {SAMPLES_FILE}, not {wanted}")
    numbers = [score]
    if not task.generates:
        numbers += [number for sample in samples for number in sample.log_probabilities()]
    if not all(map(is_finite, numbers)):
        raise EvaluationFailed(f"a score or a log-probability in {SAMPLES_FILE} is not a finite number")
