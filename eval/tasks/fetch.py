"""The tasks' data, downloaded or drawn, in a folder for machines without internet: `pdapt eval fetch`."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ...core import log
from ...core.errors import UserError
from ...core.files import require_file, write_json, write_text
from ...core.log import counted
from ...core.manifest import Manifest, run_stage
from ...data_prep.documents.store import parquet_errors
from ..clinical.documents.document_tasks import DocumentTask, source_folder
from ..clinical.numbers.number_questions import SEED
from ..clinical.numbers.number_tasks import NumberTask
from .bioinstruct import RECORDS_FILE, Question, Record, questions, read_records, worked_examples
from .data_index import DATA_INDEX_FILE, TaskData
from .suite import DATASET_REVISIONS, FRENCH_MMLU_DATASET, MMLU_DATASET, PROX_DATASET, SUITE, Benchmark

FRENCH_ARCHIVE = "data.zip"
REQUIRED_COLUMNS = {
    MMLU_DATASET: {"question", "choices", "answer"},
    PROX_DATASET: {"question", "answer", "cot_content", "category", *(f"option_{n}" for n in range(10))},
}


@dataclass(frozen=True)
class DatasetFiles:
    """Files of a task in its data set, and the folder they are copied to.

    Tasks of one language of MMLU-ProX share them.
    """

    test: str
    shots: str
    folder: str

    @staticmethod
    def of(task: Benchmark) -> "DatasetFiles":
        """As the data set names them; French MMLU's are made from one archive."""
        if task.dataset == FRENCH_MMLU_DATASET:
            return DatasetFiles(FRENCH_ARCHIVE, FRENCH_ARCHIVE, f"mmlu_med_fr/{task.subject}")
        part = task.language.lower() if task.dataset == PROX_DATASET else task.subject
        folder = f"mmlu_prox/{part}" if task.dataset == PROX_DATASET else f"mmlu/{part}"
        return DatasetFiles(
            f"{part}/test-00000-of-00001.parquet", f"{part}/{task.shots_split}-00000-of-00001.parquet", folder
        )


def fetch_tasks(
    out: Path,
    *,
    source: Path | None = None,
    french_shots: Path | None = None,
    tasks: Sequence[Benchmark] = SUITE,
) -> Manifest:
    """Fetch the data of tasks (stage `benchmark-data`).

    English MMLU and MMLU-ProX are kept as their authors' Parquet files; French MMLU becomes `test.jsonl` and
    `dev.jsonl`, one row a question. Each task's questions are counted against the paper's Table 2. The questions on
    numbers are drawn, and nothing is downloaded for them.

    Args:
        out: the folder to make; `benchmark.json` lists its tasks.
        source: a folder with the data sets' own files, as `<source>/<owner>/<name>/<file>`; none: they are downloaded
            from the Hub, each at its pinned revision. Of tasks on clinical documents, the folder of `pdapt corpus
            collect`.
        french_shots: records in the form of `French-full.json` that French MMLU's worked examples are taken from;
            none: the data set's own.
        tasks: of `all_tasks`.

    Raises:
        UserError: a file is missing or of another form, or a task has another number of questions.
    """
    drawn = [task for task in tasks if isinstance(task, NumberTask)]
    of_documents = [task for task in tasks if isinstance(task, DocumentTask)]
    published = [task for task in tasks if task not in drawn and task not in of_documents]
    folders = _document_folders(of_documents, source)
    paths = _source_files(published, source)
    inputs = {name.replace("/", "--"): path for name, path in paths.items()}
    inputs |= folders
    if french_shots is not None:
        inputs["french-shots"] = require_file(french_shots)
    config: dict[str, Any] = {"revisions": DATASET_REVISIONS, "tasks": [task.name for task in tasks]}
    config |= {"numbers": SEED} if drawn else {}

    def body(work: Path) -> dict[str, Any]:
        shots = read_records(french_shots) if french_shots is not None else None
        records = _french_records(published, paths)
        index = {task.name: _write_task(task, paths, records=records, shots=shots, work=work) for task in published}
        for task in of_documents:
            test, examples, questions = task.write_questions(folders[task.dataset], work)
            index[task.name] = TaskData(test, examples, questions)
        index |= {task.name: TaskData(*task.write_questions(work), task.questions) for task in drawn}
        write_json(work / DATA_INDEX_FILE, {name: data.to_json() for name, data in index.items()})
        return {"tasks": len(index), "questions": sum(data.questions for data in index.values())}

    return run_stage("benchmark-data", inputs, config, out=out, body=body)


def _document_folders(tasks: Sequence[DocumentTask], source: Path | None) -> dict[str, Path]:
    """Key of each source of clinical documents -> its folder."""
    if tasks and source is None:
        keys = " ".join(sorted({task.dataset for task in tasks}))
        raise UserError(
            f"{tasks[0].name} is made of a source's own files",
            where="--source",
            fix=f"pdapt corpus collect {keys} --out raw, then --source raw",
        )
    return {task.dataset: source_folder(source, task.dataset) for task in tasks} if source else {}


def _source_files(tasks: Sequence[Benchmark], source: Path | None) -> dict[str, Path]:
    """`<dataset>/<file>` -> where it is on this machine."""
    needed = sorted(
        {(task.dataset, name) for task in tasks for name in (DatasetFiles.of(task).test, DatasetFiles.of(task).shots)}
    )
    if source is None:
        return {f"{dataset}/{name}": _download(dataset, name) for dataset, name in needed}
    return {f"{dataset}/{name}": _local_file(source, dataset, name) for dataset, name in needed}


