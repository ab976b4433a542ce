"""The stage that looks for texts for evaluation in a corpus: the tasks' questions, and its own test parts.

A document that contains one of them, or 13 consecutive words of one, is contaminated, and so is the question or test
document.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...core import log
from ...core.errors import UserError, check_known
from ...core.files import atomic_path, write_json, write_text
from ...core.log import counted
from ...core.manifest import Manifest, run_stage
from ..documents.store import FOLDER, TOTALS, document_files, filter_documents, read_counts, read_documents
from ..tasks.at_work import TASKS, remove_tasks, tasks_at_work
from ..tasks.task_options import Tasks
from .corpus_search import TEST_PARTS, search
from .evaluation_texts import EvaluationText, EvaluationTexts, Way

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner

FLAG, DROP = "flag", "drop"
"""Treatments of contaminated documents: they are listed, or also left out of a corpus that is written."""
SPLIT = "original_split"
QUESTIONS = "contaminated.jsonl"
OVERLAPS = "overlaps.parquet"
SUMMARY = "contamination.json"
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("source", "doc_id", "origin", "task", "item")),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("row", "runs")),
        pa.field("share", pa.float64(), nullable=False),
    ]
)
"""A document; the task and the question's `doc_id` there, or an empty text and `source/doc_id` of a document of a test
part; the document's place in its source; different runs that both have, and their share of the item's."""


def decontaminate(
    corpus: Path,
    questions: Mapping[str, Sequence[Sequence[str]]],
    out: Path,
    *,
    treatment: str = FLAG,
    tasks: Tasks | None = None,
) -> Manifest:
    """Look for questions, and for the corpus's own test and validation parts, in the documents that may be trained on.

    Writes `contaminated.jsonl`, the questions that a document shares a run with, as `report build --contaminated` reads
    them, `overlaps.parquet`, and `contamination.json` with their numbers; with DROP also `documents/`, a corpus without
    the contaminated documents. The manifest's counts are the corpus's, and of each source the contaminated documents
    and their words.

    Args:
        corpus: a corpus stage's folder.
        questions: task -> its questions, in the order of their `doc_id`: the text of each, then its choices.
        out: the folder to make.
        treatment: FLAG or DROP.
        tasks: how the search is divided, and who does it; None for threads of this process. What is written does not
            depend on it.

    Raises:
        Failed: a worker was killed, or a job failed; the same call continues with the unfinished tasks.
        UserError: there is no such treatment, nothing to look for, or the folder is not a corpus.
    """
    check_known(treatment, (FLAG, DROP), "treatment", "--treatment")
    files = document_files(corpus)
    asked = {task: [list(texts) for texts in each] for task, each in questions.items()}
    asked_sha256 = sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()

    def body(work: Path) -> dict[str, Any]:
        items = [*_questions(questions), *_test_documents(files)]
        if not items:
            fix = "name the folder of the tasks' data with --data"
            raise UserError("there is nothing to look for: no question, no test part", where=str(corpus), fix=fix)
        texts = EvaluationTexts(items)
        with tasks_at_work("contamination", work / TASKS, tasks) as runner:
            overlaps = search(files, texts, runner)
            shared = _shared(overlaps, files)
            _write(overlaps, shared, texts, files=files, work=work)
            write_json(work / SUMMARY, _summary(shared, texts))
            counts = _treat(shared, files, work, runner, drop=treatment == DROP)
        remove_tasks(work)
        return counts

    inputs = {"corpus": corpus, "questions": asked_sha256}
    stage = "corpus" if treatment == DROP else "contamination"
    config = {"treatment": treatment, "tasks": sorted(questions)}
    return run_stage(stage, inputs, config, out, body=body, resumes=tasks is not None)


def _questions(questions: Mapping[str, Sequence[Sequence[str]]]) -> Iterator[EvaluationText]:
    for task, texts in questions.items():
        yield from (EvaluationText(task, str(number), tuple(each)) for number, each in enumerate(texts))


def _test_documents(files: Mapping[str, Path]) -> Iterator[EvaluationText]:
    """The documents of test and validation parts, each text once."""
    seen: set[str] = set()
    for source, path in files.items():
        for text, key, _ in read_documents(path, ("text", "doc_id", SPLIT), where=(SPLIT, TEST_PARTS)):
            if text not in seen:
                seen.add(text)
                yield EvaluationText("", f"{source}/{key}", (text,))


@dataclass(frozen=True)
class _Shared:
    """The contaminated documents, and the items that they share text with.

    Attributes:
        rows: source -> places of its contaminated documents, in order; [documents].
        items: numbers of the items that a document shares something with, in order.
    """

    rows: dict[str, np.ndarray]
    items: list[int]


def _shared(overlaps: Iterable[pa.Table], files: Mapping[str, Path]) -> _Shared:
    rows = {source: [np.empty(0, np.int64)] for source in files}
    items = np.empty(0, np.int64)
    for table in overlaps:
        rows[_source(table)].append(np.unique(table["row"].to_numpy()))
        items = np.union1d(items, table["item"].to_numpy())
    return _Shared({source: np.unique(np.concatenate(each)) for source, each in rows.items()}, items.tolist())


def _source(table: pa.Table) -> str:
    """The source that all rows of a table are of."""
    return table["source"][0].as_py()


def _write(
    overlaps: Iterable[pa.Table], shared: _Shared, texts: EvaluationTexts, *, files: Mapping[str, Path], work: Path
) -> None:
    """Write the overlaps, in the corpus's order, and the contaminated questions."""
    tasks, keys = (pa.array([getattr(item, name) for item in texts.items], pa.string()) for name in ("task", "key"))
    with atomic_path(work / OVERLAPS) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        for source, tables in groupby(overlaps, _source):
            doc_ids, origins = _facts(files[source], shared.rows[source])
            for table in tables:
                rows, items, runs = (table[name].to_numpy() for name in ("row", "item", "runs"))
                places = np.searchsorted(shared.rows[source], rows)
                columns = {
                    "source": pa.repeat(source, len(rows)), "doc_id": doc_ids.take(places),
                    "origin": origins.take(places), "task": tasks.take(items), "item": keys.take(items),
                    "row": rows, "runs": runs, "share": runs / texts.runs[items],
                }  # fmt: skip
                writer.write_table(pa.table([columns[name] for name in SCHEMA.names], SCHEMA))
    asked = (texts.items[number] for number in shared.items)
    lines = (json.dumps({"task": item.task, "doc_id": int(item.key)}) + "\n" for item in asked if item.task)
    write_text(work / QUESTIONS, "".join(lines))


