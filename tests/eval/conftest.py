"""Small inputs of the evaluation's tests."""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.files import read_json, write_json
from pdapt.core.manifest import run_stage
from pdapt.eval.benchmark import run as benchmark_runs
from pdapt.eval.harness.job import LmEvalJob
from pdapt.eval.models import Role
from pdapt.eval.scores import SCORES_FILE, Comparison, Score, Scores
from pdapt.eval.tasks.all_tasks import ALL_TASKS
from pdapt.eval.tasks.data_index import DATA_INDEX_FILE
from pdapt.eval.tasks.fetch import fetch_tasks
from pdapt.eval.tasks.suite import (
    FRENCH_MMLU_DATASET,
    MEDICAL_SUBJECTS,
    MMLU_DATASET,
    PROX_CATEGORIES,
    PROX_DATASET,
    SUITE,
    TASKS,
    Benchmark,
)

WORDS = {
    "medical": "le patient reçoit une dose de paracétamol matin et soir ; la fièvre baisse, température 37,5 °C",
    "general": "la ville compte une gare près de la rivière et deux écoles où jouent les enfants du quartier",
}


def _write(folder: Path, domain: str, documents: int = 8, source: str = "notes") -> Path:
    words = WORDS[domain].split()
    draw = random.Random(f"{domain}{source}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{source}.jsonl").open("w", encoding="utf-8") as file:
        for number in range(documents):
            text = " ".join(draw.choice(words) for _ in range(draw.randint(30, 150)))
            row = {"text": text, "doc_id": f"{source}-{number}", "source": source, "document_type": "Note"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return folder


@pytest.fixture
def write_heldout() -> Callable[..., Path]:
    """`write_heldout(folder, domain, documents=8, source="notes")`: documents of 30 to 150 words, all different."""
    return _write


@pytest.fixture
def heldout(tmp_path: Path) -> dict[str, list[Path]]:
    """Held-out documents of two domains."""
    return {domain: [_write(tmp_path / "heldout" / domain, domain)] for domain in WORDS}


@pytest.fixture(scope="session")
def make_scores() -> Callable[..., Path]:
    """Make a finished evaluation of base, checkpoint and merged, given log perplexity changes by pair and domain."""

    def make(folder: Path, changes: dict[tuple[str, str], dict[str, float]], p: float = 1e-6) -> Path:
        models: list[tuple[str, Role]] = [("base", "base"), ("cpt-10", "checkpoint"), ("merged", "merged")]
        scores = [
            Score(name, f"{kind}_{domain}", domain, source, metric, value, 0.02, 20, 4000)
            for name, _ in models
            for domain in ("medical", "general")
            for kind, metric, value, source in (
                ("perplexity", "byte_perplexity", 2.5, ""),
                ("perplexity", "byte_perplexity", 2.4, "notes"),
                ("continuation", "acc", 0.5, ""),
            )
        ]
        comparisons = [
            Comparison(model, against, "task", domain, metric, d, 0.001, d - 0.002, d + 0.002, p, p, 20)
            for (model, against), by_domain in changes.items()
            for domain, change in by_domain.items()
            for metric, d in (("byte_perplexity", change), ("acc", -change))
        ]
        found = Scores(models, scores, comparisons)
        source = folder / "source.txt"
        source.write_text("anything")

        def body(work: Path) -> dict[str, int]:
            write_json(work / SCORES_FILE, found.to_json())
            return {"models": 3}

        run_stage("eval", {"source": source}, {"limit": None}, folder / "scores", body)
        return folder / "scores"

    return make


@pytest.fixture(scope="session")
def trade() -> dict[tuple[str, str], dict[str, float]]:
    """The usual effect of adaptation and of a merge: changes of the log perplexity."""
    return {
        ("cpt-10", "base"): {"medical": -0.2, "general": 0.1},
        ("merged", "base"): {"medical": -0.1, "general": 0.02},
        ("merged", "cpt-10"): {"medical": 0.1, "general": -0.08},
    }


Rows = list[dict[str, Any]]
LETTERS = "ABCDEFGHIJ"
COT = {"en": "A: Let's think step by step.", "fr": "A: Réfléchissons étape par étape."}
ENDING = {"en": "The answer is (A).", "fr": "La réponse est (A)."}


class Small:
    """Small data in the form in which the three data sets are published, made up: 5 to 7 questions a task."""

    def mmlu(self, subject: str, split: str) -> Rows:
        """`cais/mmlu`: a subject's `test` or `dev`."""
        return [
            {
                "question": f" Which {subject} of {split} is number {n}? ",
                "subject": subject,
                "choices": [f"the {subject} {n}{letter}" for letter in "abcd"],
                "answer": n % 4,
            }
            for n in range(7 if split == "test" else 5)
        ]

    def prox(self, language: str, split: str) -> Rows:
        """`li-lab/MMLU-ProX`: a language's `test` or `validation`, with a category that no task of ours reads."""
        return [
            self._prox(language, split, category, n)
            for n in range(6 if split == "test" else 5)
            for category in [*(name.replace("_", " ") for name in PROX_CATEGORIES), "math"]
        ]

    def _prox(self, language: str, split: str, category: str, n: int) -> dict[str, Any]:
        options = {f"option_{i}": f"option {i} de {n}" if i < 3 + n else None for i in range(10)}
        cot = f"{COT[language]} {split} {category} {n}. {ENDING[language]}" if split == "validation" else ""
        return {
            "question_id": n,
            "question": f"{language} {split} {category}: combien, {n} ?",
            **options,
            "answer": LETTERS[n % 3],
            "answer_index": n % 3,
            "cot_content": cot,
            "category": category,
            "src": "made up",
        }

    def french(self) -> Rows:
        """`French-full.json`: six subjects, and a corpus that no task of ours reads."""
        return [self._french(f"MMLU_{subject}", n) for n in range(5) for subject in [*MEDICAL_SUBJECTS, "nothing"]]

    def _french(self, corpus: str, n: int) -> dict[str, Any]:
        samples = [
            {
                "context": None,
                "question_translated": f'"Exemple {k} de {corpus} ?"',
                "options_translated": {letter: f"exemple {letter}{k}" for letter in "ABCD"},
                "correct_answer_letter": "ABCD"[k],
            }
            for k in range(3)
        ]
        return {
            "identifier": f"{corpus}-{n}",
            "corpus_name": corpus,
            "question": f"Question {n} of {corpus}?",
            "question_translated": f'"Question {n} de {corpus} ?"',
            "options_translated": {letter: f'"réponse {letter}{n}"' for letter in "ABCD"},
            "correct_answer_letter": "DCBA"[n % 4],
            "few_shot_samples[1]": samples[:1],
            "few_shot_samples[2]": samples[:2],
            "few_shot_samples[3]": samples,
        }

    def write(self, folder: Path) -> Path:
        """As files: `<folder>/<owner>/<name>/<file>`."""
        import zipfile

        from datasets import ClassLabel, Dataset, Features, List, Value

        features = Features(
            {
                "question": Value("string"),
                "subject": Value("string"),
                "choices": List(Value("string")),
                "answer": ClassLabel(names=list("ABCD")),
            }
        )
        for subject in MEDICAL_SUBJECTS:
            for split in ("test", "dev"):
                path = folder / MMLU_DATASET / subject / f"{split}-00000-of-00001.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                Dataset.from_list(self.mmlu(subject, split), features=features).to_parquet(path)
        for language in COT:
            for split in ("test", "validation"):
                path = folder / PROX_DATASET / language / f"{split}-00000-of-00001.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                Dataset.from_list(self.prox(language, split)).to_parquet(path)
        archive = folder / FRENCH_MMLU_DATASET / "data.zip"
        archive.parent.mkdir(parents=True)
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("langs_processed/French-full.json", json.dumps(self.french(), ensure_ascii=False))
        return folder

    @property
    def suite(self) -> tuple[Benchmark, ...]:
        """The 28 tasks, with as many questions as these data have."""
        counts = {MMLU_DATASET: 7, PROX_DATASET: 6, FRENCH_MMLU_DATASET: 5}
        return tuple(replace(task, questions=counts[task.dataset]) for task in SUITE)


@pytest.fixture(scope="session")
def small() -> Small:
    """The data sets of the 28 tasks in their own forms, small and made up."""
    return Small()


@pytest.fixture(scope="session")
def small_source(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their files."""
    return small.write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def small_data(small: Small, small_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `pdapt eval fetch` makes of them."""
    out = tmp_path_factory.mktemp("data") / "data"
    fetch_tasks(out, source=small_source, tasks=small.suite)
    return out


@dataclass
class Written:
    """Writes a folder of runs as `pdapt eval run` leaves it, from answers that a test chooses."""

    folder: Path
    questions: int = 40
    config: dict[str, Any] = field(default_factory=lambda: {"backend": "hf", "questions": None})
    members: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[str] = field(default_factory=lambda: list(TASKS))

    def add(
        self, name: str, role: str, right: Callable[[str, int], bool], step: int | None = None, **options: Any
    ) -> None:
        """Write a model's answers; `right(task, question)` says which are right.

        Options: `invalid(task, question)`: whether no answer is found; `prompt`: what is asked; `shots`, `version`.
        """
        self.members.append({"name": name, "role": role, "step": step})
        for task in self.tasks:
            self.write(name, task, right, **options)
        write_json(self.folder / "runs.json", {"models": self.members, "tasks": self.tasks, "config": self.config})

    def write(
        self,
        model: str,
        task: str,
        right: Callable[[str, int], bool],
        *,
        invalid: Callable[[str, int], bool] = lambda *_: False,
        prompt: str = "prompt",
        shots: int | None = None,
        version: float = 1.0,
    ) -> None:
        """Write one model's answers to one task."""
        its, folder = ALL_TASKS[task], self.folder / model / task
        folder.mkdir(parents=True, exist_ok=True)
        rows = [self._row(its, q, right(task, q), invalid(task, q), prompt) for q in range(self.questions)]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if its.generates:
            noted = [{"doc_id": row["doc_id"], "truncated": invalid(task, row["doc_id"])} for row in rows]
            (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in noted))
        score = sum(row[its.metric] for row in rows) / len(rows)
        results = {
            "results": {task: {its.score_key: score}},
            "n-samples": {task: {"original": self.questions, "effective": self.questions}},
            "n-shot": {task: its.shots if shots is None else shots},
            "versions": {task: version},
            "lm_eval_version": "0.4.13",
            "total_evaluation_time_seconds": "12.5",
        }
        write_json(folder / "results.json", results)

    @staticmethod
    def _row(task: Benchmark, question: int, right: bool, invalid: bool, prompt: str) -> dict[str, Any]:
        """One of lm-eval's samples: resps are written as strings."""
        digest = hashlib.sha256(f"{task.name}{question}".encode()).hexdigest()
        row = {"doc_id": question, "doc_hash": digest, "prompt_hash": f"{prompt}{question}", "filter": task.filter}
        row |= {"target": "2", "metrics": [task.metric], task.metric: float(right and not invalid)}
        outcome = "absent" if invalid else "exact" if right else "altered"
        row |= {measure: float(measure == outcome) for measure in task.measures}
        if not task.generates:
            return row | {
                "filtered_resps": [["-3.0", "False"], ["-2.5", "False"], [str(-2.0 if right else -4.0), "True"]]
            }
        return row | {"target": "C", "filtered_resps": ["[invalid]" if invalid else "C" if right else "A"]}


@pytest.fixture(scope="session")
def make_benchmark() -> Callable[[Path], Written]:
    """Make an empty folder of runs to add models to."""
    return Written


@pytest.fixture
def benchmark(tmp_path: Path) -> Written:
    """An empty folder of runs to add models to."""
    return Written(tmp_path / "scores")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, small_data: Path) -> list[LmEvalJob]:
    """Jobs that `run_benchmark` starts; in the place of lm-eval, files as it writes them appear."""
    jobs: list[LmEvalJob] = []

    def run_job(job: LmEvalJob) -> None:
        jobs.append(job)
        for evaluation in job.evaluations:
            task = TASKS[evaluation.task]
            count = read_json(small_data / DATA_INDEX_FILE)[task.name]["questions"]
            _fake(Path(evaluation.out), task, job.limits.questions or count)

    monkeypatch.setattr(benchmark_runs, "run_job", run_job)
    return jobs


def _fake(out: Path, task: Benchmark, count: int) -> None:
    out.mkdir()
    responses = ["A"] if task.generates else [["-1.0", "False"]] * 4
    row = {"doc_hash": "d", "prompt_hash": "p", "filter": task.filter, "target": "0", "filtered_resps": responses}
    samples = [row | {"doc_id": n, task.metric: 0.5} for n in range(count)]
    answers = [{"doc_id": n, "truncated": None, "unparseable": n == 0, "prompt_cut": False} for n in range(count)]
    results = {
        "results": {task.name: {task.score_key: 0.5}},
        "n-samples": {task.name: {"original": count, "effective": count}},
        "n-shot": {task.name: task.shots},
        "versions": {task.name: 1.0},
    }
    (out / "results.json").write_text(json.dumps(results))
    (out / "settings.json").write_text(json.dumps({"batch_size": {"size": 3}, "chat_template": False, "warnings": []}))
    for name, rows in (("samples", samples), ("answers", answers)):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
