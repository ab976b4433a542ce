"""The formats in which French medical corpora are published."""

import json
from pathlib import Path

from reading_helpers import items_of

from pdapt.data_prep.documents.record import Rejected


def test_drug_tables_are_joined_by_drug(tmp_path: Path) -> None:
    drug = "60002283\tANASTROZOLE 1 mg\tcomprimé\torale\tActive\tProc\tCommercialisée\t01/01/2000\t\t\tLABO\tNon"
    (tmp_path / "CIS_bdpm.txt").write_bytes(f"\ufeff{drug}\r\n".encode())
    parts = "60002283\tcomprimé\t42215\tANASTROZOLE\t1,00 mg\tun comprimé\tSA\t1\t\r\n"
    (tmp_path / "CIS_COMPO_bdpm.txt").write_bytes(parts.encode())
    (tmp_path / "CIS_GENER_bdpm.txt").write_text("1\tGROUPE X\t65383183\t0\t1\t\n")
    (tmp_path / "CIS_CPD_bdpm.txt").write_text("60002283\tliste I\n2\n")
    found = items_of(tmp_path, format="BDPM")
    first, second = (item for item in found if not isinstance(item, Rejected))
    assert (first.key, second.key) == ("60002283", "65383183")
    assert first.text.startswith("ANASTROZOLE 1 mg\nForme : comprimé\n")
    assert "Titulaire : LABO\nComposition (comprimé) : ANASTROZOLE, 1,00 mg pour un comprimé\n" in first.text
    assert second.text == "Groupe générique : GROUPE X"
    assert [item for item in found if isinstance(item, Rejected)] == [
        Rejected(str(tmp_path / "CIS_CPD_bdpm.txt"), 2, "1 column, not 2")
    ]


def test_questions_and_dialogues_that_are_not_as_published_are_rejected(tmp_path: Path) -> None:
    question = {"id": "q", "question": "?", "answers": {"a": "x"}, "correct_answers": ["a"]}
    (tmp_path / "train.json").write_text(json.dumps([question, question | {"correct_answers": ["b"]}]))
    first, second = items_of(tmp_path / "train.json", format="FRENCHMEDMCQA")
    assert not isinstance(first, Rejected)
    assert (first.text, first.split, first.stated) == ("?\nA. x\nRéponse : A. x", "train", {"doc_id": "q"})
    assert isinstance(second, Rejected)
    assert second.reason.startswith("question 2 is not as FrenchMedMCQA's")
    (tmp_path / "dialogues").write_text("d01 Bonjour\nBonjour\n")
    (item,) = items_of(tmp_path / "dialogues", format="MQC")
    assert item == Rejected(str(tmp_path / "dialogues"), 2, getattr(item, "reason", ""))
    assert "names no speaker" in getattr(item, "reason", "")
