"""The 28 tasks: the table against the paper's, and what is asked against what lm-eval's own task files ask."""

import csv
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from lm_eval.api import task as lm_eval_task
from lm_eval.tasks import TaskManager

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.eval.benchmark.task_files import write_task_file
from pdapt.eval.paper.tables_file import TABLES_FILE
from pdapt.eval.tasks.all_tasks import choose_tasks, suite_of_tasks
from pdapt.eval.tasks.data_index import DATA_INDEX_FILE, read_data_index
from pdapt.eval.tasks.own.own_task import OwnTask
from pdapt.eval.tasks.select_tasks import select_tasks
from pdapt.eval.tasks.suite import (
    FRENCH_MMLU_DATASET,
    GROUPS,
    MEDICAL_SUBJECTS,
    MMLU_DATASET,
    PAPER_SUITE,
    PROX_CATEGORIES,
    PROX_DATASET,
    SUITE,
    TASKS,
    Benchmark,
)


def test_the_table_is_the_papers() -> None:
    """Table 2, and the names and keys of lm-eval, were written down by others; `test_paper` holds them to that."""
    rows = read_json(TABLES_FILE)["table2"]
    expected = {
        (
            row["lm_eval_task"][language],
            f"{language}-{row['group_suffix']}",
            *(row[key] for key in ("topic", "abbrev", "num_fewshot", "result_key", "n_questions")),
        )
        for row in rows
        for language in ("EN", "FR")
    }
    found = {(t.name, t.group, t.subject, t.abbreviation, t.shots, t.score_key, t.questions) for t in SUITE}
    assert found == expected
    assert len(SUITE) == 28
    assert Counter(task.group for task in SUITE) == dict.fromkeys(GROUPS, 7)


def test_tasks_are_chosen_by_name_group_and_pattern() -> None:
    assert choose_tasks([]) == list(SUITE)
    assert {task.group for task in choose_tasks(["FR-MEDICAL", "EN-OTHER"])} == {"FR-MEDICAL", "EN-OTHER"}
    assert [task.name for task in choose_tasks(["mmlu_prox_*_law", "mmlu_anatomy"])] == [
        "mmlu_prox_fr_law",
        "mmlu_anatomy",
        "mmlu_prox_en_law",
    ]
    with pytest.raises(UserError, match="did you mean 'mmlu_anatomy'"):
        choose_tasks(["mmlu_anatomi"])


def built(task: Benchmark, manager: TaskManager) -> Any:
    """lm-eval's task with its requests, as `simple_evaluate` builds them."""
    return built_by_name(task.name, task.shots, manager)


def built_by_name(name: str, shots: int, manager: TaskManager) -> Any:
    found = manager.load([name])["tasks"][name]
    found.set_config(key="num_fewshot", value=shots)
    found.set_fewshot_seed(seed=1234)
    found.build_all_requests()
    return found


@pytest.fixture(scope="module", autouse=True)
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what `datasets` prepares out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="module")
def ours(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Benchmark], Any]:
    """A task as `pdapt eval run` runs it."""

    @cache
    def build(task: Benchmark) -> Any:
        folder = tmp_path_factory.mktemp(task.name)
        write_task_file(task, read_data_index(small_data, [task])[task.name], small_data, folder)
        return built(task, TaskManager(include_path=str(folder), include_defaults=False))

    return build


FEATURES = Features(
    {
        "question": Value("string"),
        "subject": Value("string"),
        "choices": List(Value("string")),
        "answer": ClassLabel(names=list("ABCD")),
    }
)


@pytest.fixture
def packaged(small) -> Callable[[Benchmark], Any]:
    """A task as lm-eval's own file says; where that looks for its data set, the same made-up rows are."""

    def load_dataset(path: str, name: str | None = None, **options: Any) -> DatasetDict:
        assert name is not None
        assert not options
        if path == MMLU_DATASET:
            splits = {split: small.mmlu(name, split) for split in ("test", "dev")}
            return DatasetDict({s: Dataset.from_list(rows, features=FEATURES) for s, rows in splits.items()})
        assert path == PROX_DATASET
        return DatasetDict({s: Dataset.from_list(small.prox(name, s)) for s in ("test", "validation")})

    def build(task: Benchmark) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lm_eval_task.datasets, "load_dataset", load_dataset)
            return built(task, TaskManager(include_path=str(task.task_file.parent), include_defaults=False))

    return build


