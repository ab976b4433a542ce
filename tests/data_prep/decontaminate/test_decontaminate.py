"""Texts for evaluation within a corpus: found, listed, and dropped."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import Source, build_corpus
from pdapt.data_prep.decontaminate import ngrams
from pdapt.data_prep.decontaminate.decontaminate import decontaminate
from pdapt.data_prep.decontaminate.evaluation_texts import SHORTEST, EvaluationText, EvaluationTexts
from pdapt.data_prep.decontaminate.ngrams import LONGEST
from pdapt.data_prep.documents import store
from pdapt.data_prep.documents.store import read_documents
from pdapt.data_prep.tasks.task_options import Tasks
from pdapt.data_prep.tokens.selection.given_paths import is_corpus

Row = dict[str, Any]
TASK = "mmlu_med_fr_anatomy"
QUESTION = "Chez un patient de 45 ans qui prend 500 mg de métformine, quel nerf est lésé dans 3 cas sur 4 à la chute ?"
SHORT = "Quel os du carpe est le plus souvent fracturé ?"
TOO_SHORT = "Quel est cet os ?"


def corpus(folder: Path, **sources: list[Row]) -> Path:
    """A corpus of these rows."""
    folder.mkdir()
    for name, rows in sources.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_corpus([Source(name, folder / f"{name}.jsonl") for name in sources], folder / "corpus")
    return folder / "corpus"


def listed(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / "contaminated.jsonl").read_text().splitlines()]


def searched(*items: list[str]) -> EvaluationTexts:
    return EvaluationTexts([EvaluationText(TASK, str(number), tuple(each)) for number, each in enumerate(items)])


def shared_runs(item: str, document: str) -> int:
    """Different runs that both have, by Python's sets."""
    words, others = item.split(), document.split()
    length = min(len(words), LONGEST)
    if length < SHORTEST:
        return 0
    runs, theirs = ({tuple(each[at : at + length]) for at in range(len(each) - length + 1)} for each in (words, others))
    return len(runs & theirs)


LONG = "a b a a b a b b a a a b b a b a b b b a"


@settings(deadline=None, max_examples=60)
@example([LONG, f"{LONG[::-1]} {LONG}"], [LONG, f"{LONG} c {LONG}", LONG[2:]], 30)
@given(
    st.lists(st.lists(st.sampled_from("ab"), max_size=20).map(" ".join), min_size=1, max_size=5),
    st.lists(st.lists(st.sampled_from("ab"), max_size=40).map(" ".join), min_size=1, max_size=4),
    st.sampled_from([1, 7, 30, ngrams.AT_ONCE]),
)
def test_overlaps_are_those_of_sets_of_runs(items: list[str], documents: list[str], at_once: int) -> None:
    with patch.object(ngrams, "AT_ONCE", at_once):
        overlaps = searched(*([item] for item in items)).overlaps(pa.array(documents, pa.string()))
    pairs = zip(overlaps.documents.tolist(), overlaps.items.tolist(), overlaps.runs.tolist(), strict=True)
    expected = [
        (number, other, runs)
        for number, document in enumerate(documents)
        for other, item in enumerate(items)
        if (runs := shared_runs(item, document))
    ]
    assert list(pairs) == expected


