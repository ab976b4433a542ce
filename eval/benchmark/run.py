"""The 28 tasks on many models: a process for each task of each model, and what is finished is not repeated."""

import math
import re
import tempfile
from dataclasses import asdict, dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ...core import log
from ...core.errors import UserError, check_known
from ...core.files import read_json, read_object, write_text
from ...core.integrity import check
from ...core.jsonio import JsonObject, shorten
from ...core.manifest import MANIFEST_FILE, run_stage
from ...core.system.device import has_gpu
from ..harness.backends import BACKENDS, Limits, arguments, check_chat_template, check_room
from ..harness.check_weights import check_weights
from ..harness.lm_eval_process import ANSWERS, RESULTS, SAMPLES, SETTINGS, EvaluationFailed, Job, Measure, Unit, run_job
from ..heldout.evaluate import check_models, models_damage_first
from ..scores import Model
from ..scoring import read_rows
from ..tasks.fetch import INDEX
from ..tasks.suite import Benchmark
from .results_folder import IDENTITY, claimed, identify, write_plan

SAFE = re.compile(r"[A-Za-z0-9_]+(?:/[A-Za-z0-9_.-]+)*\.(?:parquet|jsonl)")
"""A file below a folder, in one of the two formats that `fetch` writes."""
BATCH_SIZES = "batch_sizes.json"
"""Of a model's folder: kind of task -> the batch size that was found for it, and by what."""


@dataclass(frozen=True)
class Settings:
    """How tasks are run. All but batch size and GPUs decide the results' identity.

    `chat_template` says whether the models' own are put around what is asked; it belongs to a model's results, so that
    one folder may hold chat models beside others.
    """

    backend: str = "hf"
    limits: Limits = field(default_factory=Limits)
    batch_size: int | str = "auto"
    gpus: int = 1
    chat_template: bool = False

    def __post_init__(self) -> None:
        check_known(self.backend, BACKENDS, "backend", "--backend")
        if self.gpus < 1:
            raise UserError(f"{self.gpus} GPUs", where="--gpus", allowed="1 or more")
        if self.batch_size != "auto" and (not str(self.batch_size).isdigit() or int(self.batch_size) < 1):
            raise UserError(f"batch_size = {self.batch_size}", allowed="'auto', or 1 or more")

    @property
    def identity(self) -> dict[str, Any]:
        """What all runs of a folder have in common."""
        return {"backend": self.backend, "lm_eval": metadata.version("lm_eval"), **asdict(self.limits)}


@dataclass(frozen=True)
class Outcome:
    """What became of the units of one call, `<model>/<task>` each: done now or before, or left to another process."""

    done: list[str]
    elsewhere: list[str]


def run_benchmark(
    models: list[Model],
    tasks: list[Benchmark],
    data: Path,
    out: Path,
    settings: Settings | None = None,
    *,
    verify: bool = True,
) -> Outcome:
    """Run tasks on models, each task of each model in a process of its own (stage `benchmark`).

    Fills `<out>/<model>/<task>/` with lm-eval's `results.json` and `samples.jsonl`, `answers.jsonl` and the stage's
    manifest. A unit that is there is left; one that another process is at is left to it, so that several calls with the
    same `out` share the work. More models and tasks may be added later. What fails does not hold up the rest.

    Args:
        models: what to evaluate.
        tasks: of the suite.
        data: a folder made by `fetch`.
        out: folder of all results.
        settings: backend, limits, batch size, GPUs.
        verify: whether data and models are compared with the hashes that were written with them.

    Raises:
        UserError: a model's folder or the data are unusable, a model's window has no room for answers, or `out` holds
            results of another model or other settings.
        EvaluationFailed: lm-eval failed on one unit or more, which are named; the others are finished.
    """
    settings = settings or Settings()
    _check_machine(settings)
    with models_damage_first(models, verify=verify):
        check_models(models)
        told = {model.name: arguments(settings.backend, model.path, settings.limits, settings.gpus) for model in models}
        check_room(told, tasks, settings.limits)
        check_chat_template({model.name: model.path for model in models} if settings.chat_template else {})
    index = read_index(data, tasks)
    left = [
        model for model in models if not all((out / model.name / task.name / MANIFEST_FILE).is_file() for task in tasks)
    ]
    files = {file for task in tasks for file in (index[task.name]["test"], index[task.name]["shots"])}
    check("eval", {data: [INDEX, *sorted(files)] if left else []}, verify=verify)
    check_weights({model.name: model.path for model in left}, verify=verify)
    write_plan(models, tasks, settings.identity, out)
    for model in models:
        identify(model, out, chat_template=settings.chat_template)
    outcome = Outcome([], [])
    errors: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        runner = _Runner(data, index, out, settings, tasks, Path(scratch))
        for model in models:
            for task in tasks:
                _attempt(runner, model.name, told[model.name], task, outcome, errors)
    if errors:
        raise EvaluationFailed(f"{len(errors)} of {len(models) * len(tasks)} units failed:\n" + "\n\n".join(errors))
    return outcome


