"""The programs of docs/topics.md, run as they are printed there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import pdapt_json

from pdapt.data_prep.corpus import build_corpus
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.topics.term_list import read_terms

PAGE = Path(__file__).resolve().parents[3] / "docs" / "topics.md"
KINDS = {
    "cardiology": "Le patient {n} a un infarctus du myocarde, stent coronaire {n}.",
    "ophthalmology": "Le patient {n} a une cataracte, acuité visuelle de l'œil {n}.",
    "none": "Le train {n} part de la gare à {n} heures.",
}


def block(kind: str, holds: str) -> str:
    """The one fenced block of the page that holds a text."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (text,) = [each for each in blocks if holds in each]
    return text


def test_the_page_s_own_terms_are_a_file_of_terms(tmp_path: Path) -> None:
    (tmp_path / "terms.yaml").write_text(block("yaml", "renal_transplant"), encoding="utf-8")
    assert [topic.name for topic in read_terms(tmp_path / "terms.yaml")] == ["renal_transplant", "other_nephrology"]


@pytest.mark.slow
def test_the_page_s_classifier_learns_from_labels_and_labels_the_corpus(tmp_path: Path) -> None:
    rows = [(topic, text.format(n=n)) for topic, text in KINDS.items() for n in range(40)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for _, text in rows))
    build_corpus(discover([str(tmp_path / "notes.jsonl")]), tmp_path / "corpus")
    for name in ("draw", "train"):
        (tmp_path / f"{name}.py").write_text(block("python", f"# {name}.py"), encoding="utf-8")

    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    drawn, topics = run("draw.py", "corpus").splitlines(), {text: topic for topic, text in rows}
    labels = [drawn[0]]
    for line in drawn[1::2]:
        digest, empty, text = line.split("\t")
        assert empty == ""
        labels.append(f"{digest}\t{topics[text]}\t{text}")
    (tmp_path / "labels.tsv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    assert "macro avg" in run("train.py", "corpus", "labels.tsv", "mine.tsv")
    said = pdapt_json("corpus", "topics", tmp_path / "corpus", "--labels", tmp_path / "mine.tsv")
    assert {row["topic"]: row["documents"] for row in said["topics"]} == dict.fromkeys(KINDS, 40)
