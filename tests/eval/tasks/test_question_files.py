"""Files of questions that people write: what is taken of them, and what is refused, with its line."""

import json
from pathlib import Path

import pytest
import yaml

from pdapt.core.errors import UserError
from pdapt.eval.tasks.own.own_task import OwnTask
from pdapt.eval.tasks.select_tasks import select_tasks

HEADER = "question,A,B,C,answer\n"
GOOD = "Frage eins?,ja,nein,,A\nFrage zwei?,16,18,20,18\n"


def write(folder: Path, text: str | bytes, name: str = "recht.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(task: OwnTask, folder: Path, split: str = "test") -> list[dict[str, object]]:
    """The rows that lm-eval reads, by the task file that it reads."""
    task.write(folder)
    config = yaml.safe_load((folder / f"{task.name}.yaml").read_text())
    (path,) = config["dataset_kwargs"]["data_files"][split]
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_questions_of_two_options_and_more_are_asked_by_their_letters(tmp_path: Path) -> None:
    (task,) = select_tasks([str(write(tmp_path, "id," + HEADER + "1,Frage eins?,ja,nein,,A\n2,Zwei?,16,18,20,18\n"))])
    assert isinstance(task, OwnTask)
    assert (task.name, task.group, task.questions, task.shots, task.score_key) == ("recht", "recht", 2, 0, "acc,none")
    rows = rows_of(task, tmp_path / "run")
    assert [row["prompt"] for row in rows] == [
        "Frage eins?\nA. ja\nB. nein\nAnswer:",
        "Zwei?\nA. 16\nB. 18\nC. 20\nAnswer:",
    ]
    assert [(row["letters"], row["answer"]) for row in rows] == [(["A", "B"], 0), (["A", "B", "C"], 1)]
    assert task.texts == [["Frage eins?", "ja", "nein"], ["Zwei?", "16", "18", "20"]]
    assert task.taken == (
        "2 questions of 2 to 3 options, 0 worked examples, asked with 'Answer:'; prompt.txt beside it says otherwise; "
        "columns not used: id"
    )


@pytest.mark.parametrize(
    "content",
    [
        (HEADER + GOOD).replace(",", ";"),
        (HEADER + GOOD).replace(",", "\t"),
        "\ufeff" + HEADER + GOOD,
        (HEADER + GOOD).encode("utf-16"),
        "sep=;\r\n" + (HEADER + GOOD).replace(",", ";").replace("\n", "\r\n"),
        HEADER.upper() + "\n" + GOOD + ",,,,\n",
    ],
    ids=["semicolons", "tabs", "mark", "utf-16", "excel", "upper case and blank lines"],
)
def test_what_spreadsheets_write_is_the_same_task(content: str | bytes, tmp_path: Path) -> None:
    tasks = [select_tasks([str(write(tmp_path, HEADER + GOOD, "a.csv"))])[0]]
    tasks += select_tasks([str(write(tmp_path, content, "b.csv"))])
    first, second = (rows_of(task, tmp_path / "run") for task in tasks if isinstance(task, OwnTask))
    assert first == second


def test_json_lines_have_lists_or_letters(tmp_path: Path) -> None:
    lists = '{"question": "Zwei?", "options": ["16", "18"], "answer": "18"}\n\n{"question": "q", "options": ["x", "y"],'
    lists += ' "answer": "A"}\n'
    letters = '{"question": "Zwei?", "A": "16", "B": "18", "answer": "B"}\n'
    letters += '{"question": "q", "A": "x", "B": "y", "C": null, "answer": "x"}\n'
    paths = [write(tmp_path, text, f"{name}.jsonl") for name, text in (("a", lists), ("b", letters))]
    first, second = (rows_of(task, tmp_path) for task in select_tasks([*map(str, paths)]) if isinstance(task, OwnTask))
    assert first == second
    assert [row["answer"] for row in first] == [1, 0]


def test_worked_examples_and_the_prompt_lie_beside_the_questions(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + GOOD)
    write(tmp_path, "question,A,B,answer\nBeispiel?,x,y,B\n", "recht.examples.csv")
    write(tmp_path, "Frage: {question} {not_a_place}\n{options}\nAntwort: \n", "prompt.txt")
    (task,) = select_tasks([f"{tmp_path}/"])
    assert isinstance(task, OwnTask)
    assert (task.file, task.shots, sorted(task.hashes)) == (path, 1, ["examples", "prompt", "task"])
    (shown,) = rows_of(task, tmp_path / "run", "dev")
    assert shown["prompt"] == "Frage: Beispiel? {not_a_place}\nA. x\nB. y\nAntwort:"
    config = yaml.safe_load((tmp_path / "run/recht.yaml").read_text())
    assert (config["num_fewshot"], config["fewshot_split"]) == (1, "dev")
    templates = {config[key] for key in ("doc_to_text", "doc_to_choice", "doc_to_target")}
    assert templates <= {*shown}, "columns, no templates: braces in a question are text"


CSV_FAULTS = {
    "": "holds no questions",
    HEADER: "holds no questions",
    HEADER + "eins?,ja,nein,,A\n": "holds one question",
    "frage,A,B,answer\n" + GOOD: r"(?s)no column 'question'.*recht.csv:1",
    "question,A,B,anwser\n" + GOOD: r"(?s)no column 'answer'.*did you mean 'anwser'",
    "question,A,C,answer\nq,x,y,A\n": "no column 'B'",
    "question,answer\nq,x\n": "no columns of options",
    "question,A,A,answer\nq,x,y,A\n": "'a' appears twice",
    HEADER + "eins?,ja,nein,,D\n": r"(?s)answer is \"D\", which is none.*recht.csv:2.*A to B",
    HEADER + "eins?,ja,nein,,vielleicht\n": 'answer is "vielleicht", which is none',
    HEADER + "eins?,ja,nein,,\n": "answer is empty",
    HEADER + ",ja,nein,,A\n": r"(?s)question is empty.*recht.csv:2",
    HEADER + "eins?,ja,,nein,A\n": "option B is empty",
    HEADER + "eins?,ja,,,A\n": "1 option",
    HEADER + "eins?,ja,nein,ja,A\n": 'two options are the same: "ja"',
    HEADER + "eins?,B,A,,A\n": "the letter of one option and the text of another",
    HEADER + "eins?,ja,nein,,A\n EINS? ,nein,ja,,B\n": r"(?s)question of line 2 appears again.*recht.csv:3",
    HEADER + "eins?,ja,nein,A\n": r"(?s)4 fields, and the header has 5.*recht.csv:2",
    HEADER + '"eins?,ja,nein,,A\n': "not a row of the table",
}
JSON_FAULTS = {
    "[]": "a JSON array",
    '{"question": "q", "options": ["x", "y"], "answer": 1}\n': "answer is the number 1",
    '{"question": "q", "options": ["x", 2], "answer": "x"}\n': "option B is 2",
    '{"question": "q", "options": "x", "answer": "x"}\n': 'options is "x"',
    '{"question": 7, "options": ["x", "y"], "answer": "x"}\n': "question is 7",
    '{"question": "q", "options": ["x", "y"]}\n': "no column 'answer'",
    '{"question": "q", "options": ["x", "y"], "A": "x", "answer": "x"}\n': "both options and columns A",
    '{"question": "q"\n': "not valid JSON",
}


@pytest.mark.parametrize(("text", "message"), CSV_FAULTS.items())
def test_rows_that_are_no_questions_are_refused_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        select_tasks([str(write(tmp_path, text))])


@pytest.mark.parametrize(("text", "message"), JSON_FAULTS.items())
def test_lines_that_are_no_questions_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        select_tasks([str(write(tmp_path, text, "recht.jsonl"))])


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)not UTF-8: byte 0xe4.*recht.csv:3.*iconv"):
        select_tasks([str(write(tmp_path, (HEADER + GOOD).replace("zwei", "zw\xe4i").encode("latin-1")))])
    with pytest.raises(UserError, match="xlsx table"):
        select_tasks([str(write(tmp_path, b"PK\x03\x04 xl/"))])


