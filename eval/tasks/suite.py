"""The paper's 28 tasks: group, shots, metric, number of questions, data set (Table 2), and the task file of each.

This is their only table: data, runs and reports read it.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from .task_suite import TaskBase, TaskSuite

Language = Literal["EN", "FR"]
Topic = Literal["MEDICAL", "OTHER", "NUMBERS", "CLINICAL"]

MMLU_DATASET = "cais/mmlu"
PROX_DATASET = "li-lab/MMLU-ProX"
FRENCH_MMLU_DATASET = "BioMistral/BioInstructQA"
DATASET_REVISIONS = {
    MMLU_DATASET: "c30699e8356da336a370243923dbaf21066bb9fe",
    PROX_DATASET: "8e6106a6c6ce1c5027e66cc338143cf997b2aa09",
    FRENCH_MMLU_DATASET: "9da56bce17e88e59ce1a4469e899173bb14f3fdc",
}
"""Data set on the Hub -> the commit that is read."""
MEDICAL_SUBJECTS = {
    "anatomy": ("Anat.", 135),
    "clinical_knowledge": ("C.K.", 265),
    "college_biology": ("CBio.", 144),
    "college_medicine": ("CMed.", 173),
    "medical_genetics": ("MGen.", 100),
    "professional_medicine": ("ProMed.", 272),
}
"""Subject of MMLU -> abbreviation, and questions in either language."""
PROX_CATEGORIES = {
    "health": ("Health", 687),
    "business": ("Bus.", 789),
    "computer_science": ("CS", 410),
    "economics": ("Econ.", 844),
    "history": ("Hist.", 381),
    "law": ("Law", 959),
    "philosophy": ("Phil.", 499),
    "psychology": ("Psych.", 798),
}
"""Category of MMLU-ProX -> abbreviation, and questions in either language; `health` is medical."""


@dataclass(frozen=True)
class Benchmark(TaskBase):
    """A task.

    Attributes:
        name: its name in lm-eval.
        language: of its questions.
        topic: medical or other; the other two are not the paper's.
        subject: subject of MMLU, or category of MMLU-ProX.
        abbreviation: of the subject, at the head of a column.
        dataset: on the Hub.
        shots: worked examples before each question.
        metric, filter: lm-eval's names of the score that is reported.
        questions: their number in the data set.
    """

    name: str
    language: Language
    topic: Topic
    subject: str
    abbreviation: str
    dataset: str
    shots: int
    metric: str
    filter: str
    questions: int

    @property
    def group(self) -> str:
        """The group, such as FR-MEDICAL."""
        return f"{self.language}-{self.topic}"

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer; else its log-probabilities of the choices are compared."""
        return self.dataset == PROX_DATASET

    @property
    def answer_tokens(self) -> int | None:
        """Tokens that an answer may have by the task file; None where choices are compared."""
        return 2048 if self.generates else None

    @property
    def shots_split(self) -> str:
        """The split that worked examples come from; questions come from `test`."""
        return "validation" if self.dataset == PROX_DATASET else "dev"

    @property
    def task_file(self) -> Path:
        """The YAML file that defines the task: lm-eval's own, or for French MMLU ours."""
        if self.dataset == FRENCH_MMLU_DATASET:
            return Path(__file__).with_name(f"{self.name}.yaml")
        folder = f"mmlu_prox/{self.language.lower()}" if self.dataset == PROX_DATASET else "mmlu/default"
        return _lm_eval_tasks() / folder / f"{self.name}.yaml"


def _lm_eval_tasks() -> Path:
    """Folder of lm-eval's task files, found without importing lm-eval, which would load torch."""
    spec = find_spec("lm_eval")
    assert spec is not None, "a requirement"
    assert spec.origin is not None, "a package"
    return Path(spec.origin).parent / "tasks"


def _mmlu(language: Language, subject: str) -> Benchmark:
    name, dataset = (
        (f"mmlu_{subject}", MMLU_DATASET) if language == "EN" else (f"mmlu_med_fr_{subject}", FRENCH_MMLU_DATASET)
    )
    abbreviation, questions = MEDICAL_SUBJECTS[subject]
    return Benchmark(
        name,
        language,
        "MEDICAL",
        subject,
        abbreviation=abbreviation,
        dataset=dataset,
        shots=3,
        metric="acc",
        filter="none",
        questions=questions,
    )


def _prox(language: Language, subject: str) -> Benchmark:
    name = f"mmlu_prox_{language.lower()}_{subject}"
    topic = "MEDICAL" if subject == "health" else "OTHER"
    abbreviation, questions = PROX_CATEGORIES[subject]
    return Benchmark(
        name,
        language,
        topic,
        subject,
        abbreviation=abbreviation,
        dataset=PROX_DATASET,
        shots=5,
        metric="exact_match",
        filter="custom-extract",
        questions=questions,
    )


LANGUAGES: tuple[Language, ...] = ("FR", "EN")
SUITE = tuple(
    task
    for language in LANGUAGES
    for task in sorted(
        (*(_mmlu(language, s) for s in MEDICAL_SUBJECTS), *(_prox(language, s) for s in PROX_CATEGORIES)),
        key=lambda task: (task.topic, task.subject),
    )
)
"""Group by group, in the order of Table 2."""
TASKS = {task.name: task for task in SUITE}
GROUPS = ("FR-MEDICAL", "EN-MEDICAL", "FR-OTHER", "EN-OTHER")
TARGET_GROUP = GROUPS[0]
"""The group that models are adapted for, and by which a checkpoint is chosen."""
PAPER_SUITE = TaskSuite(TASKS, GROUPS, TARGET_GROUP)
