"""Files of the user's own tasks, damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pdapt.eval.tasks.own.own_task import OwnTask
from pdapt.eval.tasks.select_tasks import select_tasks

CSV = "question,A,B,C,answer\nFrage eins?,ja,nein,,A\nFrage zwei?,16,18,20,18\n"
LINES = '{"question": "Frage eins?", "options": ["ja", "nein"], "answer": "ja"}\n'
LINES += '{"question": "Frage zwei?", "options": ["16", "18"], "answer": "B"}\n'
ROWS = '{"frage": "Frage eins?", "optionen": ["ja", "nein"], "antwort": 1}\n{"frage": "x", "optionen": ["a", "b"]'
ROWS += ', "antwort": 0}\n'
TASK = {
    "task": "recht",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{frage}} {% for option in optionen %}{{option}} {% endfor %}?",
    "doc_to_choice": "optionen",
    "doc_to_target": "antwort",
    "metric_list": [{"metric": "acc"}],
    "fewshot_config": {"samples": [{"frage": "y", "optionen": ["a", "b"], "antwort": 0}]},
    "num_fewshot": 1,
}


@pytest.mark.parametrize(
    ("damaged", "asked"),
    [
        ("recht.csv", "recht.csv"),
        ("recht.jsonl", "recht.jsonl"),
        ("prompt.txt", "recht.csv"),
        ("task.yaml", "task.yaml"),
        ("rows.jsonl", "task.yaml"),
        ("_inner", "task.yaml"),
    ],
)
def test_fuzz_own_tasks(damaged: str, asked: str, fuzz: Callable[..., None], tmp_path: Path) -> None:
    files = {"recht.csv": CSV, "recht.jsonl": LINES, "rows.jsonl": ROWS, "prompt.txt": "{question}\n{options}\n?"}
    files |= {"task.yaml": yaml.safe_dump(TASK | {"include": "_inner"}), "_inner": "description: ja\ntask_alias: x\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def read() -> None:
        (task,) = select_tasks([str(tmp_path / asked)])
        assert isinstance(task, OwnTask)
        assert task.questions >= 2
        assert task.score_key
        assert task.answer_tokens is None or task.answer_tokens > 0

    fuzz(tmp_path / damaged, read)
