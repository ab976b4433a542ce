"""The files of an evaluation, which is one model on one task: their names, and what is in them."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_jsonl, read_object
from ...core.jsonio import JsonObject, shorten
from ..tasks.task_suite import ScoredTask

RESULTS_FILE = "results.json"
"""lm-eval's scores."""
SAMPLES_FILE = "samples.jsonl"
"""lm-eval's record of each question: prompt, answer, whether it is right."""
ANSWERS_FILE = "answers.jsonl"
"""One `AnswerNote` a line."""
SETTINGS_FILE = "settings.json"
"""`AnswerSettings`."""
LOG_FILE = "log.txt"
"""Messages of libraries while the model was loaded and the task was run."""


@dataclass(frozen=True)
class Protocol:
    """The way a task was put to a model, as lm-eval states it; answers are compared only if it is the same.

    `shots` are worked examples, `version` the task's, `chat_template` the hash of the template, if there was one.
    """

    shots: int
    version: Any
    lm_eval: Any
    chat_template: Any


@dataclass(frozen=True)
class TaskResults:
    """The part of lm-eval's results that is about a task.

    Attributes:
        score: as lm-eval states it; not always a number.
        questions: how many the task has.
        answered: how many of them were asked.
        protocol: see there.
        seconds: wall time; 0 where it is not stated.
    """

    score: Any
    questions: int
    answered: int
    protocol: Protocol
    seconds: float

    @staticmethod
    def read(path: Path, task: ScoredTask) -> "TaskResults":
        """Read `results.json`.

        Raises:
            UserError: the file is missing, or lacks a value of the task.
        """
        results = read_object(path, nan=True)
        versions = results.object("versions")
        if task.name not in versions:
            raise UserError(f"versions: {task.name} is missing", where=results.where)
        counts = results.object("n-samples").object(task.name)
        return TaskResults(
            score=results.object("results").object(task.name).values.get(task.score_key),
            questions=counts.integer("original"),
            answered=counts.integer("effective", counts.integer("original")),
            protocol=Protocol(
                shots=results.object("n-shot").integer(task.name),
                version=versions.values[task.name],
                lm_eval=results.values.get("lm_eval_version"),
                chat_template=results.values.get("chat_template_sha"),
            ),
            seconds=_seconds(results.values.get("total_evaluation_time_seconds")),
        )


def _seconds(value: Any) -> float:
    """Wall time, which lm-eval writes as a string; 0 where it is missing."""
    try:
        return float(value or 0)
    except (TypeError, ValueError, OverflowError):
        return 0.0


@dataclass(frozen=True)
class Sample:
    """One of lm-eval's samples, without its texts.

    Attributes:
        doc_id, doc_hash, prompt_hash: question and prompt.
        filter: which filter of the task it is of.
        target: index of the true choice, or the true answer.
        responses: the answer as the filter found it; or each choice as [log-probability, is greedy], as strings.
        score: 1.0 for a right answer, else 0.0; not always a number.
        measures: name -> another score of the answer, likewise.
    """

    doc_id: int
    doc_hash: str
    prompt_hash: str
    filter: str
    target: Any
    responses: list[Any]
    score: Any
    measures: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(row: JsonObject, metric: str, measures: tuple[str, ...] = ()) -> "Sample":
        """Check and take over JSON values; `metric` is the key of the score, `measures` those of others.

        Raises:
            UserError: a value is missing or of another type.
        """
        for key in ("target", metric, *measures):
            if key not in row:
                raise UserError(f"{key} is missing", where=row.where)
        return Sample(
            doc_id=row.integer("doc_id"),
            doc_hash=row.text("doc_hash"),
            prompt_hash=row.text("prompt_hash"),
            filter=row.text("filter"),
            target=row.values["target"],
            responses=row.list("filtered_resps"),
            score=row.values[metric],
            measures={name: row.values[name] for name in measures},
        )

    def log_probabilities(self) -> list[float]:
        """Log-probabilities of the choices, in nats.

        Raises:
            ValueError, LookupError, TypeError: the responses are not choices.
        """
        return [float(choice[0]) for choice in self.responses]


def read_samples(path: Path, task: ScoredTask) -> Iterator[Sample]:
    """lm-eval's samples of one model on one task.

    Raises:
        UserError: the file is missing, or a line is not a sample.
    """
    return (Sample.from_json(row, task.metric, task.measures) for row in read_jsonl(path, nan=True))


