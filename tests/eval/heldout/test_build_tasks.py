"""Task files from held-out documents."""

import csv
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.eval.heldout.build_tasks import build_tasks
from pdapt.eval.heldout.task_index import TASKS_FILE


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_document_is_scored_whole_and_every_answer_follows_its_context(heldout, tmp_path):
    build_tasks(heldout, tmp_path / "tasks")
    for domain, (folder,) in heldout.items():
        texts = {row["doc_id"]: row["text"] for row in _rows(folder / "notes.jsonl")}
        scored = {row["doc_id"]: row["text"] for row in _rows(tmp_path / f"tasks/perplexity_{domain}.jsonl")}
        assert scored == texts
        for question in _rows(tmp_path / f"tasks/continuation_{domain}.jsonl"):
            true = question["choices"][question["label"]]
            assert question["context"] + true in texts[question["doc_id"]]
            assert [len(choice.split()) for choice in question["choices"]] == [12] * 4
            assert len(set(question["choices"])) == 4


def test_passages_follow_each_other_from_a_document_s_first_word(tmp_path):
    """12 to 32 words are shown before the 12 that are asked for, and at most eight passages are of one document."""
    lengths = (23, 24, 67, 68, 400)
    rows = [
        {"doc_id": f"{words} words", "source": "s", "text": " ".join(f"{words}/{n}" for n in range(words))}
        for words in lengths
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_tasks({"medical": [tmp_path / "s.jsonl"]}, tmp_path / "tasks")
    passages: dict[int, list[tuple[int, int]]] = {words: [] for words in lengths}
    for question in _rows(tmp_path / "tasks/continuation_medical.jsonl"):
        words, first = map(int, question["context"].split()[0].split("/"))
        passages[words].append((first, len(question["context"].split())))
    assert passages == {
        23: [],
        24: [(0, 12)],
        67: [(0, 32)],
        68: [(0, 32), (44, 12)],
        400: [(44 * number, 32) for number in range(8)],
    }


def test_wrong_answers_come_from_other_documents(heldout, tmp_path):
    build_tasks(heldout, tmp_path / "tasks")
    texts = {row["doc_id"]: row["text"] for row in _rows(heldout["medical"][0] / "notes.jsonl")}
    for question in _rows(tmp_path / "tasks/continuation_medical.jsonl"):
        others = [text for doc_id, text in texts.items() if doc_id != question["doc_id"]]
        wrong = [choice for i, choice in enumerate(question["choices"]) if i != question["label"]]
        assert all(any(choice in text for text in others) for choice in wrong)


def test_each_place_is_right_equally_often(write_heldout, tmp_path):
    folder = write_heldout(tmp_path / "medical", "medical", documents=30)
    build_tasks({"medical": [folder]}, tmp_path / "tasks", questions=40)
    assert Counter(q["label"] for q in _rows(tmp_path / "tasks/continuation_medical.jsonl")) == dict.fromkeys(
        range(4), 10
    )


def test_first_questions_are_about_different_documents(heldout, tmp_path):
    build_tasks(heldout, tmp_path / "tasks")
    first = _rows(tmp_path / "tasks/continuation_medical.jsonl")[:8]
    assert len({question["doc_id"] for question in first}) == 8


def test_same_seed_same_files_other_seed_others(heldout, tmp_path):
    outputs = [build_tasks(heldout, tmp_path / str(i), seed=seed).outputs for i, seed in enumerate((0, 0, 1))]
    assert outputs[0] == outputs[1]
    assert outputs[0]["continuation_medical.jsonl"] != outputs[2]["continuation_medical.jsonl"]


def test_sample_is_drawn_from_all_sources(write_heldout, tmp_path):
    folder = write_heldout(tmp_path / "medical", "medical", documents=50)
    write_heldout(folder, "medical", documents=50, source="letters")
    manifest = build_tasks({"medical": [folder]}, tmp_path / "tasks", documents=40)
    sources = Counter(row["source"] for row in _rows(tmp_path / "tasks/perplexity_medical.jsonl"))
    assert sum(sources.values()) == 40 == manifest.counts["medical"]["documents"]
    assert min(sources["notes"], sources["letters"]) >= 10


def test_files_name_their_data_relative_to_the_folder(heldout, tmp_path):
    build_tasks(heldout, tmp_path / "tasks")
    index = json.loads((tmp_path / "tasks" / TASKS_FILE).read_text())
    assert [row["task"] for row in index] == [f"{k}_{d}" for d in heldout for k in ("perplexity", "continuation")]
    for row in index:
        task = yaml.safe_load((tmp_path / f"tasks/{row['task']}.yaml").read_text())
        assert (tmp_path / "tasks" / task["dataset_kwargs"]["data_files"]["test"]).is_file()
    assert Manifest.read(tmp_path / "tasks").stage == "tasks"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ('{"title": "a"}', "no text column 'text'"),
        ("[1]", "not a JSON object"),
        ('{"text": " ", "doc_id": "1", "source": "s"}', "is empty"),
        ('{"text": "a", "n": ' + "[" * 200_000, "not JSON|nested too deep|not closed"),
    ],
)
def test_a_bad_line_is_named(write_heldout, tmp_path, line, message):
    folder = write_heldout(tmp_path / "medical", "medical")
    with (folder / "notes.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match="1 of 9 documents") as caught:
        build_tasks({"medical": [folder]}, tmp_path / "tasks")
    assert re.search(rf"notes\.jsonl:9: .*({message})", caught.value.where)
    assert not (tmp_path / "tasks").exists()


def test_held_out_text_may_be_of_any_format(write_heldout, tmp_path):
    folder = write_heldout(tmp_path / "medical", "medical")
    rows = _rows(folder / "notes.jsonl")
    (tmp_path / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")
    with gzip.open(tmp_path / "table.csv.gz", "wt", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=";")
        table.writeheader()
        table.writerows(rows)
    (tmp_path / "notes").mkdir()
    for row in rows:
        (tmp_path / "notes" / f"{row['doc_id'].replace('/', '-')}.txt").write_text(row["text"], encoding="utf-16")
    outputs = {}
    for name in ("medical", "rows.json", "table.csv.gz", "notes"):
        build_tasks({"medical": [tmp_path / name]}, tmp_path / f"tasks of {name}")
        outputs[name] = (tmp_path / f"tasks of {name}" / "perplexity_medical.jsonl").read_bytes()
    assert outputs["medical"] == outputs["rows.json"] == outputs["table.csv.gz"]
    scored = [json.loads(line)["text"] for line in outputs["notes"].decode().splitlines()]
    assert sorted(scored) == sorted(row["text"] for row in rows)


def test_all_bad_files_of_all_domains_are_named(write_heldout, tmp_path):
    folder = write_heldout(tmp_path / "medical", "medical")
    (folder / "bad.txt").write_bytes(b"caf\xe9")
    (tmp_path / "general.txt").write_bytes(b"na\xefve")
    with pytest.raises(UserError, match="2 files cannot be read") as caught:
        build_tasks({"medical": [folder], "general": [tmp_path / "general.txt"]}, tmp_path / "tasks")
    assert "bad.txt: not UTF-8: byte 0xe9 at line 1, byte 4" in caught.value.where
    assert "general.txt: not UTF-8: byte 0xef at line 1, byte 3" in caught.value.where


def test_too_few_documents_or_different_texts_are_refused(write_heldout, tmp_path):
    few = write_heldout(tmp_path / "few", "medical", documents=3)
    with pytest.raises(UserError, match="only 3 held-out documents"):
        build_tasks({"medical": [few]}, tmp_path / "tasks")
    same = tmp_path / "same"
    same.mkdir()
    rows = [{"text": "mot " * 40, "doc_id": str(i), "source": "s"} for i in range(5)]
    (same / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="fewer than 4 different held-out documents"):
        build_tasks({"medical": [same]}, tmp_path / "tasks")


def test_folders_without_text_and_domains_without_a_name_are_refused(heldout, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "README").write_text("nothing")
    with pytest.raises(UserError, match="no file here is read: about the data"):
        build_tasks({"medical": [empty]}, tmp_path / "a")
    with pytest.raises(UserError, match="cannot name a domain"):
        build_tasks({"../x": heldout["medical"]}, tmp_path / "b")
    with pytest.raises(UserError, match="questions = 2"):
        build_tasks(heldout, tmp_path / "c", questions=2)
    with pytest.raises(UserError, match="at least one folder"):
        build_tasks({}, tmp_path / "d")
