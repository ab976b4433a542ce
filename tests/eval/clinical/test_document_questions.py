"""Questions made of clinical documents: of real samples where they are there, of small ones, and of damaged ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import pdapt

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.eval.clinical.documents.annotations import GROUPS, Mention, passages, read_brat, read_gsc_units, read_xmi
from pdapt.eval.clinical.documents.document_questions import (
    LABELS,
    choice_rows,
    code_rows,
    entity_rows,
    read_e3c,
    read_frasimed,
    read_mantra,
    read_quaero,
)
from pdapt.eval.clinical.documents.document_tasks import DOCUMENT_TASKS, source_folder
from pdapt.eval.clinical.documents.score_documents import score_choices, score_code, score_entities
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.eval.tasks.fetch import fetch_tasks
from pdapt.eval.tasks.questions import read_questions

Fuzz = Callable[..., None]
TEXT = "Toux et fièvre.\n\nPas de fièvre ; paracétamol 1 g.\n"
ANN = (
    "T1\tDISO 0 4\tToux\n#1\tAnnotatorNotes T1\tC0010200\nT2\tDISO 8 14\tfièvre\nT3\tDISO 24 30\tfièvre\n"
    "T4\tCHEM 33 44\tparacétamol\nT5\tDISO 0 4;8 14\tToux fièvre\nT6\tDEVI 45 48\t1 g\n"
)


def _brat(folder: Path, name: str, text: str = TEXT, ann: str = ANN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ann").write_text(ann, encoding="utf-8")
    path = folder / f"{name}.txt"
    path.write_text(text, encoding="utf-8")
    return path


def _xmi(path: Path, text: str = "Un homme fébrile.", places: str = 'begin="9" end="16"') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><xmi:XMI xmlns:xmi="http://www.omg.org/XMI" '
        'xmlns:cas="http:///uima/cas.ecore" xmlns:custom="http:///webanno/custom.ecore">'
        f'<custom:CLINENTITY xmi:id="1" sofa="2" {places} entityID="C0015967"/>'
        f'<cas:Sofa xmi:id="2" sofaString="{text}"/></xmi:XMI>',
        encoding="utf-8",
    )
    return path


GSC = (
    '<Corpus><document id="d1"><unit id="d1.u1"><text>Toux sous ramipril.</text>'
    '<e id="e1" offset="0" len="4" grp="DISO" cui="C0010200">Toux</e>'
    '<e id="e2" offset="10" len="8" grp="CHEM" cui="C0072973">ramipril</e></unit></document></Corpus>'
)


def _question(number: int, right: list[str]) -> dict[str, Any]:
    answers = {letter: f"proposition {letter}{number}" for letter in "abcde"}
    return {"id": str(number), "question": f"Question {number} ?", "answers": answers, "correct_answers": right}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Small made-up sources, in folders as `pdapt corpus collect` names them."""
    folder = tmp_path / "raw"
    for split in ("train", "dev", "test"):
        for number in range(3):
            text = TEXT.replace("Toux", f"Toux {split}{number}")
            shift = len(f" {split}{number}")
            ann = f"T1\tDISO {8 + shift} {14 + shift}\tfièvre\nT2\tCHEM {33 + shift} {44 + shift}\tparacétamol\n"
            _brat(folder / f"QUAERO/QUAERO_FrenchMed/corpus/{split}/EMEA", f"{split}{number}", text, ann)
    (folder / "MANTRA_GSC").mkdir()
    (folder / "FRENCHMEDMCQA/corpus").mkdir(parents=True)
    for part, count in (("train", 6), ("test", 4)):
        rows = [_question(n, list("ace"[: n % 3 + 1])) for n in range(count)]
        (folder / f"FRENCHMEDMCQA/corpus/{part}.json").write_text(json.dumps(rows))
    return folder