PACKAGED = [task for task in SUITE if task.dataset != FRENCH_MMLU_DATASET]
FRENCH_TASKS = [task for task in SUITE if task.dataset == FRENCH_MMLU_DATASET]


@pytest.mark.parametrize("task", PACKAGED, ids=lambda task: task.name)
def test_what_is_asked_is_what_lm_eval_asks(task: Benchmark, ours, packaged) -> None:
    """Byte for byte: contexts with their examples, choices, stop strings and token limits; and how it is scored."""
    mine, theirs = ours(task), packaged(task)
    assert [(i.doc_id, i.idx, i.request_type, i.arguments, i.doc) for i in mine.instances] == [
        (i.doc_id, i.idx, i.request_type, i.arguments, i.doc) for i in theirs.instances
    ]
    assert len({i.doc_id for i in mine.instances}) == (7 if task.dataset == MMLU_DATASET else 6)
    assert {i.request_type for i in theirs.instances} == {task.kind}
    assert (theirs.get_config("generation_kwargs") or {}).get("max_gen_toks") == task.answer_tokens
    configs = mine.dump_config(), theirs.dump_config()
    differing = {key for key in {*configs[0], *configs[1]} if str(configs[0].get(key)) != str(configs[1].get(key))}
    assert differing == {"dataset_path", "dataset_name", "dataset_kwargs", "metadata"}
    assert configs[0]["metadata"]["version"] == configs[1]["metadata"]["version"]


@pytest.mark.parametrize("task", FRENCH_TASKS, ids=lambda task: task.name)
def test_a_french_question_follows_its_worked_examples(task: Benchmark, ours) -> None:
    mine = ours(task)
    contexts = {instance.doc_id: instance.arguments[0] for instance in mine.instances}
    corpus = f"MMLU_{task.subject}"
    description = yaml.safe_load(task.task_file.read_text(encoding="utf-8"))["description"]
    example = (
        "Exemple {k} de {corpus} ?\nA. exemple A{k}\nB. exemple B{k}\nC. exemple C{k}\nD. exemple D{k}\nRéponse : {a}"
    )
    shown = "\n\n".join(example.format(k=k, corpus=corpus, a="ABC"[k]) for k in range(3))
    question = f"Question 1 de {corpus} ?\nA. réponse A1\nB. réponse B1\nC. réponse C1\nD. réponse D1\nRéponse :"
    assert contexts[1] == f"{description}{shown}\n\n{question}"
    assert [i.arguments[1] for i in mine.instances if i.doc_id == 1] == [" A", " B", " C", " D"]
    assert mine.doc_to_target(mine.eval_docs[1]) == 2


@pytest.mark.parametrize("task", SUITE, ids=lambda task: task.name)
def test_no_question_is_its_own_example(task: Benchmark, ours) -> None:
    mine = ours(task)
    for instance in mine.instances:
        question = instance.doc["question"].strip()
        assert instance.arguments[0].count(question) == 1


def test_french_task_files_find_their_data_in_the_folder_that_fetch_makes(small_data: Path, monkeypatch) -> None:
    """So that lm-eval's own command runs them: `lm_eval --include_path …/eval/tasks`, started there."""
    monkeypatch.chdir(small_data)
    folder = FRENCH_TASKS[0].task_file.parent
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    assert set(manager.all_subtasks) == {task.name for task in FRENCH_TASKS}
    assert len(built(FRENCH_TASKS[0], manager).instances) == 5 * 4


def test_the_files_that_are_run_differ_in_paths_alone(small_data: Path, tmp_path: Path) -> None:
    assert list(read_json(small_data / DATA_INDEX_FILE)) == sorted(task.name for task in SUITE)
    index = read_data_index(small_data, list(SUITE))
    for task in SUITE:
        write_task_file(task, index[task.name], small_data, tmp_path)
        value = yaml.safe_load((tmp_path / f"{task.name}.yaml").read_text())
        assert set(value) == {"include", "dataset_path", "dataset_name", "dataset_kwargs"}
        assert Path(value["include"]) == task.task_file
        assert task.task_file.is_file()
        assert set(value["dataset_kwargs"]) == {"data_files"}


