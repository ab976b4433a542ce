"""From a corpus and the tasks' data to a report's scores without the questions that training has seen."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import pdapt_json

from pdapt.core.errors import UserError
from pdapt.eval.benchmark.read_results import read_runs
from pdapt.eval.statistics.compare import Family, compare
from pdapt.eval.statistics.contamination import read_contaminated
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.eval.tasks.data_index import DATA_INDEX_FILE
from pdapt.eval.tasks.questions import read_questions
from pdapt.eval.tasks.suite import TASKS

MMLU, PROX = "mmlu_med_fr_anatomy", "mmlu_prox_fr_health"
ASKED = [
    f"Question {number} : lequel des muscles suivants est innervé par le nerf numéro {number} de la main droite ?"
    for number in range(40)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as `pdapt eval fetch` makes it; of the file of MMLU-ProX every second row is of another category."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "anatomy.jsonl").write_text(
        "".join(json.dumps({"question": text, "choices": ["a", "b"]}) + "\n" for text in ASKED)
    )
    columns: dict[str, Any] = {f"option_{number}": [f"x{number}" if number < 5 else None] * 80 for number in range(10)}
    columns |= {"answer": ["A"] * 80, "cot_content": [""] * 80, "category": ["law", "health"] * 40}
    asked = [text for question in ASKED for text in (question.upper(), question.replace("muscles", "organes"))]
    pq.write_table(pa.table({"question": asked, **columns}), folder / "health.parquet")
    files = {MMLU: "anatomy.jsonl", PROX: "health.parquet"}
    index = {task: {"test": file, "shots": file, "questions": 40} for task, file in files.items()}
    (folder / DATA_INDEX_FILE).write_text(json.dumps(index))
    return folder


@pytest.fixture
def contaminated(tmp_path: Path, data: Path) -> Path:
    """The list that `pdapt corpus decontaminate` makes where a document has one question of each task."""
    (tmp_path / "notes").mkdir()
    leaked = [ASKED[1], ASKED[5].replace("muscles", "organes"), "Une note sans rapport avec les questions."]
    lines = (json.dumps({"text": f"Annales. {text}"}) + "\n" for text in leaked)
    (tmp_path / "notes" / "a.jsonl").write_text("".join(lines))
    pdapt_json("corpus", "build", tmp_path / "notes", "--out", tmp_path / "corpus")
    tasks = ["--data", data, "--tasks", MMLU, "--tasks", PROX]
    pdapt_json("corpus", "decontaminate", tmp_path / "corpus", *tasks, "--out", tmp_path / "out")
    return tmp_path / "out" / "contaminated.jsonl"


@pytest.fixture
def scores(benchmark: Any) -> Path:
    """A base, and a checkpoint that gained both questions."""
    benchmark.tasks = [MMLU, PROX]
    benchmark.add("base", "base", lambda _, question: question % 2 == 0)
    benchmark.add("cpt-20", "checkpoint", lambda _, question: question % 4 < 2, step=20)
    return benchmark.folder


@pytest.mark.slow
def test_questions_in_the_corpus_are_left_out_of_scores(contaminated: Path, scores: Path) -> None:
    listed = read_contaminated(contaminated, TASKS)
    assert listed == {MMLU: {"1"}, PROX: {"5"}}
    (group,) = compare([Family(read_runs(scores), "cpt-20")], listed).groups
    assert group.without is not None
    assert group.without.documents == 78
    assert group.without.value == pytest.approx((group.change.value * 80 - 2) / 78)


@pytest.mark.slow
def test_a_report_shows_scores_with_and_without_the_questions_in_the_corpus(
    contaminated: Path, scores: Path, tmp_path: Path
) -> None:
    pdapt_json("report", "build", scores, "--contaminated", contaminated, "--out", tmp_path / "report")
    (path,) = (tmp_path / "report").rglob("contamination.csv")
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (float(row["all questions"]), row["left out"]) == (0, "2")
    assert float(row["clean questions"]) == pytest.approx(100 * -2 / 78)
    assert "Without contaminated questions" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_questions_are_in_the_order_of_their_ids(data: Path) -> None:
    questions = read_questions(data, choose_tasks([MMLU, PROX]))
    assert questions[MMLU] == [[text, "a", "b"] for text in ASKED]
    choices = [f"x{number}" for number in range(5)]
    assert questions[PROX] == [[text.replace("muscles", "organes"), *choices] for text in ASKED]


def test_tasks_without_data(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the data of 1 task"):
        read_questions(data, choose_tasks(["mmlu_anatomy"]))
    with pytest.raises(UserError, match="the tasks' data are missing"):
        read_questions(tmp_path, choose_tasks([MMLU]))
