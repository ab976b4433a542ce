"""The 28 tasks' data, put where a machine without internet can read them: `pdapt eval fetch`."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ...core import log
from ...core.errors import UserError
from ...core.files import require_file, write_json, write_text
from ...core.manifest import Manifest, run_stage
from ...data_prep.documents.store import parquet_errors
from .bioinstruct import MEMBER, questions, read_records, worked_examples
from .suite import FRENCH, MMLU, PROX, REVISIONS, SUITE, Benchmark

INDEX = "benchmark.json"
"""Task -> `test`, `shots` (files, relative to the folder), `questions`, `self_shots` (questions that are examples)."""
ARCHIVE = "data.zip"
COLUMNS = {
    MMLU: {"question", "choices", "answer"},
    PROX: {"question", "answer", "cot_content", "category", *(f"option_{n}" for n in range(10))},
}


@dataclass(frozen=True)
class Files:
    """Where a task's data come from, and where they go. Tasks of one language of MMLU-ProX share theirs."""

    test: str
    shots: str
    folder: str

    @staticmethod
    def of(task: Benchmark) -> "Files":
        """As the data set names them; French MMLU's are made, out of one archive."""
        if task.dataset == FRENCH:
            return Files(ARCHIVE, ARCHIVE, f"mmlu_med_fr/{task.subject}")
        part = task.language.lower() if task.dataset == PROX else task.subject
        folder = f"mmlu_prox/{part}" if task.dataset == PROX else f"mmlu/{part}"
        return Files(f"{part}/test-00000-of-00001.parquet", f"{part}/{task.shots_split}-00000-of-00001.parquet", folder)


def fetch(
    out: Path,
    *,
    source: Path | None = None,
    french_shots: Path | None = None,
    tasks: tuple[Benchmark, ...] = SUITE,
) -> Manifest:
    """Gather the data of tasks (stage `benchmark-data`).

    English MMLU and MMLU-ProX are kept as their authors' Parquet files; French MMLU becomes `test.jsonl` and
    `dev.jsonl`, one row a question. Each task's questions are counted against the paper's Table 2.

    Args:
        out: the folder to make; `benchmark.json` lists its tasks.
        source: a folder with the data sets' own files, as `<source>/<owner>/<name>/<file>`; none: they are downloaded
            from the Hub, each at its pinned revision.
        french_shots: records in the form of `French-full.json` that French MMLU's worked examples are taken from;
            none: the data set's own.
        tasks: which.

    Raises:
        UserError: a file is missing or of another form, or a task has another number of questions.
    """
    paths = _locate(tasks, source)
    inputs = {name.replace("/", "--"): path for name, path in paths.items()}
    if french_shots is not None:
        inputs["french-shots"] = require_file(french_shots)
    config = {"revisions": REVISIONS, "tasks": [task.name for task in tasks]}

    def body(work: Path) -> dict[str, Any]:
        shots = read_records(french_shots) if french_shots is not None else None
        records = _french(tasks, paths)
        index = {task.name: _prepare(task, paths, records, shots, work) for task in tasks}
        write_json(work / INDEX, index)
        return {"tasks": len(index), "questions": sum(entry["questions"] for entry in index.values())}

    return run_stage("benchmark-data", inputs, config, out, body)


def _locate(tasks: tuple[Benchmark, ...], source: Path | None) -> dict[str, Path]:
    """`<dataset>/<file>` -> where it is on this machine."""
    needed = sorted({(task.dataset, name) for task in tasks for name in (Files.of(task).test, Files.of(task).shots)})
    if source is None:
        return {f"{dataset}/{name}": _download(dataset, name) for dataset, name in needed}
    return {f"{dataset}/{name}": _given(source, dataset, name) for dataset, name in needed}


