"""The steps of a run that look for the tasks' questions in its text."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.launch.pipeline import run_step
from pdapt.launch.preflight import check_request
from pdapt.launch.request import Request, TaskRuns, write_request

ANATOMY = "mmlu_med_fr_anatomy"


@pytest.fixture
def asked(qwen3_at: Callable[..., Path], tmp_path: Path, questions: Path) -> Request:
    """A run on notes of which three hold a question."""
    base = qwen3_at(tmp_path / "base")
    question = json.loads((questions / "anatomy.jsonl").read_text())["question"]
    texts = [f"note {n} : le patient numéro {n} reçoit {n} mg de paracétamol contre la fièvre." for n in range(40)]
    texts += [f"Annales {n}. {question}" for n in range(3)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    runs = TaskRuns(str(questions), [ANATOMY])
    data, recipe = [str(tmp_path / "notes.jsonl")], "qwen3_tiny_cpt_2xcpu"
    return Request(
        "title", "medical", data, general=["none"], base=str(base), recipe=recipe, benchmark=runs, valid_fraction=0.2
    )


def do(request: Request, run: Path, *steps: str) -> Path:
    write_request(request, run)
    for step in steps:
        run_step(run, step)
    return run


def listed(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "contamination" / "contaminated.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_questions_in_what_is_trained_on_are_listed(asked: Request, tmp_path: Path, parts: int) -> None:
    run = do(replace(asked, parts=parts), tmp_path / "run", "corpus", "contamination")
    assert listed(run) == [{"task": ANATOMY, "doc_id": 0}]


def test_documents_with_questions_of_tasks_are_not_trained_on(asked: Request, tmp_path: Path) -> None:
    given = replace(asked, decontaminate=asked.benchmark.data if asked.benchmark else None)
    run = do(given, tmp_path / "run", "corpus", "decontaminate", "tokens", "contamination")
    counts = Manifest.read(run / "decontaminated").counts["medical-notes"]
    assert (counts["contaminated"]["documents"], counts["kept"]) == (3, 40)
    totals = read_json(run / "tokens" / "tokens.json")["totals"]
    assert sum(each["documents"] for each in totals.values()) == 40
    assert listed(run) == [], "nothing is left of what is looked for"


def test_a_folder_without_questions_is_refused_before_any_text_is_read(asked: Request, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the tasks' data are missing"):
        check_request(replace(asked, decontaminate=str(tmp_path)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "benchmark.json").write_text("{}")
    with pytest.raises(UserError, match="there are no task's data"):
        check_request(replace(asked, decontaminate=str(tmp_path / "empty")))


def test_questions_of_ones_own_are_looked_for_and_a_task_file_says_which_column(asked: Request, tmp_path: Path) -> None:
    text = "Annales 1 : quelle dose de paracétamol le patient de quarante ans reçoit-il contre la fièvre ce soir ?"
    (tmp_path / "dosis.csv").write_text(f"question,A,B,answer\n{text},1 g,2 g,A\nQuelle dose ?,3 mg,4 mg,B\n")
    with (tmp_path / "notes.jsonl").open("a") as file:
        file.write(json.dumps({"text": f"Vu hier. {text} Puis il dort."}) + "\n")
    given = replace(asked, benchmark=TaskRuns(None, [f"{tmp_path}/dosis.csv"]))
    assert listed(do(given, tmp_path / "run", "corpus", "contamination")) == [{"task": "dosis", "doc_id": 0}]
    lines = "task: q\ndataset_path: csv\ndataset_kwargs: {data_files: {test: dosis.csv}}\ntest_split: test\n"
    lines += "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: answer\n"
    (tmp_path / "q.yaml").write_text(lines)
    with pytest.raises(UserError, match="does not say which column is the question"):
        do(replace(given, benchmark=TaskRuns(None, [f"{tmp_path}/q.yaml"])), tmp_path / "other", "corpus")