def _facts(path: Path, rows: np.ndarray) -> list[pa.Array]:
    """`doc_id` and `origin` of the documents in rows of a source, in order."""
    needed = set(rows.tolist())
    facts = [fact for row, fact in enumerate(read_documents(path, ("doc_id", "origin"))) if row in needed]
    return [pa.array(values, pa.string()) for values in zip(*facts, strict=True)]


@dataclass
class Counts:
    """Number of questions of a task, or of documents of test parts.

    Attributes:
        all: how many there are.
        by_way: how many are looked for in each way.
        contaminated: how many a document has.
        choices: of all questions.
        choices_passed_over: of them, those that are not looked for.
    """

    all: int = 0
    by_way: dict[str, int] = field(default_factory=lambda: dict.fromkeys(map(str, Way), 0))
    contaminated: int = 0
    choices: int = 0
    choices_passed_over: int = 0

    def sentence(self, task: str) -> str:
        """The counts in words."""
        document, documents = "document of a test part", "documents of test parts"
        what = f"{task}: {counted(self.all, 'question')}" if task else counted(self.all, document, documents)
        too_short, choices = self.by_way[Way.TOO_SHORT], self.choices_passed_over
        passed_over = f"; {choices:,} of {counted(self.choices, 'choice')} not looked for" if self.choices else ""
        return f"{what}: {self.contaminated:,} contaminated, {too_short:,} too short to be looked for{passed_over}"


def _summary(shared: _Shared, texts: EvaluationTexts) -> dict[str, Any]:
    """Counts of each task, and of the test parts."""
    by_task: dict[str, Counts] = {}
    contaminated = {*shared.items}
    for number, (item, way) in enumerate(zip(texts.items, texts.ways, strict=True)):
        counts = by_task.setdefault(item.task, Counts())
        counts.all += 1
        counts.by_way[way] += 1
        counts.contaminated += number in contaminated
        counts.choices += len(item.texts) - 1
        counts.choices_passed_over += int(texts.choices_passed_over[number])
    for task, counts in by_task.items():
        log.info(f"contamination: {counts.sentence(task)}")
    by_name = {task: asdict(counts) for task, counts in by_task.items()}
    return {"test_parts": by_name.pop("", asdict(Counts())), "tasks": by_name}


def _treat(
    shared: _Shared, files: Mapping[str, Path], work: Path, runner: "TaskRunner | None", *, drop: bool
) -> dict[str, Any]:
    """Count the contaminated documents of each source; copy the corpus without them if they are to be dropped."""
    treated = {
        source: _treated(path, work / FOLDER / path.name, shared.rows[source].tolist())
        for source, path in files.items()
    }
    counts = {source: each.counts for source, each in treated.items()}
    if not drop:
        return counts
    left = {source: each for source, each in treated.items() if len(each.rows) < each.documents}
    if not left:
        raise UserError("every document is contaminated", where=str(next(iter(files.values())).parent.parent))
    (work / FOLDER).mkdir(exist_ok=True)
    if runner:
        runner.run("drop", _Treated.drop, [*left.values()])
    else:
        for each in left.values():
            each.drop()
    for source in files:
        if source in left:
            counts[source].update({name: read_counts(left[source].out)[name] for name in TOTALS})
        else:
            counts[source].update(dict.fromkeys(TOTALS, 0))
            log.warn(f"contamination: every document of {source} is contaminated, and left out")
    return counts


@dataclass(frozen=True)
class _Treated:
    """The contaminated documents of a source.

    Attributes:
        path: its file.
        out: the file without them.
        rows: their places in it.
        documents: all that it has.
        counts: the source's, with those of these documents.
    """

    path: Path
    out: Path
    rows: list[int]
    documents: int
    counts: dict[str, Any]

    def drop(self) -> None:
        """Write the source without them."""
        keep = np.ones(self.documents, bool)
        keep[self.rows] = False
        shutil.copyfile(self.path, self.out)
        filter_documents(self.out, keep, self.counts)


def _treated(path: Path, out: Path, rows: list[int]) -> _Treated:
    words = [words for (words,) in read_documents(path, ("words",))]
    contaminated = {"documents": len(rows), "words": sum(int(words[row]) for row in rows)}
    counts = read_counts(path) | {"contaminated": contaminated}
    return _Treated(path, out, rows, documents=len(words), counts=counts)