def _download(dataset: str, name: str) -> Path:
    log.info(f"fetch: {dataset}/{name}")
    try:
        return Path(hf_hub_download(dataset, name, repo_type="dataset", revision=REVISIONS[dataset]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{dataset}/{name} cannot be had from the Hub: {str(error).splitlines()[0]}",
            where=f"revision {REVISIONS[dataset]}",
            mend="run this where there is internet and take the folder along, or name a folder that holds the data "
            "sets' own files with --source",
        ) from None


def _given(source: Path, dataset: str, name: str) -> Path:
    path = source / dataset / name
    if name == ARCHIVE and not path.is_file() and (source / dataset / MEMBER).is_file():
        path = source / dataset / MEMBER
    if not path.is_file():
        raise UserError(
            f"{dataset}: {name} is not there",
            where=str(path),
            mend=f"hf download {dataset} {name} --repo-type dataset --revision {REVISIONS[dataset]} "
            f"--local-dir {source / dataset}",
        )
    return require_file(path)


def _french(tasks: tuple[Benchmark, ...], paths: dict[str, Path]) -> list[dict[str, Any]]:
    """The records of the archive, read once for all of its tasks."""
    wanted = any(task.dataset == FRENCH for task in tasks)
    return read_records(paths[f"{FRENCH}/{ARCHIVE}"]) if wanted else []


def _prepare(
    task: Benchmark,
    paths: dict[str, Path],
    records: list[dict[str, Any]],
    shots: list[dict[str, Any]] | None,
    work: Path,
) -> dict[str, Any]:
    """Write a task's files; its entry in the index."""
    files = Files.of(task)
    (work / files.folder).mkdir(parents=True, exist_ok=True)
    where = str(paths[f"{task.dataset}/{files.test}"])
    if task.dataset == FRENCH:
        test = questions(records, task.subject, where)
        examples = _french_examples(task, records, shots, test, where)
        names = {"test": f"{files.folder}/test.jsonl", "shots": f"{files.folder}/dev.jsonl"}
        for name, rows in (("test", test), ("shots", examples)):
            write_text(work / names[name], "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        asked, shown = [row["question"] for row in test], [row["question"] for row in examples]
    else:
        names = {"test": f"{files.folder}/test.parquet", "shots": f"{files.folder}/{task.shots_split}.parquet"}
        for name, file in (("test", files.test), ("shots", files.shots)):
            if not (work / names[name]).exists():
                shutil.copyfile(paths[f"{task.dataset}/{file}"], work / names[name])
        asked, shown = (_texts(work / names[name], task) for name in ("test", "shots"))
    return names | _counted(task, asked, shown, where)


def _french_examples(
    task: Benchmark,
    records: list[dict[str, Any]],
    shots: list[dict[str, Any]] | None,
    test: list[dict[str, Any]],
    where: str,
) -> list[dict[str, Any]]:
    if shots is None:
        return worked_examples(records, task.subject, test, task.shots, where)
    given = [{**row, "few_shot_samples[1]": [row]} for row in shots]
    return worked_examples(given, task.subject, test, task.shots, "--french-shots")


def _texts(path: Path, task: Benchmark) -> list[str]:
    """The questions of a Parquet file that belong to a task."""
    with parquet_errors(path):
        columns = set(pq.read_schema(path).names)
    missing = sorted(COLUMNS[task.dataset] - columns)
    if missing:
        raise UserError(
            f"{task.name}: columns that are missing: {', '.join(missing)}",
            where=str(path),
            allowed=f"{task.dataset} at revision {REVISIONS[task.dataset]}",
        )
    category = [("category", "==", task.subject.replace("_", " "))] if task.dataset == PROX else None
    with parquet_errors(path):
        questions = pq.read_table(path, columns=["question"], filters=category)["question"].to_pylist()
    if not all(isinstance(question, str) for question in questions):
        raise UserError(f"{task.name}: a question is no text", where=str(path))
    return questions


def _counted(task: Benchmark, asked: list[str], shown: list[str], where: str) -> dict[str, Any]:
    if len(asked) != task.questions:
        raise UserError(
            f"{task.name} has {len(asked)} questions, not {task.questions}",
            where=where,
            allowed=f"{task.dataset} at revision {REVISIONS[task.dataset]}",
        )
    if len(shown) < task.shots:
        raise UserError(f"{task.name} has {len(shown)} worked examples, not {task.shots}", where=where)
    self_shots = sum(text in shown[: task.shots] for text in asked)
    if self_shots:
        log.warn(f"{task.name}: {self_shots} of its questions are worked examples, too")
    return {"questions": len(asked), "self_shots": self_shots}
