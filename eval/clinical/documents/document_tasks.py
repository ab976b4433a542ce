"""The tasks on clinical documents: the data set of each, its form of questions, and how it is scored."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ....core.errors import UserError
from ....core.files import write_text
from ...tasks.suite import Benchmark
from .annotations import AnnotatedText
from .document_questions import (
    Row,
    choice_rows,
    code_rows,
    entity_rows,
    in_order_of_hash,
    read_e3c,
    read_frasimed,
    read_mantra,
    read_quaero,
)
from .score_documents import CHOICE_MEASURES, CODE_MEASURES, ENTITY_MEASURES

CLINICAL_GROUP = "FR-CLINICAL"
MOST_QUESTIONS = 500
"""Questions of a task; of more, those come that a hash chooses."""
SHOTS = 3
Make = Callable[[Path], tuple[list[Row], list[Row]]]


@dataclass(frozen=True)
class DocumentTask(Benchmark):
    """A task on clinical documents, made of a source that `pdapt corpus collect` brings; `dataset` is its key.

    Attributes:
        make: makes questions and worked examples of the source's folder.
        scores: lm-eval's names of other scores.
    """

    make: Make
    scores: tuple[str, ...]

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer: it does."""
        return True

    @property
    def measures(self) -> tuple[str, ...]:
        """Other scores of each answer."""
        return self.scores

    @property
    def answer_tokens(self) -> int | None:
        """Tokens that an answer may have by the task file."""
        return 256 if self.scores == ENTITY_MEASURES else 16

    @property
    def task_file(self) -> Path:
        """The YAML file that defines the task."""
        return Path(__file__).with_name(f"{self.name}.yaml")

    def write_questions(self, source: Path, folder: Path) -> tuple[str, str, int]:
        """Make the questions of a source's folder, and write them below `folder`; return their files and number.

        Raises:
            UserError: a file is missing or damaged, or there are too few questions or worked examples.
        """
        asked, shown = self.make(source)
        chosen = sorted(in_order_of_hash(asked)[: self.questions], key=asked.index)
        examples = in_order_of_hash(shown)[: self.shots] if len(shown) > self.shots else shown
        if len(chosen) < 2 or len(examples) < self.shots:
            raise UserError(
                f"{self.name}: {len(chosen)} questions and {len(examples)} worked examples can be made",
                where=str(source),
                allowed=f"at least 2 and {self.shots}",
            )
        names = (f"clinical/{self.name}/test.jsonl", f"clinical/{self.name}/dev.jsonl")
        for name, rows in zip(names, (chosen, examples), strict=True):
            write_text(folder / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return *names, len(chosen)


def source_folder(raw: Path, key: str) -> Path:
    """The folder of a source below that of `pdapt corpus collect`.

    Raises:
        UserError: there is none.
    """
    folders = [path for path in raw.glob("*/") if path.name.lower() == key.lower()]
    if len(folders) != 1:
        raise UserError(
            f"the folder of {key} is missing" if not folders else f"there are {len(folders)} folders of {key}",
            where=str(raw / key),
            fix=f"pdapt corpus collect {key} --out {raw}",
        )
    return folders[0]


def _entities(read: Callable[[Path], list[AnnotatedText]]) -> Make:
    return lambda folder: entity_rows(read(folder))


def _task(name: str, head: str, key: str, *, make: Make, scores: tuple[str, ...], filter_name: str) -> DocumentTask:
    return DocumentTask(
        name=f"{name}_fr",
        language="FR",
        topic="CLINICAL",
        subject=name,
        abbreviation=head,
        dataset=key,
        shots=SHOTS,
        metric="correct",
        filter=filter_name,
        questions=622 if scores == CHOICE_MEASURES else MOST_QUESTIONS,
        make=make,
        scores=scores,
    )


def _entity_task(name: str, head: str, key: str, read: Callable[[Path], list[AnnotatedText]]) -> DocumentTask:
    return _task(name, head, key, make=_entities(read), scores=ENTITY_MEASURES, filter_name="line")


DOCUMENT_TASKS = (
    _entity_task("quaero_entities", "QUAERO", "QUAERO", read_quaero),
    _entity_task("mantra_entities", "MANTRA", "MANTRA_GSC", read_mantra),
    _entity_task("e3c_entities", "E3C", "E3C", read_e3c),
    _entity_task("frasimed_entities", "FRASIMED", "FRASIMED", read_frasimed),
    _task(
        "frasimed_codes",
        "FRASIMED ICD-O",
        "FRASIMED",
        make=lambda folder: code_rows(read_frasimed(folder)),
        scores=CODE_MEASURES,
        filter_name="code",
    ),
    _task(
        "frenchmedmcqa",
        "FrenchMedMCQA",
        "FRENCHMEDMCQA",
        make=choice_rows,
        scores=CHOICE_MEASURES,
        filter_name="letters",
    ),
)
