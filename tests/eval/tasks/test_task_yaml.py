"""Task files of lm-eval that are the user's: what is taken of them, and what is refused since it would be run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pdapt.core.errors import UserError
from pdapt.core.hf import chat_rendering
from pdapt.eval.tasks.own.own_task import OwnTask
from pdapt.eval.tasks.own.task_templates import LONGEST, sandbox
from pdapt.eval.tasks.select_tasks import select_questions, select_tasks

ROWS = [{"frage": f"Frage {n}?", "optionen": ["ja", "nein", "kaum"], "antwort": n % 3} for n in range(4)]
TASK: dict[str, Any] = {
    "task": "recht",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "recht.jsonl", "dev": "recht.jsonl"}},
    "test_split": "test",
    "fewshot_split": "dev",
    "num_fewshot": 2,
    "output_type": "multiple_choice",
    "doc_to_text": "{{frage}}\n{% for option in optionen %}{{'ABC'[loop.index0]}}. {{option}}\n{% endfor %}Antwort:",
    "doc_to_choice": "{{['A', 'B', 'C'][:(optionen | length)]}}",
    "doc_to_target": "antwort",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}, {"metric": "acc_norm"}],
}
TEXT = TASK | {"output_type": "generate_until", "doc_to_target": "{{optionen[antwort]}}", "metric_list": None}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """`write(file="recht.yaml", **changes)`: the task with other values, beside its data; None takes a key out."""
    (tmp_path / "recht.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def make(file: str = "recht.yaml", like: dict[str, Any] = TASK, **changes: Any) -> str:
        value = {key: value for key, value in (like | changes).items() if value is not None}
        (tmp_path / file).write_text(yaml.safe_dump(value))
        return str(tmp_path / file)

    return make


def test_a_task_file_is_taken_with_its_data_and_its_hashes(write: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "_words").write_text("description: Deutsches Recht\ndoc_to_target: frage\n")
    (task,) = select_tasks([write(include="_words", doc_to_decontamination_query="frage", task_alias="Recht")])
    assert isinstance(task, OwnTask)
    assert (task.name, task.questions, task.shots, task.score_key) == ("recht", 4, 2, "acc,none")
    assert sorted(task.hashes) == ["data dev-0.jsonl", "data test-0.jsonl", "include _words", "task"]
    task.write(tmp_path / "run")
    made = yaml.safe_load((tmp_path / "run/recht.yaml").read_text())
    assert (made["description"], made["doc_to_target"]) == ("Deutsches Recht", "antwort")
    assert {Path(path).is_file() for paths in made["dataset_kwargs"]["data_files"].values() for path in paths} == {True}
    assert "include" not in made
    assert select_questions([write(doc_to_decontamination_query="frage")], None)["recht"][1] == ["Frage 1?"]
    with pytest.raises(UserError, match="does not say which column is the question"):
        select_questions([write()], None)


def test_generated_answers_have_a_limit_and_are_greedy(write: Callable[..., str], tmp_path: Path) -> None:
    steps = [{"function": "regex", "regex_pattern": "(ja|nein)"}, {"function": "take_first"}]
    (task,) = select_tasks([write(like=TEXT, filter_list=[{"name": "word", "filter": steps}], doc_to_choice=None)])
    assert isinstance(task, OwnTask)
    assert (task.score_key, task.answer_tokens) == ("exact_match,word", 256)
    assert task.config["generation_kwargs"] == {"until": ["\n\n"], "max_gen_toks": 256, "do_sample": False}


def test_filters_of_answers_are_lm_eval_s_and_can_be_used(write: Callable[..., str]) -> None:
    for step, message in (
        ({"function": "custom", "filter_fn": "f"}, "no filter is called 'custom'"),
        ({"function": "regex", "regex_pattern": "("}, "regex_pattern is"),
        ({"function": "regex", "regex_pattern": 3}, "regex_pattern is"),
        ("take_first", "filter_list is"),
    ):
        with pytest.raises(UserError, match=message):
            select_tasks([write(like=TEXT, filter_list=[{"name": "x", "filter": [step]}], doc_to_choice=None)])


def test_csv_and_parquet_are_read_as_lm_eval_reads_them(write: Callable[..., str], tmp_path: Path) -> None:
    rows = [{"frage": f"Frage {n}?", "ja": "ja", "nein": "nein", "antwort": n % 2} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "recht.parquet")
    lines = ["frage;ja;nein;antwort", *(";".join(map(str, row.values())) for row in rows)]
    (tmp_path / "recht.csv").write_text("\n".join(lines))
    plain = {"doc_to_text": "frage", "doc_to_choice": "{{[ja, nein]}}", "num_fewshot": None, "fewshot_split": None}
    for kind, options in (("parquet", {}), ("csv", {"delimiter": ";"})):
        kwargs = {"data_files": {"test": f"recht.{kind}"}, **options}
        (task,) = select_tasks([write(dataset_path=kind, dataset_kwargs=kwargs, **plain)])
        assert isinstance(task, OwnTask)
        assert (task.questions, task.dataset) == (3, kind)


def test_a_folder_has_its_task_files_and_their_groups(write: Callable[..., str], tmp_path: Path, capsys) -> None:
    write(), write("zwei.yaml", task="zwei"), write("drei.yml", task="drei")
    (tmp_path / "both.yaml").write_text("group: jura\ntask: [recht, zwei]\n")
    (tmp_path / "groups.yaml").write_text("jura: [recht]\n")
    (tmp_path / "left.csv").write_text("question,A,B,answer\n")
    tasks = select_tasks([f"{tmp_path}/"])
    assert {task.name: task.group for task in tasks} == {"recht": "jura", "zwei": "jura", "drei": "drei"}
    assert "not tasks, beside 3 task files: groups.yaml, left.csv" in capsys.readouterr().err
    for text, message in (
        ("group: jura\ntask: [vier]\n", "no task is called 'vier'"),
        ("group: g\ntask: x\n", "neither"),
    ):
        (tmp_path / "both.yaml").write_text(text)
        with pytest.raises(UserError, match=message):
            select_tasks([f"{tmp_path}/"])
    (tmp_path / "both.yaml").write_text("group: jura\ntask: [recht, zwei]\n")
    with pytest.raises(UserError, match="is a group of tasks"):
        select_tasks([f"{tmp_path}/both.yaml"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("class", "tasks.Mine", "class asks for a Python class"),
        ("process_docs", "utils.f", "process_docs asks for a Python function"),
        ("process_results", "utils.f", "process_results asks for a Python function"),
        ("custom_dataset", "utils.f", "custom_dataset asks for a Python function"),
        ("use_prompt", "promptsource:*", "use_prompt asks for templates of another package"),
        ("unsafe_code", True, "unsafe_code asks for code"),
        ("doc_to_image", "bild", "doc_to_image asks for images"),
        ("trust_remote_code", True, "trust_remote_code runs code"),
        ("doc_to_txt", "frage", r"(?s)no key of a task is called 'doc_to_txt'.*did you mean 'doc_to_text'"),
        ("include", "../elsewhere.yaml", "not in the folder of the task file"),
        ("include", "/etc/passwd", "not in the folder of the task file"),
        ("include", "recht.yaml", "includes itself"),
        ("include", "gone.yaml", "gone.yaml is missing"),
        ("dataset_path", "cais/mmlu", "they would come from the Hub"),
        ("dataset_path", "./script.py", "they would come from the Hub, or by code"),
        ("dataset_name", "de", "they would come from the Hub"),
        ("dataset_kwargs", {"trust_remote_code": True, "data_files": {"test": "recht.jsonl"}}, "'trust_remote_code'"),
        ("dataset_kwargs", {"data_files": {"test": "../recht.jsonl"}}, "not in the folder of the task file"),
        ("dataset_kwargs", {"data_files": {"test": "https://example.org/recht.jsonl"}}, "not in the folder"),
        ("dataset_kwargs", {"data_files": {"test": "*.jsonl"}}, "not in the folder"),
        ("dataset_kwargs", {"data_files": {"test": "/etc/passwd"}}, "not in the folder"),
        ("dataset_kwargs", {"data_files": {"test": "recht.pkl"}}, "a name in .json, .jsonl"),
        ("dataset_kwargs", {"data_files": {"test": "gone.jsonl"}}, '"gone.jsonl" is missing'),
        ("dataset_kwargs", {"data_files": {"dev": "recht.jsonl"}}, "test_split is 'test', and data_files has no file"),
        ("test_split", None, "test_split is missing"),
        ("metric_list", [{"metric": "./metric.py"}], "lm-eval would load it from elsewhere"),
        ("metric_list", [{"metric": "acc", "hf_evaluate": True}], "'hf_evaluate'"),
        ("metric_list", [{"metric": "bleu"}], "not a mean share of right answers"),
        ("output_type", "loglikelihood_rolling", "no kind of task"),
        ("generation_kwargs", {"max_gen_toks": 5}, "for tasks that generate"),
        ("repeats", 5, "asked several times"),
        ("num_fewshot", 9, "num_fewshot is 9, and there are 4 worked examples"),
        ("fewshot_config", {"sampler": "mine"}, "sampler is"),
        ("fewshot_config", {"process_docs": "f"}, "'process_docs'"),
        ("fewshot_config", {"samples": "f"}, "samples is"),
        ("doc_to_choice", None, "doc_to_choice is missing"),
        ("doc_to_target", "{{antwort + 3}}", r"(?s)answer is 3, which is none of the 3 choices.*question 1"),
        ("doc_to_choice", ["ja"], "the choices are a list of 1"),
        ("doc_to_text", "{{farge}}", r"(?s)names 'farge', which the data do not have.*did you mean 'frage'"),
        ("doc_to_text", "{{frage", "not a template"),
        ("doc_to_text", "{{antwort.weg}}", "the template fails: UndefinedError"),
        ("doc_to_text", "{{ ''.__class__.__mro__ }}", "the template names __"),
        ("doc_to_text", "{{ frage['__class__'] }}", "the template names __class__"),
        ("doc_to_text", "{% include '/etc/passwd' %}", "loads a file"),
        ("description", "{{ lipsum.__globals__ }}", "the template names __globals__"),
        ("fewshot_config", {"doc_to_text": "{{ cycler.__init__ }}"}, "the template names __init__"),
        ("doc_to_text", "{{ frage | attr('_' ~ '_class_' ~ '_') }}", "SecurityError"),
        ("doc_to_text", "{% for n in range(2) %}{{n}}{% endfor %}{{farge}}", "names 'farge'"),
        ("doc_to_text", "{{ 'a' * 10 ** 10 }}", "would be longer than 100,000"),
        ("doc_to_text", "{{ frage * 999999999 }}", "would be longer than 100,000"),
        ("task", "../recht", "cannot name a task"),
        ("task", ["a", "b"], "defines no task"),
    ],
)
def test_what_would_be_run_or_come_from_elsewhere_is_refused_by_name(
    key: str, value: Any, message: str, write: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=message):
        select_tasks([write(**{key: value})])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"custom_generate": "owner/code"}, "'custom_generate'"),
        ({"trust_remote_code": True}, "'trust_remote_code'"),
        ({"do_sample": True}, "greedy answers"),
        ({"max_gen_toks": 0}, "max_gen_toks is 0"),
        ({"until": 3}, "until is 3"),
    ],
)
def test_options_of_generating_that_load_code_or_draw_are_refused(
    options: dict[str, Any], message: str, write: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=message):
        select_tasks([write(like=TEXT, doc_to_choice=None, generation_kwargs=options)])


def test_a_template_that_does_not_end_is_ended(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_rendering, "SECONDS", 0.1)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(UserError, match=r"(?s)the template takes more than 0.1 s.*question 1: doc_to_text"):
        select_tasks([write(doc_to_text=loop)])


def test_python_functions_are_refused_and_not_run(write: Callable[..., str], tmp_path: Path) -> None:
    path = Path(write())
    ran = tmp_path / "ran"
    (tmp_path / "utils.py").write_text(f"open({str(ran)!r}, 'w')\ndef f(doc): return doc\n")
    whole = path.read_text()
    for line in (
        "process_docs: !function utils.f",
        "doc_to_text: !!python/name:os.system",
        "x: !!python/object/apply:f []",
    ):
        path.write_text(f"{line}\n" + whole.replace("doc_to_text", "gen_prefix"))
        with pytest.raises(UserError, match=r"(?s)is a tag; with !function lm-eval runs.*recht.yaml:1.*report build"):
            select_tasks([str(path)])
    (tmp_path / "_inner").write_text("doc_to_text: !function utils.f\n")
    with pytest.raises(UserError, match=r"(?s)!function.*_inner:1"):
        select_tasks([write(include="_inner")])
    assert not ran.exists()


def test_a_data_file_that_leads_out_of_the_folder_is_refused(write: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    path = Path(write()).rename(folder / "recht.yaml")
    (folder / "recht.jsonl").symlink_to(tmp_path / "recht.jsonl")
    with pytest.raises(UserError, match="not in the folder of the task file"):
        select_tasks([str(path)])


def test_data_that_changed_since_they_were_read_are_not_asked(write: Callable[..., str], tmp_path: Path) -> None:
    (task,) = select_tasks([write()])
    (tmp_path / "recht.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    assert isinstance(task, OwnTask)
    with pytest.raises(UserError, match="changed while the command ran"):
        task.write(tmp_path / "run")


def test_the_sandbox_makes_texts_up_to_the_longest() -> None:
    from jinja2.exceptions import SecurityError

    for text in ("{{ 'ab' * (length // 2) }}", "{{ (length // 2) * 'ab' }}", "{{ [1] * length }}", "{{ 1 ** length }}"):
        assert sandbox().from_string(text).render(length=LONGEST)
        with pytest.raises(SecurityError, match="would be longer than"):
            sandbox().from_string(text).render(length=LONGEST + 2)


def test_the_sandbox_renders_as_lm_eval_does_and_stops_what_a_check_cannot_see() -> None:
    """Names put together while a template is rendered."""
    from jinja2.exceptions import SecurityError

    environment = sandbox()
    assert environment.from_string("{{ a | regex_replace('b', 'c') }}{{ 3 * 4 }}\n").render(a="abab") == "acac12\n"
    for escape in ("{{ ''['_' ~ '_class__'].mro() }}", "{{ '{0.__class__}'.format('') }}", "{{ a.__globals__ }}"):
        with pytest.raises(SecurityError):
            environment.from_string(escape).render(a=test_python_functions_are_refused_and_not_run)
