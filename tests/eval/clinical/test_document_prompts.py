"""The tasks on clinical documents as lm-eval builds and scores them."""

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from pdapt.eval.clinical.documents.document_tasks import DocumentTask
from pdapt.eval.harness.answer_notes import UNPARSEABLE
from pdapt.eval.tasks.all_tasks import ALL_TASKS

TEXT = "Carcinome microcytaire du poumon, fièvre."
ENTITIES = {"asked": "maladies", "mentions": ["Carcinome microcytaire", "fièvre"]}
ENTITIES |= {"answer": "Carcinome microcytaire ; fièvre"}
CASES: dict[str, tuple[dict[str, Any], str, str, str, dict[str, float]]] = {
    "quaero_entities_fr": (
        ENTITIES,
        "Texte : {text}\nÀ relever : maladies\nRéponse :",
        " Carcinome microcytaire ; toux",
        "Carcinome microcytaire ; toux",
        {"correct": 0, "true_positives": 1, "predicted": 2, "gold": 2},
    ),
    "frasimed_codes_fr": (
        {"mention": "Carcinome microcytaire", "code": "8041/3"},
        "Texte : {text}\nMention : Carcinome microcytaire\nCode :",
        " M8041/6 (?)",
        "8041/6",
        {"correct": 0, "histology": 1},
    ),
    "frenchmedmcqa_fr": (
        {"choices": list("vwxyz"), "right": ["A", "C"], "answer": "A, C"},
        "Question : {text}\nA. v\nB. w\nC. x\nD. y\nE. z\nRéponse(s) :",
        " A, B",
        "A, B",
        {"correct": 0, "hamming": 1 / 3},
    ),
}
"""Task -> row, prompt, answer, what the filter takes of it, scores."""
UNREADABLE = {"frasimed_codes_fr": " je ne sais pas", "frenchmedmcqa_fr": " aucune idée"}


@pytest.mark.parametrize("name", list(CASES))
def test_a_question_follows_worked_examples_and_is_scored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, prompt, answer, taken, scores = CASES[name]
    task = ALL_TASKS[name]
    assert isinstance(task, DocumentTask)
    (tmp_path / "clinical" / name).mkdir(parents=True)
    for split, count in (("test", 2), ("dev", 3)):
        rows = [row | {"text": f"{TEXT} {split}{number}"} for number in range(count)]
        lines = (json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
        (tmp_path / "clinical" / name / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    manager = TaskManager(include_path=str(task.task_file.parent), include_defaults=False)
    made: Any = manager.load([name])["tasks"][name]
    made.build_all_requests()
    context, options = made.instances[1].arguments
    target = row.get("answer") or row["code"]
    shown = "".join(f"{prompt.format(text=f'{TEXT} dev{n}')} {target}\n\n" for n in range(3))
    assert context.endswith(shown + prompt.format(text=f"{TEXT} test1"))
    assert (options["max_gen_toks"], task.shots) == (task.answer_tokens, 3)
    unreadable = [(UNREADABLE[name], UNPARSEABLE)] if name in UNREADABLE else []
    for words, expected in ((answer, taken), *unreadable):
        for instance in made.instances:
            instance.resps = [words]
        made.apply_filters()
        assert made.instances[1].filtered_resps[task.filter].strip() == expected
    assert made.process_results(made.instances[1].doc, [taken]) == pytest.approx(scores)
    assert set(scores) == {task.metric, *task.measures} == set(made.aggregation())