HAND_WRITTEN = """\
task: recht
dataset_path: json
dataset_kwargs: {data_files: {test: test.jsonl, dev: dev.jsonl}}
test_split: test
fewshot_split: dev
fewshot_config: {sampler: first_n}
num_fewshot: 1
output_type: multiple_choice
doc_to_text: "Frage: {{q}}\\n{% for o in os %}{{'ABCD'[loop.index0]}}. {{o}}\\n{% endfor %}Antwort:"
doc_to_choice: "{{['A', 'B', 'C', 'D'][:(os | length)]}}"
doc_to_target: a
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def test_a_table_of_questions_asks_and_scores_as_a_task_file_written_by_hand(tmp_path: Path, monkeypatch) -> None:
    """And that file, given to pdapt, asks the same as where lm-eval reads it itself."""
    hand, table = tmp_path / "hand", tmp_path / "table"
    hand.mkdir(), table.mkdir()
    questions = [
        ("Eins?", ["ja", "nein"], 1),
        ('Wie viele {{x}}, "etwa"?', ["1", "2", "3, ä"], 2),
        ("3?", ["c", "b"], 0),
    ]
    for split, rows in (("test", questions), ("dev", [("Beispiel?", ["x", "y", "z", "w"], 3)])):
        lines = [json.dumps({"q": text, "os": options, "a": right}) for text, options, right in rows]
        (hand / f"{split}.jsonl").write_text("\n".join(lines))
        with (table / ("recht.csv" if split == "test" else "recht.examples.csv")).open("w") as file:
            writer = csv.writer(file, delimiter=";")
            writer.writerow(["question", "A", "B", "C", "D", "answer"])
            for text, options, right in rows:
                writer.writerow([text, *options, *[""] * (4 - len(options)), "ABCD"[right]])
    (hand / "recht.yaml").write_text(HAND_WRITTEN)
    (table / "prompt.txt").write_text("Frage: {question}\n{options}\nAntwort:\n")
    made = []
    for number, path in enumerate((table / "recht.csv", hand / "recht.yaml")):
        (task,) = select_tasks([str(path)])
        assert isinstance(task, OwnTask)
        task.write(tmp_path / str(number))
        manager = TaskManager(include_path=str(tmp_path / str(number)), include_defaults=False)
        made.append(built_by_name("recht", task.shots, manager))
    monkeypatch.chdir(hand)
    theirs = built_by_name("recht", 1, TaskManager(include_path=str(hand), include_defaults=False))
    draw = random.Random(1)
    answers = {(i.doc_id, i.idx): (-9 * draw.random(), False) for i in theirs.instances}
    for mine in made:
        assert [(i.doc_id, i.idx, i.request_type, i.arguments) for i in mine.instances] == [
            (i.doc_id, i.idx, i.request_type, i.arguments) for i in theirs.instances
        ]
        made_scores = [_scored(mine, number, answers) for number in range(3)]
        assert made_scores == [_scored(theirs, number, answers) for number in range(3)] == [0, 0, 1]


def _scored(task: Any, number: int, answers: dict[tuple[int, int], tuple[float, bool]]) -> float:
    responses = [answers[key] for key in sorted(answers) if key[0] == number]
    return task.process_results(task.eval_docs[number], responses)["acc"]


def test_results_of_clinical_tasks_are_of_no_task_of_the_paper_s_unless_one_is_beside_them() -> None:
    clinical = [task.name for task in choose_tasks(["FR-CLINICAL"])]
    assert set(suite_of_tasks(clinical).tasks) == set(clinical)
    assert suite_of_tasks(clinical).target is None
    both = suite_of_tasks([*clinical, SUITE[0].name])
    assert (set(both.tasks), both.target) == ({*TASKS, *clinical}, PAPER_SUITE.target)
    assert suite_of_tasks([SUITE[0].name]) is PAPER_SUITE


def test_subjects_are_named() -> None:
    assert {task.subject for task in SUITE} == {*MEDICAL_SUBJECTS, *PROX_CATEGORIES}