def test_prompts_without_places_and_examples_that_are_questions_are_refused(tmp_path: Path) -> None:
    path = str(write(tmp_path, HEADER + GOOD))
    write(tmp_path, HEADER + "Frage  EINS?,nein,ja,,A\n", "recht.examples.csv")
    with pytest.raises(UserError, match=r"(?s)the example is the question of line 2.*examples.csv:2"):
        select_tasks([path])
    write(tmp_path, "", "recht.examples.jsonl")
    with pytest.raises(UserError, match="two files of worked examples"):
        select_tasks([path])
    for name in ("recht.examples.csv", "recht.examples.jsonl"):
        (tmp_path / name).unlink()
    for text, places in (("{options}{question}", "{options}, {question}"), ("{question}", "{question}"), ("", "no")):
        write(tmp_path, text, "prompt.txt")
        with pytest.raises(UserError, match=f"the prompt has {places}"):
            select_tasks([path])


def test_names_that_are_taken_or_cannot_be_folders_are_refused(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "other").mkdir()
    for name, message in (
        ("mmlu_anatomy.csv", "the name of one of pdapt's own"),
        ("FR-MEDICAL.csv", "the name of one of pdapt's own"),
        ("model.json.csv", "cannot name a task"),
        ("a b.csv", "cannot name a task"),
        ("x.examples.csv", "holds worked examples"),
        ("recht.txt", "is not a task"),
    ):
        with pytest.raises(UserError, match=message):
            select_tasks([str(write(tmp_path, HEADER + GOOD, name))])
    both = [str(write(folder, HEADER + GOOD)) for folder in (tmp_path, tmp_path / "other")]
    with pytest.raises(UserError, match="two tasks are called recht"):
        select_tasks(both)
    assert len(select_tasks([both[0], both[0]])) == 1
    with pytest.raises(UserError, match=r"gone\.csv is missing"):
        select_tasks([str(tmp_path / "gone.csv")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no tasks"):
        select_tasks([f"{tmp_path}/empty"])
    write(tmp_path / "empty", HEADER + GOOD, "a.examples.csv")
    with pytest.raises(UserError, match="examples without a file of questions"):
        select_tasks([f"{tmp_path}/empty", both[0]])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"write \./other"):
        select_tasks(["other"])
