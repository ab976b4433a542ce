"""Task files for lm-eval, made from held-out documents: perplexity, and choosing the true continuation."""

import hashlib
import heapq
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from ...core import log
from ...core.errors import UserError
from ...core.files import write_json, write_text
from ...core.log import counted
from ...core.manifest import Manifest, run_stage
from ...data_prep.documents.description import describe
from ...data_prep.documents.discover import discover
from ...data_prep.documents.faults import check_rejected, together
from ...data_prep.documents.reading import find_documents, read_source
from ...data_prep.documents.record import Rejected
from ...data_prep.documents.survey import Survey
from .domains import check_names, check_texts
from .task_index import DOMAIN_NAME, TASKS_FILE, HeldoutTask, TaskKind

CHOICES = 4
MORE_TEXT = "hold out a larger fraction (--valid-fraction), or give more text"
CONTINUATION_WORDS = 12
CONTEXT_WORDS = 32
MIN_CONTEXT_WORDS = 12
QUESTIONS_A_DOCUMENT = 8
"""The most questions about one document."""


@dataclass(frozen=True)
class Document:
    """A held-out document."""

    source: str
    doc_id: str
    text: str

    def order(self, seed: int) -> str:
        """Key of a pseudo-random order, which depends on the document's name and the seed only."""
        return hashlib.sha256(f"{seed}\0{self.source}\0{self.doc_id}".encode()).hexdigest()


@dataclass(frozen=True)
class Passage:
    """A passage of a document, cut between two words; the continuation begins with its white space."""

    document: Document
    number: int
    context: str
    continuation: str


def build_tasks(
    domains: dict[str, list[Path]], out: Path, *, documents: int = 500, questions: int = 100, seed: int = 0
) -> Manifest:
    """Make lm-eval tasks from held-out documents (stage `tasks`).

    For a domain D: `perplexity_D` (`loglikelihood_rolling`; word and byte perplexity, bits per byte) over whole
    documents, and `continuation_D` (`multiple_choice`; acc, acc_norm), which shows 12 to 32 words and asks which of
    four passages of 12 words follows; the three wrong ones come from other documents of the domain. The YAML files
    name their data relative to the folder, so lm-eval runs with the folder as its working directory. Documents are in
    pseudo-random order, and questions ask about each once before they ask about any again: the first N are a sample.

    Args:
        domains: domain -> files or folders with documents, of any format that `corpus build` reads: `TOKENS/heldout`,
            or a file of it.
        out: the folder of tasks to make.
        documents: largest number of documents of a domain.
        questions: largest number of continuation questions of a domain.
        seed: decides which documents, passages and wrong answers are drawn.

    Raises:
        UserError: a path does not exist, files cannot be read, a domain is too small, or two domains cannot be told
            apart (see `domains`).
    """
    _check(domains, documents, questions)
    inputs = {f"{domain}/{i}": path for domain, paths in domains.items() for i, path in enumerate(paths)}
    config = {"documents": documents, "questions": questions, "seed": seed}

    def body(work: Path) -> dict[str, Any]:
        tasks: list[HeldoutTask] = []
        counts: dict[str, Any] = {}
        samples = _sample(domains, documents, seed)
        check_names({domain: {document.source for document in chosen} for domain, chosen in samples.items()})
        check_texts({domain: {document.text for document in chosen} for domain, chosen in samples.items()})
        for domain, chosen in samples.items():
            asked = _choose_questions(domain, chosen, questions, seed)
            _write_task(work, _perplexity_task(domain), [{"text": d.text, **_origin(d)} for d in chosen])
            _write_task(work, _continuation_task(domain), asked)
            tasks += [HeldoutTask.of(kind, domain) for kind in TaskKind]
            sources = dict(sorted(Counter(document.source for document in chosen).items()))
            counts[domain] = {"documents": len(chosen), "questions": len(asked), "sources": sources}
            log.info(f"tasks: {domain}: {counted(len(chosen), 'document')}, {counted(len(asked), 'question')}")
        write_json(work / TASKS_FILE, [task.to_json() for task in tasks])
        return counts

    return run_stage("tasks", inputs, config, out=out, body=body)


def _check(domains: dict[str, list[Path]], documents: int, questions: int) -> None:
    if not domains or not all(domains.values()):
        raise UserError("a domain needs at least one folder of held-out documents", fix="give DOMAIN=FOLDER")
    for domain in domains:
        if not re.fullmatch(DOMAIN_NAME, domain):
            raise UserError(f"{domain!r} cannot name a domain", allowed="lower-case letters, digits and hyphens")
    for name, value in (("documents", documents), ("questions", questions)):
        if value < CHOICES:
            raise UserError(f"{name} = {value} is too small", allowed=f"{CHOICES} or more")


