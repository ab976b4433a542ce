"""A task of the user's: what lm-eval is to ask, from which bytes, and how its score is called."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ....core.errors import UserError
from ....core.files import sha256, write_text
from ....core.self_hash import digest
from ..task_suite import RequestKind, TaskBase

DEFAULT_ANSWER_TOKENS = 256
"""Tokens that an answer may have where a task file does not say: lm-eval's own default."""


@dataclass(frozen=True)
class DataFile:
    """A file of a task's data: its split, and its text or where it lies, whose SHA-256 is `sha256`."""

    split: str
    name: str
    content: str | Path
    sha256: str = ""

    def write(self, folder: Path) -> Path:
        """Write or copy it.

        Raises:
            UserError: it has been changed since it was read.
        """
        out = folder / self.name
        if isinstance(self.content, str):
            write_text(out, self.content)
            return out
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.content, out)
        if sha256(out) != self.sha256:
            raise UserError(
                f"{self.content.name} was changed while the command ran",
                where=str(self.content),
                fix="run the command again",
            )
        return out


@dataclass(frozen=True)
class OwnTask(TaskBase):
    """A task of the user's; see `ScoredTask`.

    Attributes:
        name: of its file, or stated in it.
        group: see `ScoredTask`; by default the task itself.
        config: lm-eval's keys, without those of the data.
        dataset: `json`, `csv` or `parquet`, as lm-eval's `dataset_path`.
        options: of reading the data, as lm-eval's `dataset_kwargs`.
        data: its files.
        hashes: what each file of the user's is to the task -> SHA-256.
        texts: of each question, its text and its options; None where the task file does not say which column it is.
        questions: their number.
        shots: worked examples before a question.
        file: the user's.
        taken: what of the files is asked, in words.
    """

    name: str
    group: str
    config: dict[str, Any]
    dataset: str
    options: dict[str, Any]
    data: list[DataFile]
    hashes: dict[str, str]
    texts: list[list[str]] | None
    questions: int
    shots: int
    file: Path
    taken: str

    @property
    def abbreviation(self) -> str:
        """The head of its column: its name."""
        return self.name

    @property
    def output_type(self) -> str:
        """lm-eval's name of how it is asked."""
        return self.config["output_type"]

    @property
    def metric(self) -> str:
        """lm-eval's name of the score: the first of its list."""
        return self.config["metric_list"][0]["metric"]

    @property
    def filter(self) -> str:
        """lm-eval's name of the filter that the score is of: the first of its list."""
        filters = self.config.get("filter_list")
        return filters[0]["name"] if filters else "none"

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer."""
        return self.output_type == RequestKind.GENERATE

    @property
    def answer_tokens(self) -> int | None:
        """Tokens that an answer may have; None where choices are compared."""
        return self.config["generation_kwargs"]["max_gen_toks"] if self.generates else None

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> SHA-256, of the user's files."""
        return self.hashes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 that stands for all of its files."""
        return digest(self.hashes)

    def write(self, folder: Path) -> None:
        """Write the data, and then the task file that lm-eval runs, into a folder, unless they are there.

        Raises:
            UserError: a file has been changed since it was read.
        """
        task_file = folder / f"{self.name}.yaml"
        if task_file.is_file():
            return
        files: dict[str, list[str]] = {}
        for file in self.data:
            files.setdefault(file.split, []).append(str(file.write(folder / self.name).resolve()))
        value = {
            "task": self.name,
            "dataset_path": self.dataset,
            "dataset_kwargs": {"data_files": files, **self.options},
            **self.config,
            "num_fewshot": self.shots,
        }
        write_text(task_file, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def json_lines(rows: Iterator[dict[str, Any]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