def _download(dataset: str, name: str) -> Path:
    log.info(f"fetch: {dataset}/{name}")
    try:
        return Path(hf_hub_download(dataset, name, repo_type="dataset", revision=DATASET_REVISIONS[dataset]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{dataset}/{name} cannot be downloaded from the Hub: {str(error).splitlines()[0]}",
            where=f"revision {DATASET_REVISIONS[dataset]}",
            fix="run this where there is internet and copy the folder, or name a folder that holds the data "
            "sets' own files with --source",
        ) from None


def _local_file(source: Path, dataset: str, name: str) -> Path:
    path = source / dataset / name
    if name == FRENCH_ARCHIVE and not path.is_file() and (source / dataset / RECORDS_FILE).is_file():
        path = source / dataset / RECORDS_FILE
    if not path.is_file():
        raise UserError(
            f"{dataset}: {name} is missing",
            where=str(path),
            fix=f"hf download {dataset} {name} --repo-type dataset --revision {DATASET_REVISIONS[dataset]} "
            f"--local-dir {source / dataset}",
        )
    return require_file(path)


def _french_records(tasks: Sequence[Benchmark], paths: dict[str, Path]) -> list[Record]:
    """The records of the archive, read once for all of its tasks."""
    wanted = any(task.dataset == FRENCH_MMLU_DATASET for task in tasks)
    return read_records(paths[f"{FRENCH_MMLU_DATASET}/{FRENCH_ARCHIVE}"]) if wanted else []


def _write_task(
    task: Benchmark,
    paths: dict[str, Path],
    *,
    records: list[Record],
    shots: list[Record] | None,
    work: Path,
) -> TaskData:
    """Write a task's files, and return its entry in the index."""
    files = DatasetFiles.of(task)
    (work / files.folder).mkdir(parents=True, exist_ok=True)
    where = str(paths[f"{task.dataset}/{files.test}"])
    if task.dataset == FRENCH_MMLU_DATASET:
        test = questions(records, task.subject, where)
        examples = _french_examples(task, records, shots, test=test, where=where)
        names = (f"{files.folder}/test.jsonl", f"{files.folder}/dev.jsonl")
        for name, written in zip(names, (test, examples), strict=True):
            lines = (json.dumps(question.to_json(), ensure_ascii=False) + "\n" for question in written)
            write_text(work / name, "".join(lines))
        asked, shown = [question.question for question in test], [example.question for example in examples]
    else:
        names = (f"{files.folder}/test.parquet", f"{files.folder}/{task.shots_split}.parquet")
        for name, file in zip(names, (files.test, files.shots), strict=True):
            if not (work / name).exists():
                shutil.copyfile(paths[f"{task.dataset}/{file}"], work / name)
        asked, shown = (texts_of_questions(work / name, task) for name in names)
    return TaskData(*names, len(asked), _check_counts(task, asked, shown, where))


def _french_examples(
    task: Benchmark, records: list[Record], shots: list[Record] | None, test: list[Question], where: str
) -> list[Question]:
    if shots is None:
        return worked_examples(records, task.subject, test, count=task.shots, where=where)
    given = [{**record, "few_shot_samples[1]": [record]} for record in shots]
    return worked_examples(given, task.subject, test, count=task.shots, where="--french-shots")


def texts_of_questions(path: Path, task: Benchmark) -> list[str]:
    """The texts of a task's questions in a Parquet file.

    Raises:
        UserError: the file is damaged, or lacks a column.
    """
    with parquet_errors(path):
        columns = set(pq.read_schema(path).names)
    missing = sorted(REQUIRED_COLUMNS[task.dataset] - columns)
    if missing:
        raise UserError(
            f"{task.name}: missing columns: {', '.join(missing)}",
            where=str(path),
            allowed=f"{task.dataset} at revision {DATASET_REVISIONS[task.dataset]}",
        )
    rows = read_columns(path, task, ["question"])
    if not all(isinstance(row["question"], str) for row in rows):
        raise UserError(f"{task.name}: a question is not text", where=str(path))
    return [row["question"] for row in rows]


def read_columns(path: Path, task: Benchmark, columns: list[str]) -> list[dict[str, Any]]:
    """Columns of a task's questions in a Parquet file, a row for each question.

    Raises:
        UserError: the file is damaged.
    """
    category = [("category", "==", task.subject.replace("_", " "))] if task.dataset == PROX_DATASET else None
    with parquet_errors(path):
        return pq.read_table(path, columns=columns, filters=category).to_pylist()


def _check_counts(task: Benchmark, asked: list[str], shown: list[str], where: str) -> int:
    """Check numbers of questions and worked examples; return how many questions are worked examples, too."""
    if len(asked) != task.questions:
        raise UserError(
            f"{task.name} has {counted(len(asked), 'question')}, not {task.questions}",
            where=where,
            allowed=f"{task.dataset} at revision {DATASET_REVISIONS[task.dataset]}",
        )
    if len(shown) < task.shots:
        raise UserError(f"{task.name} has {counted(len(shown), 'worked example')}, not {task.shots}", where=where)
    self_shots = sum(text in shown[: task.shots] for text in asked)
    if self_shots:
        log.warn(f"{task.name}: {self_shots} of its questions are also worked examples")
    return self_shots