def test_questions_are_found_whatever_their_case_and_spaces(tmp_path: Path) -> None:
    rows = [
        {"text": f"Cours. {QUESTION.upper().replace(' ', '  ')} Réponse A.", "doc_id": "copied"},
        {"text": QUESTION.replace("500", "850").replace("3 cas", "2 cas"), "doc_id": "other numbers"},
        {"text": f"Annales : {SHORT}", "doc_id": "short"},
        {"text": f"Annales : {TOO_SHORT}", "doc_id": "too short"},
    ]
    folder = corpus(tmp_path / "in", notes=rows)
    manifest = decontaminate(
        folder, {TASK: [["Une autre question."], [QUESTION], [SHORT], [TOO_SHORT]]}, tmp_path / "out"
    )
    assert listed(tmp_path / "out") == [{"task": TASK, "doc_id": 1}, {"task": TASK, "doc_id": 2}]
    overlaps = pq.read_table(tmp_path / "out" / "overlaps.parquet").to_pylist()
    assert [(row["doc_id"], row["item"], row["share"]) for row in overlaps] == [
        ("copied", "1", 1.0),
        ("short", "2", 1.0),
    ]
    assert manifest.stage == "contamination"
    assert manifest.counts["notes"]["contaminated"]["documents"] == 2
    summary = json.loads((tmp_path / "out" / "contamination.json").read_text())
    assert summary["tasks"][TASK]["by_way"] == {"by_runs": 1, "whole": 1, "with_choices": 0, "too_short": 2}
    assert (summary["tasks"][TASK]["all"], summary["tasks"][TASK]["contaminated"]) == (4, 2)
    assert summary["test_parts"]["all"] == 0
    assert not is_corpus(tmp_path / "out")


def found(items: list[list[str]], *documents: str) -> set[tuple[int, int]]:
    overlaps = searched(*items).overlaps(pa.array(documents, pa.string()))
    return {*zip(overlaps.documents.tolist(), overlaps.items.tolist(), strict=True)}


def test_a_question_of_few_words_is_found_where_all_its_choices_are() -> None:
    items = [[TOO_SHORT, "Le fémur", "Le tibia", "L'os du carpe"], [TOO_SHORT, "Le radius", "Le tibia"], [TOO_SHORT]]
    documents = [
        f"12. {TOO_SHORT} A) Le fémur ; B) le tibia ; C) l'os du carpe.",
        f"{TOO_SHORT} Le fémur, dit-il.",
        "Le fémur, le tibia, l'os du carpe.",
        f"Le tibia ? Le radius ? {TOO_SHORT.upper()}",
    ]
    assert found(items, *documents) == {(0, 0), (3, 1)}
    assert [str(way) for way in searched(*items).ways] == ["with_choices", "with_choices", "too_short"]


def test_a_choice_of_many_words_is_found_by_itself_and_a_short_one_is_passed_over() -> None:
    choice = "Une infection virale des voies aériennes supérieures qui guérit en 7 jours sans aucun traitement"
    items = [[SHORT, choice, "Le fémur"], ["Et ?", choice], ["Et ?", "Le fémur"]]
    assert found(items, f"On retient : {choice.lower()}.", "Le fémur.") == {(0, 0), (0, 1)}
    assert searched(*items).choices_passed_over.tolist() == [1, 0, 1]


def test_the_share_of_a_question_that_is_found_whole_is_one() -> None:
    items = [
        [TOO_SHORT, "Le fémur", "Le tibia", "L'os du carpe"],
        [QUESTION, "3 cas", "4 cas"],
        [SHORT, "Le scaphoïde"],
    ]
    texts = searched(*items)
    overlaps = texts.overlaps(pa.array([" ".join(text for item in items for text in item)]))
    assert (overlaps.runs == texts.runs[overlaps.items]).all()
    assert overlaps.items.tolist() == [0, 1, 2]


def test_test_parts_are_looked_for_in_what_may_be_trained_on(tmp_path: Path) -> None:
    case = "Le patient a été admis pour une douleur thoracique évoluant depuis la veille au soir sans fièvre."
    folder = corpus(
        tmp_path / "in",
        held=[
            {"text": case, "original_split": "test", "doc_id": "t"},
            {"text": f"{case} Suite.", "original_split": "dev"},
        ],
        free=[{"text": f"Observation : {case}", "doc_id": "leak"}, {"text": "Rien de commun avec les autres."}],
    )
    manifest = decontaminate(folder, {}, tmp_path / "out", treatment="drop")
    assert listed(tmp_path / "out") == []
    rows = pq.read_table(tmp_path / "out" / "overlaps.parquet").to_pylist()
    assert {(row["source"], row["doc_id"], row["task"]) for row in rows} == {("free", "leak", "")}
    assert "held/t" in {row["item"] for row in rows}
    assert [count["kept"] for count in manifest.counts.values()] == [1, 2]
    assert is_corpus(tmp_path / "out")
    kept = {
        name: [text for (text,) in read_documents(tmp_path / "out" / "documents" / name, ("text",))]
        for name in ("free.parquet", "held.parquet")
    }
    assert kept == {"free.parquet": ["Rien de commun avec les autres."], "held.parquet": [case, f"{case} Suite."]}