def _check_machine(settings: Settings) -> None:
    if settings.backend == "vllm" and find_spec("vllm") is None:
        raise UserError("vllm is not installed", where="--backend", mend="pip install vllm, where there are GPUs")
    if settings.gpus > 1 and not has_gpu():
        raise UserError(f"{settings.gpus} GPUs, where there is none", where="--gpus", allowed="1: then the CPU works")


def read_index(data: Path, tasks: list[Benchmark]) -> dict[str, Any]:
    """What `fetch` says of tasks: name -> files and hashes.

    Raises:
        UserError: `data` was not made by it, lacks a task, or is damaged.
    """
    if not (data / INDEX).is_file():
        raise UserError(
            f"no data of tasks: {INDEX} is missing", where=str(data), mend="`pdapt eval fetch --out FOLDER` gets them"
        )
    found = read_object(data / INDEX)
    missing = [task.name for task in tasks if task.name not in found]
    if missing:
        raise UserError(
            f"the data of {len(missing)} tasks are not there: {', '.join(missing)}",
            where=str(data / INDEX),
            mend="`pdapt eval fetch`, or choose others with --tasks",
        )
    return {task.name: _entry(found.object(task.name), data) for task in tasks}


def _entry(entry: JsonObject, data: Path) -> dict[str, Any]:
    """What the index says of a task, checked."""
    files = {name: entry.text(name) for name in ("test", "shots")}
    for name in files.values():
        if not SAFE.fullmatch(name) or ".." in name:
            raise UserError(f"{shorten(name)} is no file of {data}", where=entry.where, mend="run `pdapt eval fetch`")
    return files | {"questions": entry.integer("questions")}


def _attempt(
    runner: "_Runner", model: str, told: dict[str, Any], task: Benchmark, outcome: Outcome, errors: list[str]
) -> None:
    unit, folder = f"{model}/{task.name}", runner.out / model / task.name
    with claimed(folder) as mine:
        if not mine:
            log.info(f"eval: {unit}: another process is at it")
            outcome.elsewhere.append(unit)
            return
        try:
            runner.run(model, told, task)
            outcome.done.append(unit)
        except EvaluationFailed as error:
            log.warn(f"eval: {unit} failed")
            errors.append(f"{unit}: {error}")


