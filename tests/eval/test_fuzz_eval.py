"""The files that evaluation reads, damaged."""

import json
import shutil
import zipfile
import zlib
from base64 import b85decode
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.eval.benchmark.read_lm_eval import LmEvalFolders, read_groups, read_lm_eval
from pdapt.eval.benchmark.read_results import read_runs
from pdapt.eval.benchmark.results_folder import Plan, check_identity, read_status, write_plan
from pdapt.eval.harness.backends import Limits, check_chat_template, model_arguments
from pdapt.eval.harness.batch_size import read_batch_sizes
from pdapt.eval.harness.check_weights import check_weights
from pdapt.eval.harness.generation import end_tokens, unused_settings
from pdapt.eval.harness.result_files import PromptCounts, read_samples
from pdapt.eval.heldout.evaluate import collect_warnings
from pdapt.eval.heldout.scoring import compute_scores
from pdapt.eval.heldout.task_index import TASKS_FILE, HeldoutTask, TaskKind, read_tasks
from pdapt.eval.models import Model, Role
from pdapt.eval.paper.tables import Tables, summary
from pdapt.eval.paper.tables_file import TABLES_FILE
from pdapt.eval.report.heldout_figures import read_loss_curve
from pdapt.eval.scores import SCORES_FILE, Comparison, Score, Scores
from pdapt.eval.statistics.contamination import read_contaminated
from pdapt.eval.statistics.tradeoff import TRADEOFF_FILE, Tradeoff
from pdapt.eval.statistics.verdict import summary_table, verdict
from pdapt.eval.tasks import fetch
from pdapt.eval.tasks.bioinstruct import RECORDS_FILE, questions, read_records, worked_examples
from pdapt.eval.tasks.data_index import DATA_INDEX_FILE, read_data_index
from pdapt.eval.tasks.questions import read_questions
from pdapt.eval.tasks.suite import TASKS

Fuzz = Callable[..., None]
TASK = "mmlu_anatomy"
SHORT_OF_QUESTIONS = (
    b"c-obe!EV|>5Qb-sYiNWj;$~O2#DN1@r4>nuTToQd!-7Jn0xcjlB)u8e0wf2hP2-efpP<L8kB|rGsp_exK0u$M?~v{;HlUJASJrqvJM+y",
    b"y!-_WR9%2=5;Rj8uV9){XWe@;#Fkl^%0yi0~VJ%yRJ=8H!XM3BU-p?uA>Imt;lXtMu<S&uDl^4mjFnvy-_;CT}*9d(B*^=<Ep>mtNxls",
    b"fupFm>EAsM_A3rS@mTK{S>Qt`=ZM_}&`@1|PQD}kW}&d|NIu?9H3s~D;GAKYLznv8d$DT<a9Bk2q$BgYN67OhzkKGjgYQ82^GA}8s3?x",
    b"j1PMJZV2KFuBnq3Z+D&8%6Wx3@TLmO#sxs|r{lI`PSzS~RsjQ?no@DB!@GRG`8cnn}eRfI>C~9mTq&mRJLa=E-M7z99My(NAc7)SKYEN",
    b"p;<<i?K&=HBuSrmm0q#@)OZt3jM15-@G>pK8pJwKN3WzDe^l3X4XivZufQX`Qn!_{wPnx3I|ojScfgvDPtk44p^PB0jmw9ugU{jVpC)6",
    b"rF5*`Y;jbZuq8y;YEhtN$WS^5t9ZFigt_RI=I^Ytk4*AH!EZ#NGF<Xb=bUuJH^;5I^oGJ7uS&_NhU8hpE4%l~bHbV<>RWBmpNM<YSr%Q",
    b"k8tFOlif?;G`F$<oubF6`>$wo6T2Zk$saoyc*^iuubAIMIPrK8;^(^McsV~6DO>Ljw$=SX$o$lMdKM8YJt{?ClnzPCW#e+k$!mst>fpP",
    b"+%&HpI=0(?5cRs",
)  # fmt: skip


