"""The files of an evaluation, which is one model on one task: their names, and what is in them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_jsonl, read_object
from ...core.jsonio import JsonObject, shorten

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


def read_samples(path: Path) -> list[dict[str, Any]]:
    """lm-eval's samples of one model on one task, as JSON values.

    Raises:
        UserError: the file is missing, or a line is not a JSON object.
    """
    return [sample.values for sample in read_jsonl(path, nan=True)]


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
    """How answers were made, as far as lm-eval's own files do not say it.

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