@dataclass(frozen=True)
class _Runner:
    """What the units of one call have in common."""

    data: Path
    index: dict[str, Any]
    out: Path
    settings: Settings
    tasks: list[Benchmark]
    scratch: Path

    def run(self, model: str, told: dict[str, Any], task: Benchmark) -> None:
        """Fill the unit's folder, unless it is there."""
        entry, window = self.index[task.name], told.get("max_length") or told["max_model_len"]
        inputs = {
            "model": self.out / model / IDENTITY,
            "task": task.task_file,
            "test": self.data / entry["test"],
            "shots": self.data / entry["shots"],
        }
        # The window as it is, so that a model's own and the same number given are one.
        config = {"task": task.name, "shots": task.shots, "dtype": told["dtype"], **self.settings.identity}
        config["max_length"] = window

        if self.settings.chat_template:
            config["chat_template"] = True

        def body(work: Path) -> dict[str, Any]:
            unit = Unit(model, task.name, str((work / "unit").resolve()))
            run_job(self._job(model, told, task, unit))
            for path in (work / "unit").iterdir():
                path.rename(work / path.name)
            (work / "unit").rmdir()
            return self._counts(work, task)

        run_stage("benchmark", inputs, config, self.out / model / task.name, body)

    def _job(self, model: str, told: dict[str, Any], task: Benchmark, unit: Unit) -> Job:
        """One unit's. All tasks of its kind are at hand: the longest prompt of them decides the batch size."""
        alike = [its for its in self.tasks if its.kind == task.kind and its.shots == task.shots]
        folder = self.scratch / "tasks" / f"{task.kind}-{task.shots}"
        for its in alike:
            write_task_file(its, self.index[its.name], self.data, folder)
        file = (self.out / model / BATCH_SIZES).resolve()
        settings = self.settings
        return Job(
            {model: told},
            [unit],
            folder,
            self.scratch,
            backend=settings.backend,
            limits=settings.limits,
            shots=task.shots,
            batch_size=settings.batch_size,
            measure=Measure(task.kind, [its.name for its in alike], str(file)),
            chat_template=settings.chat_template,
            gpus=settings.gpus,
        )

    def _counts(self, work: Path, task: Benchmark) -> dict[str, Any]:
        """What was found, after a look at whether it is whole."""
        samples = read_rows(work / SAMPLES)
        value = read_json(work / RESULTS)["results"][task.name][task.score_key]
        wanted = min(self.settings.limits.questions or task.questions, self.index[task.name]["questions"])
        check_samples(task, samples, value, wanted)
        answers = read_rows(work / ANSWERS)
        flags = {flag: sum(bool(row[flag]) for row in answers) for flag in ("truncated", "unparseable", "prompt_cut")}
        settings = self.settings
        extra = {"vllm": metadata.version("vllm")} if settings.backend == "vllm" else {}
        counts = {"questions": len(samples), task.score_key: value, **flags, **extra}
        if flags["prompt_cut"]:
            log.warn(f"eval: {task.name}: {flags['prompt_cut']} of {len(answers)} prompts were cut to fit the window")
        return counts | {"gpus": settings.gpus} | read_json(work / SETTINGS)


def write_task_file(task: Benchmark, entry: dict[str, Any], data: Path, folder: Path) -> None:
    """Write the task file that is run: the packaged one, included, with other paths of its data and nothing else."""
    suffix = Path(entry["test"]).suffix
    paths = {"test": entry["test"], task.shots_split: entry["shots"]}
    value = {
        "include": str(task.task_file),
        "dataset_path": {".parquet": "parquet", ".jsonl": "json"}[suffix],
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str((data / path).resolve()) for split, path in paths.items()}},
    }
    write_text(folder / f"{task.name}.yaml", yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def check_samples(task: Benchmark, samples: list[dict[str, Any]], value: Any, wanted: int) -> None:
    """Check that a unit's results are whole.

    Raises:
        EvaluationFailed: questions are missing or there twice, or a score or a log-probability is no number.
    """
    ids = {sample["doc_id"] for sample in samples}
    if len(ids) != wanted or len(samples) != wanted:
        raise EvaluationFailed(f"{len(samples)} samples of {len(ids)} questions in {SAMPLES}, not {wanted}")
    numbers = [value]
    if not task.generates:
        numbers += [float(choice[0]) for sample in samples for choice in sample["filtered_resps"]]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise EvaluationFailed(f"a score or a log-probability in {SAMPLES} is not a finite number: look at the weights")