def test_a_source_that_is_contaminated_whole_is_left_out(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "in", a=[{"text": QUESTION}], b=[{"text": "Un document sans rapport."}])
    manifest = decontaminate(folder, {TASK: [[QUESTION]]}, tmp_path / "out", treatment="drop")
    assert [path.name for path in (tmp_path / "out" / "documents").iterdir()] == ["b.parquet"]
    assert (manifest.counts["a"]["kept"], manifest.counts["a"]["contaminated"]["documents"]) == (0, 1)
    alone = corpus(tmp_path / "alone", a=[{"text": QUESTION}])
    with pytest.raises(UserError, match="every document is contaminated"):
        decontaminate(alone, {TASK: [[QUESTION]]}, tmp_path / "none", treatment="drop")


def test_what_cannot_be_looked_for(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "in", a=[{"text": "Un document."}])
    with pytest.raises(UserError, match="nothing to look for"):
        decontaminate(folder, {}, tmp_path / "out")
    with pytest.raises(UserError, match="did you mean 'drop'"):
        decontaminate(folder, {}, tmp_path / "out", treatment="drops")
    with pytest.raises(UserError, match="no documents in"):
        decontaminate(tmp_path / "in", {TASK: [[QUESTION]]}, tmp_path / "out")


def test_the_same_inputs_give_the_same_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    texts = [" ".join(f"m{number}" for number in draw.integers(0, 40, 60)) for _ in range(40)]
    folder = corpus(tmp_path / "in", a=[{"text": text} for text in texts])
    questions = {TASK: [[" ".join(text.split()[5:25])] for text in texts[::3]]}
    outputs = [decontaminate(folder, questions, tmp_path / name, treatment="drop").outputs for name in ("x", "y")]
    assert outputs[0] == outputs[1]
    assert Manifest.read(tmp_path / "x").counts["a"]["kept"] == 40 - len(texts[::3])


@pytest.mark.slow
def test_any_number_of_tasks_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks_in_this_process: list[tuple[str, int]]
) -> None:
    """Documents of test parts are looked for, and in none of them; row groups are small."""
    monkeypatch.setattr(store, "ROW_GROUP_BYTES", 4000)
    draw = np.random.default_rng(3)
    texts = [" ".join(f"m{number}" for number in draw.integers(0, 40, 60)) for _ in range(60)]
    rows = [
        {"text": text, "original_split": "test" if number % 7 == 0 else "train"} for number, text in enumerate(texts)
    ]
    copies = [{"text": f"Suite : {text}"} for text in texts[::5]]
    folder = corpus(tmp_path / "in", a=rows, b=copies, c=[{"text": "Rien."}])
    questions = {TASK: [[" ".join(text.split()[5:25])] for text in texts[::4]] + [[TOO_SHORT, "Le fémur"]]}
    whole = decontaminate(folder, questions, tmp_path / "whole", treatment="drop")
    assert whole.counts["b"]["contaminated"]["documents"] > 0
    assert not tasks_in_this_process
    for most in (2, 5, 100):
        out = tmp_path / str(most)
        parts = decontaminate(folder, questions, out, treatment="drop", tasks=Tasks(most))
        assert (parts.outputs, parts.counts, parts.config) == (whole.outputs, whole.counts, whole.config)
        assert not list(out.glob(".*"))
    assert [name for name, _ in tasks_in_this_process] == ["search", "drop"] * 3
    assert 1 < tasks_in_this_process[0][1] < tasks_in_this_process[2][1] < tasks_in_this_process[4][1]
