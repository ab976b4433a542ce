"""Writes docs/formats.md: the files that stages leave, with their fields, from the classes that write and read them.

`python -m pdapt.cli.pages.formats_page > docs/formats.md`.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from ...core.checkpoint import HASHES_FILE, IDENTITY, HashesRecord
from ...core.manifest import MANIFEST_FILE, Manifest
from ...data_prep.decontaminate import decontaminate
from ...data_prep.dedup import corpus_duplicates
from ...data_prep.documents import store
from ...data_prep.documents.record import Rejected
from ...data_prep.publish import croissant
from ...data_prep.tokens.tokens_record import RECORD, DataSet, TokensRecord
from ...eval.benchmark.results_folder import MODEL_FILE, PLAN_FILE, Member, ModelIdentity, Plan, PlannedTask
from ...eval.heldout.task_index import TASKS_FILE, HeldoutTask
from ...eval.scores import SCORES_FILE, Comparison, Score, Scores
from ...eval.statistics.tradeoff import TRADEOFF_FILE, Change, Point, Tradeoff
from ...eval.tasks.data_index import DATA_INDEX_FILE, TaskData
from ...launch.request import REQUEST_FILE, Reading, Request
from ...training.preflight.node_facts import NodeFacts
from ...training.preflight.start_check import PREFLIGHT
from ...training.run import journal
from ...training.run.identity import RunIdentity
from ...training.run.journal import JOURNAL_FILE
from ...training.run.run_state import STATE, RunState

COMMAND = "python -m pdapt.cli.pages.formats_page > docs/formats.md"
HEAD = f"""# File formats

<!-- Written by `{COMMAND}`. -->

