"""The data sets' own files -> what a machine without internet needs; and files that are not what they should be."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.eval.benchmark import baselines
from pdapt.eval.tasks import fetch
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.eval.tasks.bioinstruct import RECORDS_FILE, questions, read_records, worked_examples
from pdapt.eval.tasks.data_index import DATA_INDEX_FILE
from pdapt.eval.tasks.suite import (
    DATASET_REVISIONS,
    FRENCH_MMLU_DATASET,
    MEDICAL_SUBJECTS,
    MMLU_DATASET,
    PROX_DATASET,
    SUITE,
)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_task_has_its_questions_and_examples(small, small_data: Path) -> None:
    index = read_json(small_data / DATA_INDEX_FILE)
    assert set(index) == {task.name for task in SUITE}
    for task in small.suite:
        entry = index[task.name]
        assert (small_data / entry["test"]).is_file()
        assert (small_data / entry["shots"]).is_file()
        assert entry["questions"] == task.questions
        assert entry["self_shots"] == 0
    manifest = Manifest.read(small_data)
    assert manifest.config["revisions"] == DATASET_REVISIONS
    assert all(len(revision) == 40 for revision in DATASET_REVISIONS.values())


def test_published_files_are_kept_byte_for_byte(small_source: Path, small_data: Path) -> None:
    pairs = {
        f"{MMLU_DATASET}/anatomy/test-00000-of-00001.parquet": "mmlu/anatomy/test.parquet",
        f"{PROX_DATASET}/fr/validation-00000-of-00001.parquet": "mmlu_prox/fr/validation.parquet",
    }
    for published, kept in pairs.items():
        assert (small_source / published).read_bytes() == (small_data / kept).read_bytes()


def test_french_records_become_rows(small, small_data: Path) -> None:
    rows = _rows(small_data / "mmlu_med_fr/anatomy/test.jsonl")
    assert rows[1] == {
        "id": "MMLU_anatomy-1",
        "question": "Question 1 de MMLU_anatomy ?",
        "choices": ["réponse A1", "réponse B1", "réponse C1", "réponse D1"],
        "answer": 2,
    }
    assert [row["id"] for row in rows] == [f"MMLU_anatomy-{n}" for n in range(5)]
    shots = _rows(small_data / "mmlu_med_fr/anatomy/dev.jsonl")
    assert [row["question"] for row in shots] == [f"Exemple {k} de MMLU_anatomy ?" for k in range(3)]
    assert [row["answer"] for row in shots] == [0, 1, 2]


def test_an_example_that_is_a_question_is_left_out(small) -> None:
    records = small.french()
    for record in records:
        record["few_shot_samples[3]"] = [records[0], *record["few_shot_samples[3]"]]
    test = questions(records, "anatomy", "file")
    shown = worked_examples(records, "anatomy", test, 3, "file")
    assert [example.question for example in shown] == [f"Exemple {k} de MMLU_anatomy ?" for k in range(3)]
    for record in records:
        record["few_shot_samples[3]"] = [records[0]] * 3
        record["few_shot_samples[2]"] = record["few_shot_samples[1]"] = None
    with pytest.raises(UserError, match="0 of 3 worked examples; questions themselves are left out"):
        worked_examples(records, "anatomy", test, 3, "file")


def test_examples_without_a_translation_are_taken_as_they_are_and_that_is_said(small, capsys) -> None:
    records = small.french()
    for record in records:
        for shots in (1, 2, 3):
            record[f"few_shot_samples[{shots}]"] = [
                {"question": f"Example {k}?", "options": dict.fromkeys("ABCD", "x"), "correct_answer_letter": "D"}
                for k in range(shots)
            ]
    shown = worked_examples(records, "anatomy", questions(records, "anatomy", "file"), 3, "file")
    assert [example.question for example in shown] == ["Example 0?", "Example 1?", "Example 2?"]
    assert "untranslated" in capsys.readouterr().err


def test_other_french_examples_can_be_given(small, small_source: Path, tmp_path: Path) -> None:
    given = [
        {
            "corpus_name": f"MMLU_{subject}",
            "question_translated": f"Autre {k} ?",
            "options_translated": dict.fromkeys("ABCD", "oui"),
            "correct_answer_letter": "B",
        }
        for subject in MEDICAL_SUBJECTS
        for k in range(4)
    ]
    (tmp_path / "shots.json").write_text(json.dumps(given))
    tasks = tuple(task for task in small.suite if task.dataset == FRENCH_MMLU_DATASET)
    fetch.fetch_tasks(tmp_path / "data", source=small_source, french_shots=tmp_path / "shots.json", tasks=tasks)
    shots = _rows(tmp_path / "data/mmlu_med_fr/college_biology/dev.jsonl")
    assert [row["question"] for row in shots] == ["Autre 0 ?", "Autre 1 ?", "Autre 2 ?"]


def test_the_file_out_of_the_archive_will_do(small, small_source: Path, tmp_path: Path) -> None:
    (tmp_path / "source" / FRENCH_MMLU_DATASET / RECORDS_FILE).parent.mkdir(parents=True)
    (tmp_path / "source" / FRENCH_MMLU_DATASET / RECORDS_FILE).write_text(json.dumps(small.french()), encoding="utf-8")
    tasks = tuple(task for task in small.suite if task.dataset == FRENCH_MMLU_DATASET)
    fetch.fetch_tasks(tmp_path / "data", source=tmp_path / "source", tasks=tasks)
    assert len(_rows(tmp_path / "data/mmlu_med_fr/anatomy/test.jsonl")) == 5


def _broken(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (record | changes).items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_translated": ...}, "no question_translated"),
        ({"question_translated": " "}, "no question_translated"),
        ({"options_translated": {"A": "a", "B": "b", "C": "c"}}, "options_translated is"),
        ({"options_translated": {"A": "a", "B": "b", "C": "c", "D": None}}, "options_translated is"),
        ({"correct_answer_letter": "E"}, "correct_answer_letter is 'E'"),
        ({"correct_answer_letter": "AB"}, "correct_answer_letter is 'AB'"),
        ({"correct_answer_letter": None}, "correct_answer_letter is None"),
    ],
)
def test_a_record_that_is_none_is_named(small, changes: dict[str, Any], message: str) -> None:
    records = [
        _broken(record, **changes) if record["identifier"] == "MMLU_anatomy-2" else record for record in small.french()
    ]
    with pytest.raises(UserError, match=message) as caught:
        questions(records, "anatomy", "French-full.json")
    assert "MMLU_anatomy-2" in caught.value.where
    assert questions(records, "college_biology", "French-full.json")


def test_a_question_that_is_there_twice_is_named(small) -> None:
    records = small.french()
    with pytest.raises(UserError, match="MMLU_anatomy-0"):
        questions([*records, records[0]], "anatomy", "file")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("French-full.json", b"[{", "cannot be read"),
        ("French-full.json", b"\xff\xfe", "cannot be read"),
        ("French-full.json", b'{"a": 1}', "not a list of records"),
        ("French-full.json", b"[1]", "not a list of records"),
        ("data.zip", b"PK", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_records_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_records(tmp_path / name)


def test_an_archive_without_the_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("base/other.json", "[]")
    with pytest.raises(UserError, match="holds 0 files"):
        read_records(tmp_path / "data.zip")


@pytest.fixture
def copied(small_source: Path, tmp_path: Path) -> Path:
    """A source to spoil."""
    return Path(shutil.copytree(small_source, tmp_path / "source"))


def test_a_source_that_lacks_questions_or_columns_is_refused(small, copied: Path, tmp_path: Path) -> None:
    anatomy = tuple(task for task in small.suite if task.name == "mmlu_anatomy")
    path = copied / MMLU_DATASET / "anatomy" / "test-00000-of-00001.parquet"

    def refused(message: str) -> UserError:
        with pytest.raises(UserError, match=message) as caught:
            fetch.fetch_tasks(tmp_path / "data", source=copied, tasks=anatomy)
        assert not (tmp_path / "data").exists()
        return caught.value

    pq.write_table(pq.read_table(path).slice(1), path)
    assert "c30699e8" in refused("mmlu_anatomy has 6 questions, not 7").allowed
    pq.write_table(pq.read_table(path).drop_columns(["choices"]), path)
    refused("missing columns: choices")
    path.write_bytes(b"no parquet")
    refused("test.parquet is not a complete Parquet file")
    path.unlink()
    assert "hf download cais/mmlu" in refused("cais/mmlu: anatomy/test-00000-of-00001.parquet is missing").fix


def test_the_whole_suites_numbers_are_checked(small_source: Path, tmp_path: Path) -> None:
    """With the real table, the small data are refused."""
    with pytest.raises(UserError, match="has 5 questions, not 135"):
        fetch.fetch_tasks(tmp_path / "data", source=small_source)


def test_a_question_that_is_an_example_is_said(small, copied: Path, tmp_path: Path, capsys) -> None:
    folder = copied / MMLU_DATASET / "anatomy"
    test = pq.read_table(folder / "test-00000-of-00001.parquet")
    pq.write_table(test.slice(0, 3), folder / "dev-00000-of-00001.parquet")
    anatomy = tuple(task for task in small.suite if task.name == "mmlu_anatomy")
    fetch.fetch_tasks(tmp_path / "data", source=copied, tasks=anatomy)
    assert read_json(tmp_path / "data" / DATA_INDEX_FILE)["mmlu_anatomy"]["self_shots"] == 3
    assert "3 of its questions are also worked examples" in capsys.readouterr().err


def test_the_hub_is_asked_for_pinned_files_once(
    small, small_source: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repository: str, name: str, **options: Any) -> str:
        asked.append((repository, name, options))
        return str(small_source / repository / name)

    monkeypatch.setattr(fetch, "hf_hub_download", download)
    fetch.fetch_tasks(tmp_path / "data", tasks=small.suite)
    assert len(asked) == 6 * 2 + 2 * 2 + 1
    assert (
        FRENCH_MMLU_DATASET,
        "data.zip",
        {"repo_type": "dataset", "revision": DATASET_REVISIONS[FRENCH_MMLU_DATASET]},
    ) in asked
    assert all(options == {"repo_type": "dataset", "revision": DATASET_REVISIONS[name]} for name, _, options in asked)
    assert read_json(tmp_path / "data" / DATA_INDEX_FILE) == read_json(small_data / DATA_INDEX_FILE)


def test_a_network_that_is_down_is_said_with_the_way_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, name: str, **options: Any) -> str:
        raise LocalEntryNotFoundError("the network is down")

    monkeypatch.setattr(fetch, "hf_hub_download", download)
    with pytest.raises(UserError, match="the network is down") as caught:
        fetch.fetch_tasks(tmp_path / "data")
    assert "--source" in caught.value.fix
    assert not (tmp_path / "data").exists()


def test_the_baselines_are_the_appendixs(shared: Callable[[str], Path]) -> None:
    tables = read_json(shared("paper/paper_tables.json"))
    assert {each.name: each.kind for each in baselines.BASELINES} == tables["table8_11"]["model_type"]
    assert {each.name for each in baselines.BASELINES} == {row["model"] for row in tables["table7"]}
    assert len({each.hub for each in baselines.BASELINES}) == 35


def test_a_baseline_is_pinned_to_the_commit_it_was_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, asked = "a" * 40, []

    def download(hub: str, *, revision: str, allow_patterns: list[str], local_dir: Path | None = None) -> str:
        asked.append((hub, revision, allow_patterns))
        if local_dir is not None:
            (local_dir / "model.safetensors").write_bytes(b"weights")
        return str(local_dir or tmp_path / "cache" / "snapshots" / commit)

    monkeypatch.setattr(baselines, "snapshot_download", download)
    found = baselines.fetch_baseline(baselines.find_baseline("Apollo-7B"), tmp_path / "Apollo-7B")
    assert found.config == {"hub": "FreedomIntelligence/Apollo-7B", "revision": commit}
    assert [revision for _, revision, _ in asked] == ["main", commit]
    assert not any(pattern.endswith((".bin", ".py", ".pt")) or pattern == "*" for pattern in asked[1][2])


def test_an_unknown_baseline_and_one_without_safetensors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="did you mean 'Apollo-7B'"):
        baselines.find_baseline("Apolo-7B")

    def download(hub: str, **options: Any) -> str:
        return str(options.get("local_dir", "x" * 40))

    monkeypatch.setattr(baselines, "snapshot_download", download)
    with pytest.raises(UserError, match="has no safetensors"):
        baselines.fetch_baseline(baselines.BASELINES[0], tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_only_some_tasks_can_be_fetched(small_source: Path, small, tmp_path: Path) -> None:
    chosen = {task.name for task in choose_tasks(["mmlu_prox_en_*"])}
    tasks = tuple(replace(task) for task in small.suite if task.name in chosen)
    manifest = fetch.fetch_tasks(tmp_path / "data", source=small_source, tasks=tasks)
    assert manifest.counts == {"tasks": 8, "questions": 48}