def test_brat_is_read_with_its_notes_and_without_pieces(tmp_path: Path) -> None:
    text = read_brat(_brat(tmp_path / "train/EMEA", "1"))
    assert text.mentions[0] == Mention(0, 4, "DISO", {"AnnotatorNotes": "C0010200"})
    assert [(mention.label, text.text[mention.start : mention.end]) for mention in text.mentions] == [
        ("DISO", "Toux"),
        ("DISO", "fièvre"),
        ("DISO", "fièvre"),
        ("CHEM", "paracétamol"),
        ("DEVI", "1 g"),
    ]
    assert (text.split, text.discontinuous) == ("train", 1)
    lines = list(passages(text))
    assert [(line.id, line.text, len(line.mentions)) for line in lines] == [
        ("1#0", "Toux et fièvre.", 2),
        ("1#2", "Pas de fièvre ; paracétamol 1 g.", 3),
    ]
    assert [lines[1].text[m.start : m.end] for m in lines[1].mentions] == ["fièvre", "paracétamol", "1 g"]


def test_xml_forms_are_read(tmp_path: Path) -> None:
    text = read_xmi(_xmi(tmp_path / "French/layer1/FR1.xml"), "CLINENTITY")
    assert [text.text[m.start : m.end] for m in text.mentions] == ["fébrile"]
    path = tmp_path / "EMEA_GSC_fr_man.xml"
    path.write_text(GSC)
    (unit,) = read_gsc_units(path)
    assert (unit.id, [(m.label, unit.text[m.start : m.end]) for m in unit.mentions]) == (
        "d1.u1",
        [("DISO", "Toux"), ("CHEM", "ramipril")],
    )
    assert [text.id for text in read_mantra(tmp_path)] == ["d1.u1"]
    assert [text.id for text in read_e3c(tmp_path)] == ["FR1"]


@pytest.mark.parametrize(
    ("ann", "message"),
    [
        ("T1\tDISO 0 3\tToux\n", "the annotation says 'Toux', and the text has 'Tou'"),
        ("T1\tDISO 400 404\tToux\n", "and the text has '' there"),
        ("T1 DISO 0 4 Toux\n", "the line is not an annotation"),
        ("rien\n", "the line is not an annotation"),
    ],
)
def test_an_annotation_that_is_not_its_texts_is_refused(tmp_path: Path, ann: str, message: str) -> None:
    path = _brat(tmp_path, "1", ann=ann)
    with pytest.raises(UserError, match=message) as raised:
        read_brat(path)
    assert str(raised.value.where).endswith("1.ann:1")


def test_questions_come_from_test_and_examples_from_train(raw: Path) -> None:
    asked, shown = entity_rows(read_quaero(raw / "QUAERO"))
    assert {row["text"].split()[1][:4] for row in asked if row["text"].startswith("Toux")} == {"test"}
    assert {row["text"].split()[1][:5] for row in shown if row["text"].startswith("Toux")} == {"train"}
    assert not {row["text"] for row in asked} & {row["text"] for row in shown}
    assert {(row["asked"], row["answer"]) for row in asked if "Pas de" in row["text"]} == {
        (LABELS["CHEM"], "paracétamol"),
        (LABELS["DISO"], "aucune"),
    }


def test_options_are_asked_with_examples_of_one_right_answer_and_more(raw: Path) -> None:
    asked, shown = choice_rows(raw / "FRENCHMEDMCQA")
    assert len(asked) == 4
    assert [row["answer"] for row in shown] == ["A", "A, C", "A, C, E"]
    assert asked[0]["choices"] == [f"proposition {letter}0" for letter in "abcde"]
    path = raw / "FRENCHMEDMCQA/corpus/test.json"
    path.write_text(json.dumps([_question(0, ["f"])]))
    with pytest.raises(UserError, match="correct_answers is"):
        choice_rows(raw / "FRENCHMEDMCQA")


def test_the_command_makes_them_of_collected_sources(raw: Path, tmp_path: Path) -> None:
    names = ["quaero_entities_fr", "frenchmedmcqa_fr"]
    chosen = [word for name in names for word in ("--tasks", name)]
    pdapt("eval", "fetch", *chosen, "--source", raw, "--out", tmp_path / "data")
    index = read_json(tmp_path / "data/benchmark.json")
    assert set(index) == set(names)
    assert index["frenchmedmcqa_fr"]["questions"] == 4
    rows = (tmp_path / "data" / index["frenchmedmcqa_fr"]["shots"]).read_text().splitlines()
    assert len(rows) == 3
    texts = read_questions(tmp_path / "data", choose_tasks(names))
    assert texts["frenchmedmcqa_fr"][0] == ["Question 0 ?", *(f"proposition {letter}0" for letter in "abcde")]
    assert all(len(question) == 1 for question in texts["quaero_entities_fr"])