def _sample(domains: dict[str, list[Path]], count: int, seed: int) -> dict[str, list[Document]]:
    """A sample of `count` documents of all sources of each domain, in pseudo-random order; no more are held in memory.

    Raises:
        UserError: files cannot be read, or documents are damaged; the message names all of them.
    """
    sources = {domain: [s for path in paths for s in discover([str(path)])] for domain, paths in domains.items()}
    surveys = iter(find_documents([source for of_domain in sources.values() for source in of_domain]))
    reader = _Reader()
    samples = {}
    for domain, of_domain in sources.items():
        documents = reader.documents(islice(surveys, len(of_domain)))
        samples[domain] = heapq.nsmallest(count, documents, key=lambda document: document.order(seed))
    reader.check()
    return samples


class _Reader:
    """Reads documents, and collects faults until all are read."""

    def __init__(self) -> None:
        self.faults: list[UserError] = []
        self.rejected: list[Rejected] = []
        self.count = 0

    def documents(self, surveys: Iterable[Survey]) -> Iterator[Document]:
        for survey in surveys:
            for item in read_source(survey, self.faults):
                self.count += 1
                if isinstance(item, Rejected):
                    self.rejected.append(item)
                else:
                    record = describe(item, survey.source)
                    yield Document(record["source"], record["doc_id"], item.text)

    def check(self) -> None:
        if self.faults:
            raise together(self.faults)
        check_rejected(self.rejected, self.count, None, "correct them, or leave them out of the file")


def _origin(document: Document) -> dict[str, str]:
    return {"source": document.source, "doc_id": document.doc_id}


def _passages(document: Document) -> Iterator[Passage]:
    """Disjoint passages of a document, from its beginning on."""
    words = list(re.finditer(r"\S+", document.text))
    step = CONTEXT_WORDS + CONTINUATION_WORDS
    for number, first in enumerate(range(0, len(words), step)):
        piece = words[first : first + step]
        if len(piece) < MIN_CONTEXT_WORDS + CONTINUATION_WORDS:
            return
        start, cut, end = piece[0].start(), piece[-CONTINUATION_WORDS - 1].end(), piece[-1].end()
        yield Passage(document, number, document.text[start:cut], document.text[cut:end])


def _choose_questions(domain: str, documents: list[Document], count: int, seed: int) -> list[dict[str, Any]]:
    """Questions about every document's first passage, then about every second one, and so on."""
    pool = [passage for document in documents for passage in islice(_passages(document), QUESTIONS_A_DOCUMENT)]
    long_enough = len({passage.document for passage in pool})
    if long_enough < CHOICES:
        raise UserError(
            f"{domain}: only {counted(long_enough, 'held-out document has', 'held-out documents have')} "
            f"{MIN_CONTEXT_WORDS + CONTINUATION_WORDS} words",
            allowed=f"{CHOICES} or more",
            fix=MORE_TEXT,
        )
    asked = sorted(pool, key=lambda passage: passage.number)[:count]
    return [_question(passage, pool, position, seed) for position, passage in enumerate(asked)]


def _question(passage: Passage, pool: list[Passage], position: int, seed: int) -> dict[str, Any]:
    """A question; the place of the true answer changes with `position`, so that each is right equally often."""
    draw = random.Random(f"{seed}\0{passage.document.order(seed)}\0{passage.number}")  # noqa: S311
    taken = {passage.document: passage.continuation}
    for other in draw.sample(pool, len(pool)):
        if len(taken) < CHOICES and other.document not in taken and other.continuation not in taken.values():
            taken[other.document] = other.continuation
    if len(taken) < CHOICES:
        raise UserError(f"there are fewer than {CHOICES} different held-out documents", fix=MORE_TEXT)
    choices = list(taken.values())[1:]
    label = position % CHOICES
    choices.insert(label, passage.continuation)
    return {"context": passage.context, "choices": choices, "label": label, **_origin(passage.document)}


def _perplexity_task(domain: str) -> dict[str, Any]:
    metrics = ("word_perplexity", "byte_perplexity", "bits_per_byte")
    return {
        "task": HeldoutTask.of(TaskKind.PERPLEXITY, domain).task,
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [{"metric": metric} for metric in metrics],
    }


def _continuation_task(domain: str) -> dict[str, Any]:
    return {
        "task": HeldoutTask.of(TaskKind.CONTINUATION, domain).task,
        "output_type": "multiple_choice",
        "doc_to_text": "context",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "target_delimiter": "",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")
        ],
    }


def _write_task(folder: Path, task: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write `<task>.jsonl` and the `<task>.yaml` that reads it."""
    name = task["task"]
    task |= {
        "tag": "heldout",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "num_fewshot": 0,
        "metadata": {"version": 1.0},
    }
    write_text(folder / f"{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_text(folder / f"{name}.yaml", yaml.safe_dump(task, sort_keys=False, allow_unicode=True))