def test_fuzz_curve(fuzz: Fuzz, tmp_path: Path) -> None:
    rows = [{"iteration": n, "slots": n * 64, "loss": 9.1 - n, "sources": {}} for n in range(4)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"iteration": 3, "valid_loss": 8.0}]))
    fuzz(path, lambda: read_loss_curve(path))


def test_fuzz_scores(fuzz: Fuzz, tmp_path: Path) -> None:
    compute_scores = Score("base", "medical", "medical", "", "byte_perplexity", 2.5, 0.1, 10, 1000)
    compared = Comparison("a", "base", "medical", "medical", "byte_perplexity", -0.1, 0.01, -0.2, 0.0, 0.01, 0.02, 10)
    models: list[tuple[str, Role]] = [("base", "base"), ("a", "checkpoint")]
    scores = [
        replace(compute_scores, model=name, metric=metric)
        for name, _ in models
        for metric in ("byte_perplexity", "acc")
    ]
    found = Scores(models, scores, [compared, replace(compared, metric="acc")])
    (tmp_path / SCORES_FILE).write_text(json.dumps(found.to_json()))
    assert Scores.read(tmp_path) == found
    assert asdict(found.scores[0])["stderr"] == 0.1

    def read() -> None:
        for row in Scores.read(tmp_path).comparisons:
            assert row.clear in (True, False)
        assert isinstance(json.dumps([row.to_json() for row in summary_table(tmp_path)]), str)
        assert all(verdict(tmp_path))

    fuzz(tmp_path / SCORES_FILE, read)