The files that stages leave, with their fields. JSON is UTF-8; JSON Lines has one object a line; Parquet is compressed
with zstd. Capitals stand for a folder that you name.
"""
COLUMNS = croissant.DESCRIPTIONS | {
    "text": croissant.DESCRIPTIONS["input"],
    "authors": "authors, as the publisher writes them",
    "title": "title of the document",
    "cluster": "number of the cluster of similar documents",
    "kind": "`kept` for the document that stands for its cluster; the others are `exact` copies of it, have the same "
    "`words` in the same order, or are `near` copies",
    "similarity": "share of the 5-word sequences that it has in common with the kept document",
    "row": "place of the document in its source, from 0",
    "task": "task of the question; empty for a document of a test part",
    "item": "`doc_id` of the question; `source/doc_id` of a document of a test part",
    "runs": "number of different sequences of 13 words that document and question share",
    "share": "`runs` as a share of the question's sequences",
}
"""Column of a Parquet file -> its meaning."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        path: where it is.
        kind: JSON, JSON Lines, Parquet or bytes.
        meaning: a sentence.
        contents: classes whose fields it has, the whole first; a schema of Parquet; or text.
    """

    path: str
    kind: str
    meaning: str
    contents: tuple[type | pa.Schema | str, ...]


FORMATS = (
    Format(
        f"STAGE/{MANIFEST_FILE}", "JSON",
        "What a stage read, did and wrote. It is written last, with a hash of its own.", (Manifest,),
    ),
    Format(f"CORPUS/{store.FOLDER}/SOURCE.parquet", "Parquet", "The documents of a source.", (store.SCHEMA,)),
    Format(f"CORPUS/{store.REJECTED}", "Parquet", "Documents that cannot be read.", (Rejected,)),
    Format(
        f"CORPUS/{corpus_duplicates.DUPLICATES}", "Parquet",
        "Clusters of equal and similar documents, and which one is kept of each.", (corpus_duplicates.SCHEMA,),
    ),
    Format(
        f"CORPUS/{decontaminate.OVERLAPS}", "Parquet", "Documents that share text with a question.",
        (decontaminate.SCHEMA,),
    ),
    Format(
        f"CORPUS/{decontaminate.QUESTIONS}", "JSON Lines", "Questions that share text with the corpus.",
        ("`task`: name of the task; `doc_id`: number of the question in the task.",),
    ),
    Format(f"TOKENS/{RECORD}", "JSON", "The data sets of a tokens folder.", (TokensRecord, DataSet)),
    Format(
        "TOKENS/SPLIT/NAME.answers", "Bytes", "Which ids of `NAME.bin` are learned, in a folder of conversations.",
        ("A byte for each id, in the same order: 1 for a token of an answer or the token that ends it, else 0.",),
    ),
    Format(f"TASKS/{TASKS_FILE}", "JSON", "A list of the tasks made from held-out text.", (HeldoutTask,)),
    Format(f"BENCHMARK/{DATA_INDEX_FILE}", "JSON", "Name of a task -> its data.", (TaskData,)),
    Format(f"RUN/{REQUEST_FILE}", "JSON", "The options of `pdapt run`.", (Request, Reading)),
    Format(f"RUN/{IDENTITY}", "JSON", "Everything that determines the steps of a training run.", (RunIdentity,)),
    Format(f"RUN/{JOURNAL_FILE}", "JSON Lines", "A run's journal.", (inspect.cleandoc(journal.__doc__ or ""),)),
    Format(f"RUN/{STATE}", "JSON", "How the last start of a run ended.", (RunState,)),
    Format(f"RUN/{PREFLIGHT}", "JSON", "What was checked at the last start; `nodes` has for each node:", (NodeFacts,)),
    Format(f"CHECKPOINT/{HASHES_FILE}", "JSON", "Where a checkpoint comes from, and hashes; with a hash of its own.",
    (HashesRecord,)), Format(f"SCORES/{SCORES_FILE}", "JSON", "Scores on held-out text.", (Scores, Score, Comparison)),
    Format(f"SCORES/{PLAN_FILE}", "JSON", "Models and tasks of a folder of results.", (Plan, Member, PlannedTask)),
    Format(f"SCORES/MODEL/{MODEL_FILE}", "JSON", "The model whose results a folder holds.", (ModelIdentity,)),
    Format(f"CURVE/{TRADEOFF_FILE}", "JSON", "The points between base and adapted model.", (Tradeoff, Point, Change)),
)  # fmt: skip


def document() -> str:
    """docs/formats.md."""
    return "\n".join([HEAD, *(part for each in FORMATS for part in _section(each))])


def _section(each: Format) -> Iterator[str]:
    yield f"## `{each.path}`\n\n{each.kind}. {each.meaning}\n"
    for number, content in enumerate(each.contents):
        if isinstance(content, str):
            yield content + "\n"
            continue
        if number:
            yield f"Fields of each `{content.__name__}`:\n"  # pyright: ignore[reportAttributeAccessIssue]
        rows = _columns(content) if isinstance(content, pa.Schema) else _fields(content)
        yield "\n".join(["| field | type | |", "|---|---|---|", *rows, ""])


def _columns(schema: pa.Schema) -> Iterator[str]:
    for column in schema:
        yield f"| `{column.name}` | {column.type}{' or null' if column.nullable else ''} | {COLUMNS[column.name]} |"


def _fields(kind: Any) -> Iterator[str]:
    meanings = attributes_of(kind)
    for each in fields(kind):
        type_name = re.sub(r"(\w+\.)+", "", inspect.formatannotation(each.type)).replace("|", "or")
        yield f"| `{each.name}` | {type_name} | {meanings[each.name]} |"


def attributes_of(kind: type) -> dict[str, str]:
    """Name -> meaning of the attributes in a class's docstring."""
    lines = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    joined = re.sub(r"\n {8,}", " ", lines)  # a meaning may go on in lines that are indented further
    meanings: dict[str, str] = {}
    for names, meaning in re.findall(r"^ {4}([\w, ]+): (.+)$", joined, re.MULTILINE):
        meanings |= dict.fromkeys(names.split(", "), meaning)
    return meanings


if __name__ == "__main__":
    print(document(), end="")
