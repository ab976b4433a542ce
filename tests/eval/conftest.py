"""Small inputs of the evaluation's tests."""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.files import write_json
from pdapt.core.manifest import run_stage
from pdapt.eval.cells import Task, suite
from pdapt.eval.scores import SCORES, Comparison, Role, Score, Scores

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
            write_json(work / SCORES, found.to_json())
            return {"models": 3}

        run_stage("eval", {"source": source}, {"limit": None}, folder / "scores", body)
        return folder / "scores"

    return make


@pytest.fixture(scope="session")
def trade() -> dict[tuple[str, str], dict[str, float]]:
    """What adaptation and a merge usually do: changes of the log perplexity."""
    return {
        ("cpt-10", "base"): {"medical": -0.2, "general": 0.1},
        ("merged", "base"): {"medical": -0.1, "general": 0.02},
        ("merged", "cpt-10"): {"medical": 0.1, "general": -0.08},
    }


@dataclass
class Benchmark:
    """Writes a folder of runs as `pdapt eval run` leaves it, from answers that a test chooses."""

    folder: Path
    questions: int = 40
    config: dict[str, Any] = field(default_factory=lambda: {"backend": "hf", "questions": None})
    members: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[str] = field(default_factory=lambda: list(suite()))

    def add(
        self, name: str, role: str, right: Callable[[str, int], bool], step: int | None = None, **options: Any
    ) -> None:
        """Write a model's answers; `right(task, question)` says which are right.

        Options: `invalid(task, question)`: whether no answer is found; `prompt`: what is asked; `shots`, `version`.
        """
        self.members.append({"name": name, "role": role, "step": step})
        for task in self.tasks:
            self.write(name, task, right, **options)
        write_json(self.folder / "benchmark.json", {"models": self.members, "tasks": self.tasks, "config": self.config})

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
        its, folder = suite()[task], self.folder / model / task
        folder.mkdir(parents=True, exist_ok=True)
        rows = [self._row(its, q, right(task, q), invalid(task, q), prompt) for q in range(self.questions)]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if its.metric != "acc":
            noted = [{"doc_id": row["doc_id"], "truncated": invalid(task, row["doc_id"])} for row in rows]
            (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in noted))
        score = sum(row[its.metric] for row in rows) / len(rows)
        results = {
            "results": {task: {f"{its.metric},{its.filter}": score}},
            "n-samples": {task: {"original": self.questions, "effective": self.questions}},
            "n-shot": {task: its.shots if shots is None else shots},
            "versions": {task: version},
            "lm_eval_version": "0.4.13",
            "total_evaluation_time_seconds": "12.5",
        }
        write_json(folder / "results.json", results)

    @staticmethod
    def _row(task: Task, question: int, right: bool, invalid: bool, prompt: str) -> dict[str, Any]:
        """One of lm-eval's samples: resps are written as strings."""
        digest = hashlib.sha256(f"{task.name}{question}".encode()).hexdigest()
        row = {"doc_id": question, "doc_hash": digest, "prompt_hash": f"{prompt}{question}", "filter": task.filter}
        row |= {"target": "2", "metrics": [task.metric], task.metric: float(right and not invalid)}
        if task.metric == "acc":
            return row | {
                "filtered_resps": [["-3.0", "False"], ["-2.5", "False"], [str(-2.0 if right else -4.0), "True"]]
            }
        return row | {"target": "C", "filtered_resps": ["[invalid]" if invalid else "C" if right else "A"]}


@pytest.fixture(scope="session")
def make_benchmark() -> Callable[[Path], Benchmark]:
    """Make an empty folder of runs to add models to."""
    return Benchmark


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    """An empty folder of runs to add models to."""
    return Benchmark(tmp_path / "scores")