def test_fuzz_contaminated(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "seen.jsonl"
    path.write_text(f'{{"task": "{TASK}", "doc_id": 3}}\n{{"task": "{TASK}", "doc_hash": "ab"}}\n')
    assert read_contaminated(path, TASKS) == {TASK: {"3", "ab"}}
    fuzz(path, lambda: read_contaminated(path, TASKS))


def test_fuzz_rows(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    row = {"doc_id": 1, "doc_hash": "d", "prompt_hash": "p", "filter": "none", "target": "0", "acc": 1.0}
    path.write_text((json.dumps(row | {"filtered_resps": [["-1.5", "True"]]}) + "\n") * 3)
    assert [sample.log_probabilities() for sample in read_samples(path, TASKS[TASK])] == [[-1.5]] * 3
    fuzz(path, lambda: list(read_samples(path, TASKS[TASK])))


MADE: dict[str, Any] = {
    "batch_size": {"size": 8, "tokens": 90, "tasks": [TASK], "device": "cpu"},
    "chat_template": False,
    "warnings": [{"from": "transformers", "message": "slow", "times": 2}],
    "generation_config_unused": {"temperature": 0.6},
}


def make_runs(folder: Path) -> Path:
    """A finished task of one model, as lm-eval writes it."""
    task = folder / "base" / TASK
    task.mkdir(parents=True)
    plan = {"models": [{"name": "base", "role": "base", "step": None}], "tasks": [TASK], "config": {}}
    (folder / "runs.json").write_text(json.dumps(plan))
    rows = [
        {
            "doc_id": n,
            "doc_hash": f"{n}" * 8,
            "prompt_hash": f"{n}" * 8,
            "target": n % 4,
            "filtered_resps": [[str(-1.0 - k), "False"] for k in range(4)],
            "acc": float(n % 4 == 0),
            "filter": "none",
        }
        for n in range(8)
    ]
    (task / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (task / "answers.jsonl").write_text(
        "".join(json.dumps({"doc_id": n, "prompt_cut": False}) + "\n" for n in range(8))
    )
    results = {
        "results": {TASK: {"acc,none": 0.25}},
        "n-samples": {TASK: {"original": 8, "effective": 8}},
        "n-shot": {TASK: 5},
        "versions": {TASK: 1.0},
        "total_evaluation_time_seconds": "12.5",
    }
    (task / "results.json").write_text(json.dumps(results))
    return folder


def test_fuzz_runs(fuzz: Fuzz, tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "runs")
    answers = read_runs(folder).answers["base", TASK]
    assert (len(answers.keys), answers.seconds, float(answers.right.mean())) == (8, 12.5, 0.25)
    for name in ("runs.json", f"base/{TASK}/results.json", f"base/{TASK}/samples.jsonl", f"base/{TASK}/answers.jsonl"):
        fuzz(folder / name, lambda: read_runs(folder))
    (folder / "base" / TASK / "settings.json").write_text(json.dumps(MADE))
    fuzz(folder / "base" / TASK / "settings.json", lambda: read_runs(folder))


def test_fuzz_lm_eval_results(fuzz: Fuzz, tmp_path: Path) -> None:
    """Results and samples of lm-eval's own, and a file of groups."""
    made, folder = make_runs(tmp_path / "runs") / "base" / TASK, tmp_path / "own"
    folder.mkdir()
    results = json.loads((made / "results.json").read_text())
    (key,) = [key for key in results["results"][TASK] if "," in key]
    results["results"][TASK][key.replace(",", "_stderr,")] = 0.1
    results["configs"] = {TASK: {"output_type": "multiple_choice", "metric_list": [{"metric": key.split(",")[0]}]}}
    results |= {"group_subtasks": {"both": [TASK]}, "higher_is_better": {TASK: {key.split(",")[0]: True}}}
    (folder / "results_1.json").write_text(json.dumps(results))
    (folder / f"samples_{TASK}_1.jsonl").write_text((made / "samples.jsonl").read_text())
    given = LmEvalFolders({"base": folder, "tuned": folder})
    assert len(read_lm_eval(given).answers["base", TASK].keys) == 8
    for name in ("results_1.json", f"samples_{TASK}_1.jsonl"):
        fuzz(folder / name, lambda: read_lm_eval(given))
    groups = tmp_path / "groups.yaml"
    groups.write_text(f"all: [{TASK}]\n")
    fuzz(groups, lambda: read_groups(groups, [TASK]))


def test_fuzz_plan(fuzz: Fuzz, tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "runs")
    models, tasks = [Model("base", Role.BASE, folder)], [TASKS[TASK]]
    own = {"group": "jura", "metric": "acc", "filter": "none", "output_type": "multiple_choice", "sha256": "ab"}
    plan = json.loads((folder / "runs.json").read_text()) | {"own": {"recht": own}}
    (folder / "runs.json").write_text(json.dumps(plan | {"tasks": [TASK, "recht"]}))
    assert Plan.read(folder).suite.groups == ("EN-MEDICAL", "jura")

    def read() -> None:
        read_status(folder)
        assert all(task.score_key for task in Plan.read(folder).suite.tasks.values())
        write_plan(models, tasks, {}, folder)

    fuzz(folder / "runs.json", read)


def test_fuzz_model_identity(fuzz: Fuzz, tmp_path: Path) -> None:
    model = Model("base", Role.BASE, tmp_path / "model")
    model.path.mkdir()
    (model.path / "config.json").write_text("{}")
    out = tmp_path / "runs"
    check_identity(model, out)
    fuzz(out / "base" / "model.json", lambda: check_identity(model, out), places=False)


def test_fuzz_tasks(fuzz: Fuzz, tmp_path: Path) -> None:
    (tmp_path / TASKS_FILE).write_text(json.dumps(HELDOUT_TASKS))
    assert [task.to_json() for task in read_tasks(tmp_path)] == HELDOUT_TASKS
    fuzz(tmp_path / TASKS_FILE, lambda: read_tasks(tmp_path))


HELDOUT_TASKS = [
    {"task": f"{kind}_medical", "kind": kind, "domain": "medical"} for kind in ("perplexity", "continuation")
]


@pytest.mark.parametrize("task", [task["task"] for task in HELDOUT_TASKS])
def test_fuzz_samples(fuzz: Fuzz, tmp_path: Path, task: str) -> None:
    """Samples of held-out text, read as far as scores and comparisons."""
    models = [Model("base", Role.BASE, tmp_path), Model("a", Role.CHECKPOINT, tmp_path)]
    docs = [{"source": "s", "doc_id": str(number)} for number in range(3)]
    ratios = {name: [-120.5, 90] for name in ("byte_perplexity", "word_perplexity", "bits_per_byte")}
    asked = {"acc": 1.0, "acc_norm": 0.0, "target": "1", "filtered_resps": [["-9.0", "False"], ["-1.5", "True"]]}
    for model in models:
        for each, values in zip(HELDOUT_TASKS, (ratios, asked), strict=True):
            folder = tmp_path / model.name / each["task"]
            folder.mkdir(parents=True)
            (folder / "samples.jsonl").write_text("".join(json.dumps({"doc": doc} | values) + "\n" for doc in docs))
    tasks = [HeldoutTask.of(kind, "medical") for kind in TaskKind]
    fuzz(tmp_path / "a" / task / "samples.jsonl", lambda: compute_scores(tmp_path, models, tasks), share=8)


def test_fuzz_notes_of_answers(fuzz: Fuzz, tmp_path: Path) -> None:
    unit = tmp_path / "base" / TASK
    unit.mkdir(parents=True)
    (unit / "answers.jsonl").write_text('{"doc_id": 1, "prompt_cut": true}\n{"doc_id": 2, "prompt_cut": null}\n')
    (unit / "settings.json").write_text(json.dumps(MADE))
    assert PromptCounts.collect(tmp_path) == PromptCounts(1, 1)
    assert [warning.to_json() for warning in collect_warnings(tmp_path)] == MADE["warnings"]
    fuzz(unit / "answers.jsonl", lambda: PromptCounts.collect(tmp_path))
    fuzz(unit / "settings.json", lambda: collect_warnings(tmp_path))


def test_fuzz_batch_sizes(fuzz: Fuzz, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Damaged batch sizes are measured again, with a warning."""
    path = tmp_path / "batch_sizes.json"
    path.write_text(json.dumps({"loglikelihood": MADE["batch_size"]}))
    assert read_batch_sizes(path)["loglikelihood"].size == 8

    def use() -> None:
        for known in read_batch_sizes(path).values():
            assert known.size > 0
        if "measuring the batch sizes again" in capsys.readouterr().err:
            raise UserError("said")

    fuzz(path, use)


def test_fuzz_tradeoff(fuzz: Fuzz, tmp_path: Path) -> None:
    change = {"value": -1.5, "low": -2.0, "high": -1.0}
    point = {"model": "t0.5", "domain": change, "general": change, "general_bound": 0.5}
    point |= {"allowed": True, "pareto": True}
    tradeoff = {
        "rule": "the lowest",
        "domain": "medical",
        "general": "general",
        "proposed": "t0.5",
        "points": [point],
    }
    (tmp_path / TRADEOFF_FILE).write_text(json.dumps(tradeoff))
    fuzz(tmp_path / TRADEOFF_FILE, lambda: Tradeoff.read(tmp_path))


def test_fuzz_benchmark_index(fuzz: Fuzz, tmp_path: Path) -> None:
    entry = {"test": "mmlu/anatomy/test.parquet", "shots": "mmlu/anatomy/dev.parquet"}
    entry |= {"questions": 135, "self_shots": 0}
    (tmp_path / DATA_INDEX_FILE).write_text(json.dumps({TASK: entry}))
    fuzz(tmp_path / DATA_INDEX_FILE, lambda: read_data_index(tmp_path, [TASKS[TASK]]))


@pytest.mark.parametrize("packed", [False, True])
def test_fuzz_french_records(fuzz: Fuzz, tmp_path: Path, *, packed: bool) -> None:
    asked = {"question_translated": "Où ?", "options_translated": dict(zip("ABCD", "wxyz", strict=True))}
    asked |= {"correct_answer_letter": "B", "identifier": "MMLU_anatomy-0"}
    shown = {"question": "Where?", "options": dict(zip("ABCD", "wxyz", strict=True)), "correct_answer_letter": "C"}
    record = asked | {"corpus_name": "MMLU_anatomy", "few_shot_samples[1]": [shown]}
    text = json.dumps([record, {"corpus_name": "MedQA"}], ensure_ascii=False)
    path = tmp_path / ("data.zip" if packed else "French-full.json")
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(RECORDS_FILE, text)
    else:
        path.write_text(text)

    def use() -> None:
        records = read_records(path)
        rows = questions(records, "anatomy", "file")
        examples = worked_examples(records, "anatomy", rows, 1, "file")
        json.dumps([example.to_json() for example in examples], ensure_ascii=False).encode()

    fuzz(path, use)


def test_an_archive_that_would_fill_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdapt.data_prep.documents.values.LONGEST", 2**22)
    with (
        zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(RECORDS_FILE, "w") as member,
    ):
        member.write(b'[{"corpus_name": "')
        for _ in range(64):
            member.write(b"x" * 2**20)
    with pytest.raises(UserError, match="a value of more than"):
        read_records(tmp_path / "data.zip")


def test_fuzz_benchmark_parquet(fuzz: Fuzz, tmp_path: Path) -> None:
    rows = {"question": [f"Q {n}" for n in range(9)], "choices": [["a", "b"]] * 9, "answer": [n % 2 for n in range(9)]}
    path = tmp_path / "test.parquet"
    pq.write_table(pa.table(rows), path)
    fuzz(path, lambda: fetch.texts_of_questions(path, TASKS[TASK]))


def test_fuzz_questions(fuzz: Fuzz, tmp_path: Path) -> None:
    data = {"test": "test.jsonl", "shots": "test.jsonl", "questions": 9}
    (tmp_path / DATA_INDEX_FILE).write_text(json.dumps({TASK: data}))
    path = tmp_path / "test.jsonl"
    rows = ({"question": f"Question {n}", "choices": ["a", "b"]} for n in range(9))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fuzz(path, lambda: read_questions(tmp_path, [TASKS[TASK]])[TASK])
    data |= {"test": "test.parquet"}
    (tmp_path / DATA_INDEX_FILE).write_text(json.dumps({TASK: data}))
    table = {"question": ["Q"] * 9, "choices": [["a", "b"]] * 9, "answer": [0] * 9}
    pq.write_table(pa.table(table), tmp_path / "test.parquet")
    fuzz(tmp_path / "test.parquet", lambda: read_questions(tmp_path, [TASKS[TASK]])[TASK])


def test_questions_whose_choices_are_more_than_they_are_refused(tmp_path: Path) -> None:
    """A file that fuzzing left: two bytes of the column of questions say that it has no rows."""
    data = {"test": "test.parquet", "shots": "test.parquet", "questions": 9}
    (tmp_path / DATA_INDEX_FILE).write_text(json.dumps({TASK: data}))
    (tmp_path / "test.parquet").write_bytes(zlib.decompress(b85decode(b"".join(SHORT_OF_QUESTIONS))))
    with pytest.raises(UserError, match="mmlu_anatomy: 0 questions and the choices of 9"):
        read_questions(tmp_path, [TASKS[TASK]])


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_fuzz_model_settings(fuzz: Fuzz, tmp_path: Path, tokenizer_folder: Path, name: str) -> None:
    """The files that evaluation takes from a model's folder before it is loaded."""
    shutil.copytree(tokenizer_folder, tmp_path, dirs_exist_ok=True)
    config = {"dtype": "bfloat16", "max_position_embeddings": 512, "eos_token_id": [3, 4], "text_config": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokens = {"eos_token": {"content": "<|endoftext|>"}, "chat_template": "{{ messages }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokens))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5], "temperature": 0.6}))

    def use() -> None:
        model_arguments("hf", tmp_path, Limits())
        check_chat_template({"a": tmp_path})
        assert all(isinstance(number, int) for number in end_tokens(tmp_path))
        if "unreadable" in unused_settings(tmp_path):
            raise UserError("said in the run's settings")

    fuzz(tmp_path / name, use)


def test_fuzz_paper_tables(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    path.write_bytes(TABLES_FILE.read_bytes())
    fuzz(path, lambda: summary(Tables.read(path)), share=8)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_fuzz_weights(fuzz: Fuzz, tmp_path: Path, name: str) -> None:
    """Before the first task. transformers builds the model for each, some 50 ms: few copies."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    shape = {"vocab_size": 64, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 4}
    heads: Any = shape | {"num_attention_heads": 2, "num_key_value_heads": 1}
    Qwen3ForCausalLM(Qwen3Config(**heads)).save_pretrained(tmp_path)
    fuzz(tmp_path / name, lambda: check_weights({"a": tmp_path}), share=8)
