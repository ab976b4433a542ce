"""The four tasks on numbers: doses and laboratory values, to copy and to convert."""

import json
from dataclasses import dataclass
from pathlib import Path

from ....core.files import write_text
from ...tasks.suite import Benchmark
from .number_questions import Action, Subject, number_questions, question_rows
from .score_numbers import Outcome

NUMBERS_GROUP = "FR-NUMBERS"
GENERATED = "generated"
"""The data set of questions that are drawn, and nowhere published."""
QUESTIONS = 250
"""Questions of a task: a share of 2 % has a 95 % interval of 0.7 to 4.6 %."""
ALTERED, TENFOLD = Outcome.ALTERED.value, "tenfold"
HEADS, SIGNS = {Subject.DOSES: "Doses", Subject.LABS: "Lab."}, {Action.COPY: "=", Action.CONVERT: "→"}
"""Parts of the head of a column, in either language of a page."""
MEASURES = (*(outcome.value for outcome in Outcome), TENFOLD)
"""lm-eval's names of what is said of each answer beside `correct`."""


@dataclass(frozen=True)
class NumberTask(Benchmark):
    """A task on numbers, whose questions are drawn; its `subject` is that of a `Subject` and an `Action`."""

    asked: tuple[Subject, Action]

    @staticmethod
    def of(subject: Subject, action: Action) -> "NumberTask":
        """The task of a kind of quantities and an action, such as `doses_copy_fr`."""
        return NumberTask(
            name=f"{subject}_{action}_fr",
            language="FR",
            topic="NUMBERS",
            subject=f"{subject}_{action}",
            abbreviation=f"{HEADS[subject]} {SIGNS[action]}",
            dataset=GENERATED,
            shots=5,
            metric="correct",
            filter="quantity",
            questions=QUESTIONS,
            asked=(subject, action),
        )

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer: it does."""
        return True

    @property
    def measures(self) -> tuple[str, ...]:
        """Other scores of each answer."""
        return MEASURES

    @property
    def answer_tokens(self) -> int | None:
        """Tokens that an answer may have by the task file."""
        return 48

    @property
    def task_file(self) -> Path:
        """The YAML file that defines the task."""
        return Path(__file__).with_name(f"{self.name}.yaml")

    def write_questions(self, folder: Path) -> tuple[str, str]:
        """Draw the questions and the worked examples, and write them below a folder; return their files."""
        names = []
        for split, count in (("test", self.questions), (self.shots_split, self.shots)):
            rows = question_rows(number_questions(*self.asked, split, count))
            names.append(f"numbers/{self.name}/{split}.jsonl")
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_text(folder / names[-1], "".join(lines))
        return names[0], names[1]


NUMBER_TASKS = tuple(NumberTask.of(subject, action) for subject in Subject for action in Action)
