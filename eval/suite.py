"""The paper's 28 tasks: group, shots, metric, number of questions, data set (Table 2), and the task file of each."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ..core.errors import UserError, nearest

Language = Literal["EN", "FR"]
Topic = Literal["MEDICAL", "OTHER"]

MMLU = "cais/mmlu"
PROX = "li-lab/MMLU-ProX"
FRENCH = "BioMistral/BioInstructQA"
REVISIONS = {
    MMLU: "c30699e8356da336a370243923dbaf21066bb9fe",
    PROX: "8e6106a6c6ce1c5027e66cc338143cf997b2aa09",
    FRENCH: "9da56bce17e88e59ce1a4469e899173bb14f3fdc",
}
"""Data set on the Hub -> the commit that is read."""
MEDICAL = {
    "anatomy": 135,
    "clinical_knowledge": 265,
    "college_biology": 144,
    "college_medicine": 173,
    "medical_genetics": 100,
    "professional_medicine": 272,
}
"""Subject of MMLU -> questions, in either language."""
CATEGORIES = {
    "health": 687,
    "business": 789,
    "computer_science": 410,
    "economics": 844,
    "history": 381,
    "law": 959,
    "philosophy": 499,
    "psychology": 798,
}
"""Category of MMLU-ProX -> questions, in either language; `health` is medical."""


@dataclass(frozen=True)
class Benchmark:
    """A task.

    Attributes:
        name: its name in lm-eval.
        language: of its questions.
        topic: the other half of its group's name.
        subject: subject of MMLU, or category of MMLU-ProX.
        dataset: on the Hub.
        shots: worked examples before each question.
        metric: key of the score in lm-eval's results: metric, filter.
        questions: how many the data set has.
    """

    name: str
    language: Language
    topic: Topic
    subject: str
    dataset: str
    shots: int
    metric: str
    questions: int

    @property
    def group(self) -> str:
        """One of FR-MEDICAL, EN-MEDICAL, FR-OTHER, EN-OTHER."""
        return f"{self.language}-{self.topic}"

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer, rather than that choices are compared by their log-probabilities."""
        return self.dataset == PROX

    @property
    def shots_split(self) -> str:
        """The split that worked examples come from; questions come from `test`."""
        return "validation" if self.dataset == PROX else "dev"

    @property
    def task_file(self) -> Path:
        """The YAML file that says how the task is asked: lm-eval's own, or for French MMLU ours."""
        if self.dataset == FRENCH:
            return Path(__file__).parent / "tasks" / f"{self.name}.yaml"
        folder = f"mmlu_prox/{self.language.lower()}" if self.dataset == PROX else "mmlu/default"
        return _lm_eval_tasks() / folder / f"{self.name}.yaml"


def _lm_eval_tasks() -> Path:
    """Found without importing lm-eval, which would load torch."""
    spec = find_spec("lm_eval")
    assert spec is not None, "a requirement"
    assert spec.origin is not None, "a package"
    return Path(spec.origin).parent / "tasks"


def _mmlu(language: Language, subject: str) -> Benchmark:
    name, dataset = (f"mmlu_{subject}", MMLU) if language == "EN" else (f"mmlu_med_fr_{subject}", FRENCH)
    return Benchmark(name, language, "MEDICAL", subject, dataset, 3, "acc,none", MEDICAL[subject])


def _prox(language: Language, subject: str) -> Benchmark:
    name = f"mmlu_prox_{language.lower()}_{subject}"
    topic = "MEDICAL" if subject == "health" else "OTHER"
    return Benchmark(name, language, topic, subject, PROX, 5, "exact_match,custom-extract", CATEGORIES[subject])


LANGUAGES: tuple[Language, ...] = ("FR", "EN")
SUITE = tuple(
    task
    for language in LANGUAGES
    for task in (*(_mmlu(language, s) for s in MEDICAL), *(_prox(language, s) for s in CATEGORIES))
)
GROUPS = ("FR-MEDICAL", "EN-MEDICAL", "FR-OTHER", "EN-OTHER")


def choose(patterns: list[str]) -> list[Benchmark]:
    """The tasks that any of the patterns names: a task, a group, or a pattern such as `mmlu_prox_fr_*`; none: all.

    Raises:
        UserError: a pattern names none.
    """
    for pattern in patterns:
        if not any(_named(task, pattern) for task in SUITE):
            raise UserError(
                f"no task is called {pattern!r}",
                where="--tasks",
                allowed=f"{', '.join(GROUPS)}, a task's name, or a pattern such as 'mmlu_prox_fr_*'",
                mend=nearest(pattern, [*GROUPS, *(task.name for task in SUITE)]),
            )
    return [task for task in SUITE if not patterns or any(_named(task, pattern) for pattern in patterns)]


def _named(task: Benchmark, pattern: str) -> bool:
    return pattern == task.group or fnmatchcase(task.name, pattern)