def test_what_is_missing_is_said_with_the_command_that_brings_it(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder of E3C is missing") as raised:
        source_folder(raw, "E3C")
    assert "pdapt corpus collect E3C" in str(raised.value)
    with pytest.raises(UserError, match="the folder is empty"):
        pdapt("eval", "fetch", "--tasks", "mantra_entities_fr", "--source", raw, "--out", tmp_path / "data")
    with pytest.raises(UserError, match="--source raw"):
        pdapt("eval", "fetch", "--tasks", "FR-CLINICAL", "--out", tmp_path / "data")
    assert not (tmp_path / "data").exists()


REAL = {
    "mantra_gsc": (200, lambda folder: entity_rows(read_mantra(folder))),
    "frasimed": (40, lambda folder: code_rows(read_frasimed(folder))),
    "frenchmedmcqa": (622, choice_rows),
}


@pytest.mark.parametrize("name", list(REAL))
def test_real_samples_give_questions_that_their_answers_answer(name: str, shared: Callable[[str], Path]) -> None:
    least, make = REAL[name]
    asked, shown = make(shared(f"samples/{name}"))
    assert len(asked) >= least
    assert len(shown) >= 3
    for row in asked:
        if "mentions" in row:
            assert all(mention in " ".join(row["text"].split()) for mention in row["mentions"])
            assert score_entities(row, [row["answer"]])["correct"] == 1
        elif "code" in row:
            assert row["mention"] in " ".join(row["text"].split())
            assert score_code(row, [row["code"]])["correct"] == 1
        else:
            assert score_choices(row, [row["answer"]]) == {"correct": 1, "hamming": 1}


def test_the_real_samples_annotations_are_all_accounted_for(shared: Callable[[str], Path]) -> None:
    """Counted with grep: 710 mentions of Mantra GSC, 11 of them in pieces and one of two groups; 455 of FRASIMED."""
    mantra = read_mantra(shared("samples/mantra_gsc"))
    assert sum(len(text.mentions) for text in mantra) == 710 - 11 + 1
    assert sum(text.discontinuous for text in mantra) == 11
    assert {mention.label for text in mantra for mention in text.mentions} == GROUPS
    frasimed = read_frasimed(shared("samples/frasimed"))
    assert sum(len(text.mentions) for text in frasimed) == 455
    assert sum("ICD-O-3.1" in m.notes for text in frasimed for m in text.mentions) == 455


def test_fuzz_brat(fuzz: Fuzz, tmp_path: Path) -> None:
    path = _brat(tmp_path, "1")
    fuzz(path.with_suffix(".ann"), lambda: read_brat(path))
    fuzz(path, lambda: read_brat(path))


def test_fuzz_xml(fuzz: Fuzz, tmp_path: Path) -> None:
    path = _xmi(tmp_path / "1.xml")
    fuzz(path, lambda: list(passages(read_xmi(path, "CLINENTITY"))))
    units = tmp_path / "EMEA_GSC_fr_man.xml"
    units.write_text(GSC)
    fuzz(units, lambda: list(read_gsc_units(units)))


def test_fuzz_choices(fuzz: Fuzz, raw: Path) -> None:
    folder = raw / "FRENCHMEDMCQA"
    fuzz(folder / "corpus/test.json", lambda: choice_rows(folder))


@pytest.mark.parametrize("choices", ["5", "[1, 2]"])
def test_damaged_questions_are_refused_by_name(raw: Path, tmp_path: Path, choices: str) -> None:
    tasks = choose_tasks(["frenchmedmcqa_fr"])
    fetch_tasks(tmp_path / "data", source=raw, tasks=tasks)
    path = tmp_path / "data/clinical/frenchmedmcqa_fr/test.jsonl"
    path.write_text(f'{{"text": "Question ?", "choices": {choices}}}\n')
    with pytest.raises(UserError, match="choice"):
        read_questions(tmp_path / "data", tasks)


def test_tasks_are_named_by_group() -> None:
    assert choose_tasks(["FR-CLINICAL"]) == list(DOCUMENT_TASKS)