def is_finite(value: Any) -> bool:
    """Whether a JSON value is a number that a 64-bit float can hold; an integer of 400 digits is not."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


@dataclass(frozen=True)
class AnswerNote:
    """Flags of an answer that lm-eval's samples lack; None where a flag does not apply.

    Attributes:
        doc_id, doc_hash, prompt_hash: of the sample.
        truncated: whether the token limit ended the answer.
        unparseable: whether lm-eval found no answer in the text.
        prompt_cut: whether the prompt's beginning was left out, because it did not fit the window.
    """

    doc_id: int
    doc_hash: str = ""
    prompt_hash: str = ""
    truncated: bool | None = None
    unparseable: bool | None = None
    prompt_cut: bool | None = None

    @staticmethod
    def read(path: Path) -> "list[AnswerNote]":
        """Read a file of notes.

        Raises:
            UserError: the file is missing, or a line is not a note.
        """
        return [AnswerNote._from_json(row) for row in read_jsonl(path, nan=True)]

    @staticmethod
    def _from_json(row: JsonObject) -> "AnswerNote":
        def flag(key: str) -> bool | None:
            return row.flag(key) if key in row else None

        return AnswerNote(
            doc_id=row.integer("doc_id"),
            doc_hash=row.text("doc_hash", ""),
            prompt_hash=row.text("prompt_hash", ""),
            truncated=flag("truncated"),
            unparseable=flag("unparseable"),
            prompt_cut=flag("prompt_cut"),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LibraryWarning:
    """A library's warning: the first of those that differ in numbers alone, and how often they came."""

    library: str
    message: str
    times: int

    @staticmethod
    def from_json(row: JsonObject) -> "LibraryWarning":
        """Check and take over JSON values.

        Raises:
            UserError: a value is missing or of another type.
        """
        return LibraryWarning(row.text("from", ""), row.text("message", ""), row.integer("times"))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"from": self.library, "message": self.message, "times": self.times}


@dataclass(frozen=True)
class PromptCounts:
    """Prompts of the evaluations of a stage, part of its manifest's counts.

    `prompts_cut` are those that were cut at the start to fit the window.
    """

    prompts_cut: int
    prompts: int

    @staticmethod
    def collect(folder: Path) -> "PromptCounts":
        """Count the prompts of the evaluations under a folder.

        Raises:
            UserError: a file of notes is damaged.
        """
        notes = (note for path in sorted(folder.rglob(ANSWERS_FILE)) for note in AnswerNote.read(path))
        flags = [note.prompt_cut for note in notes if note.prompt_cut is not None]
        return PromptCounts(sum(flags), len(flags))

    @staticmethod
    def from_json(counts: JsonObject) -> "PromptCounts":
        """Take them from a manifest's counts, which an earlier version may have written without them.

        Raises:
            UserError: a value is of another type.
        """
        return PromptCounts(counts.integer("prompts_cut", 0), counts.integer("prompts", 0))

    def to_json(self) -> dict[str, int]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class BatchSizeUsed:
    """Sequences a forward pass, or `auto`; and, where pdapt searched for it, by which prompt and on which device.

    `longest` is in tokens. `size` is None in a file that does not state it.
    """

    size: int | str | None
    longest: int | None = None
    device: str | None = None

    @staticmethod
    def from_json(row: JsonObject) -> "BatchSizeUsed":
        """Check and take over JSON values.

        Raises:
            UserError: a value is of another type.
        """
        size = row.values.get("size")
        if not isinstance(size, int | str | None):
            raise UserError(f"size is {shorten(size)}", where=row.where, allowed="a number, or auto")
        longest = row.integer("longest") if "longest" in row else None
        return BatchSizeUsed(size, longest, row.text("device") if "device" in row else None)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, of those that are stated."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class AnswerSettings:
    """Settings by which answers were made that lm-eval's own files do not state.

    Attributes:
        batch_size: see there.
        chat_template: whether prompts were put into the model's own chat template.
        warnings: of libraries.
        generation: lm-eval's `generation_kwargs` and `end_tokens`; None where no text is generated.
        generation_config_unused: settings of the folder's generation_config.json that were not used; None likewise.
    """

    batch_size: BatchSizeUsed
    chat_template: bool
    warnings: list[LibraryWarning]
    generation: dict[str, Any] | None = None
    generation_config_unused: dict[str, Any] | None = None

    @staticmethod
    def read(path: Path) -> "AnswerSettings":
        """Read a file of settings.

        Raises:
            UserError: the file is missing, or is not one of settings.
        """
        value = read_object(path)
        generation, unused = (
            value.object(key).values if key in value else None for key in ("generation", "generation_config_unused")
        )
        rows = [JsonObject(row, f"{value.where}: warnings") for row in value.list("warnings")]
        return AnswerSettings(
            batch_size=BatchSizeUsed.from_json(value.object("batch_size")),
            chat_template=value.flag("chat_template"),
            warnings=[LibraryWarning.from_json(row) for row in rows],
            generation=generation,
            generation_config_unused=unused,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        value: dict[str, Any] = {
            "batch_size": self.batch_size.to_json(),
            "chat_template": self.chat_template,
            "warnings": [warning.to_json() for warning in self.warnings],
        }
        of_text = {"generation": self.generation, "generation_config_unused": self.generation_config_unused}
        return value | {key: stated for key, stated in of_text.items() if stated is not None}
