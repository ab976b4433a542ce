"""A published corpus, read by those it is for: datasets, mlcroissant, a browser, and `corpus build` again."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import mlcroissant
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from commands import pdapt, pdapt_json
from datasets import load_dataset
from reading_helpers import items_of, records_of, shards_of

from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.data_prep.corpus import Source, build_corpus
from pdapt.data_prep.publish import hub_layout
from pdapt.data_prep.publish.corpus_statistics import SourceStatistics, shared_texts, text_hash
from pdapt.data_prep.publish.dataset_card import header, plain, table
from pdapt.data_prep.publish.table1 import inconsistencies, table1
from pdapt.data_prep.tokens.selection.shards import read_shard
from pdapt.launch.publish import publish_corpus as stage

Shared = Callable[[str], Path]
TITLE = "Corpus <d'essai> | 5–10 mg"
TEXTS = {
    "HAL": ["Le foie pèse 1,5 kg.", "Dose : 5 mg par jour", "Un texte à part, de sept mots."],
    "BDPM": ["Dose : 50 mg par jour", "dose 5 MG, par jour !", "Dose : 5 mg par jour"],
    "LETTRES": ["Madame | 5<10 7>3"],
}


def corpus_of(folder: Path, texts: dict[str, list[str]] = TEXTS) -> Path:
    """A corpus of a source for each name, of JSON lines that state licence, type and split."""
    sources = []
    for name, documents in texts.items():
        path = folder / "raw" / name / "a.jsonl"
        path.parent.mkdir(parents=True)
        rows = [
            {"text": text, "licence": "CC BY 4.0" if number else "", "document_type": "Clinical", "split": "test"}
            for number, text in enumerate(documents)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources.append(Source(name, path.parent))
    build_corpus(sources, folder / "corpus")
    return folder / "corpus"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published corpus of three sources, in shards of 40 bytes of text."""
    folder = tmp_path_factory.mktemp("publish")
    corpus = corpus_of(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "MEGABYTE", 40)
        pdapt("corpus", "publish", corpus, "--out", folder / "data-set", "--shard-mb", 1, "--title", TITLE)
    return folder / "data-set"


@pytest.mark.slow
def test_datasets_loads_it_as_its_card_says(published: Path, tmp_path: Path) -> None:
    loaded: Any = load_dataset(str(published), cache_dir=str(tmp_path))
    assert list(loaded) == ["train"]
    assert loaded["train"]["input"] == [text for name in sorted(TEXTS) for text in TEXTS[name]]
    assert loaded["train"].column_names[:3] == ["input", "source", "document_type"]
    assert loaded["train"]["original_split"] == ["test"] * 7


def test_shards_are_bounded_and_named_by_their_number(published: Path) -> None:
    shards = sorted((published / "finetuning").iterdir())
    assert [path.name for path in shards] == [f"train-{n:05}-of-{len(shards):05}.parquet" for n in range(len(shards))]
    assert len(shards) == 4
    for path in shards:
        sizes = [len(text.encode()) for text in pq.read_table(path)["input"].to_pylist()]
        assert sum(sizes[:-1]) < 40, path
    manifest = json.loads((published / "manifest.json").read_text())
    assert manifest["outputs"]["finetuning/" + shards[0].name] == sha256(shards[0])
    assert (manifest["counts"]["documents"], manifest["counts"]["shards"]) == (7, 4)


def test_croissant_is_valid_and_gives_the_records(published: Path) -> None:
    """mlcroissant checks the description, and reads the shards by it."""
    described: Any = mlcroissant.Dataset(jsonld=str(published / "croissant.json"))
    assert described.metadata.issues.errors == set()
    texts = {record["finetuning/input"].decode() for record in described.records("finetuning")}
    assert texts == {text for documents in TEXTS.values() for text in documents}
    stated = json.loads((published / "croissant.json").read_text())
    files = [each for each in stated["distribution"] if each["@type"] == "cr:FileObject"]
    assert {each["contentUrl"]: each["sha256"] for each in files} == {
        str(path.relative_to(published)): sha256(path) for path in (published / "finetuning").iterdir()
    }
    columns = [each["name"] for each in stated["recordSet"][0]["field"]]
    assert columns == pq.read_schema(next((published / "finetuning").iterdir())).names


def test_a_description_that_lacks_something_is_not_valid(published: Path, tmp_path: Path) -> None:
    """The check above can fail."""
    stated = json.loads((published / "croissant.json").read_text())
    stated["recordSet"][0]["field"][0]["source"]["fileSet"]["@id"] = "nothing"
    (tmp_path / "croissant.json").write_text(json.dumps(stated))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))


def test_the_card_s_header_is_what_the_hub_reads(published: Path) -> None:
    text = (published / "README.md").read_text()
    _, stated, body = text.split("---\n", 2)
    values = yaml.safe_load(stated)
    assert values["license"] == "other"
    assert (published / values["license_link"]).read_text().startswith("Credits")
    assert values["size_categories"] == ["n<1K"]
    assert values["configs"][0]["config_name"] == "finetuning"
    assert "# Corpus \\<d'essai\\> \\| 5–10 mg\n" in body
    assert "| LETTRES | 1 |" in body
    assert "7 documents are of their publishers' test and development parts" in body
    one = SourceStatistics(documents=20_000, licences={("CC-BY-4.0", True): Counter()})
    assert header("x", {"a": one})["license"] == "cc-by-4.0"
    assert header("x", {"a": one})["size_categories"] == ["10K<n<100K"]


def test_columns_of_words_stand_to_the_left_and_numbers_to_the_right(published: Path) -> None:
    page = (published / "index.html").read_text()
    assert page.count('<th scope="col">licence</th>\n<th scope="col">commercial use</th>') == 1
    assert '<th scope="col">words</th>' not in page
    assert '<td class="number">CC-BY' not in page


def test_a_table_s_cells_cannot_break_out_of_it() -> None:
    lines = table(("a", "n"), [("x | y\n<script>[l](u)", 1234)]).splitlines()
    assert lines[1:] == ["| :-- | --: |", "| x \\| y \\<script\\>\\[l\\](u) | 1,234 |"]
    assert plain("a\\|b") == "a\\\\\\|b"


def test_shared_texts_are_those_of_the_same_letters_and_digits(published: Path) -> None:
    """Case, punctuation and white space do not tell texts apart; a dose does."""
    shared = json.loads((published / "statistics.json").read_text())["shared_texts"]
    assert shared["BDPM"] == {"BDPM": 1, "HAL": 2, "LETTRES": 0}
    assert shared["HAL"] == {"BDPM": 1, "HAL": 0, "LETTRES": 0}
    assert text_hash("Dose : 5 mg") == text_hash("dose 5\u00a0MG.") != text_hash("Dose : 50 mg")
    rng = np.random.default_rng(0)
    drawn = {name: SourceStatistics(hashes=list(map(int, rng.integers(0, 30, 25)))) for name in "abc"}
    sets = {name: set(each.hashes) for name, each in drawn.items()}
    expected = [
        [len(x.hashes) - len(sets[a]) if a == b else sum(h in sets[b] for h in x.hashes) for b in drawn]
        for a, x in drawn.items()
    ]
    assert shared_texts(drawn).tolist() == expected


def test_table_1_stands_beside_the_paper_s(published: Path, shared: Shared) -> None:
    paper = json.loads(shared("paper/paper_tables.json").read_text())["table1"]
    rows = json.loads((published / "table1.json").read_text())["rows"]
    assert [(row["paper_documents"], row["paper_words"]) for row in rows[:23]] == [
        (row["n_docs"], row["n_words"]) for row in paper["rows"]
    ]
    assert [(row["source"], row["documents"], row["words"]) for row in rows if row["documents"]] == [
        ("HAL", 3, 18),
        ("BDPM", 3, 18),
        ("LETTRES", 1, 4),
    ]
    assert rows[23]["edition"] == ""
    assert [row.source for row in table1({"wmt18 medline": SourceStatistics()})].count("wmt18 medline") == 1
    off = paper["mismatch_stated_minus_computed"]["commercial"]
    (totals,) = [sentence for sentence in inconsistencies() if sentence.startswith("Totals")]
    added = paper["computed_totals"]["commercial"]
    assert totals == (
        f"Totals of the commercial edition: the 17 rows add up to {added['n_docs']:,} documents and "
        f"{added['n_words']:,} words; the paper prints {off['n_docs']:,} and {off['n_words']:,} more."
    )
    share = 100 * paper["rows"][0]["n_words"] / paper["computed_totals"]["research"]["n_words"]
    assert inconsistencies()[-1].startswith(f"HAL alone has {share:.0f} % of all words")
    assert any(sentence.startswith("DEFT2021: ") for sentence in inconsistencies())


def test_it_is_read_back_as_it_was(published: Path, tmp_path: Path) -> None:
    counts = pdapt_json("corpus", "build", "--format", "parcomed", published, "--out", tmp_path / "again")["counts"]
    ((_, again),) = counts.items()
    assert again["kept"] == 7
    rows = [row for path in (tmp_path / "again" / "documents").iterdir() for row in hub_layout.rows_of(path)]
    assert sorted(row["text"] for row in rows) == sorted(text for documents in TEXTS.values() for text in documents)
    assert {row["licence"] for row in rows} == {"", "CC BY 4.0"}
    assert {row["original_split"] for row in rows} == {"test"}


PARCOMED = {"input": "Le foie.", "source": "HAL", "document_type": "Scientific"}
INSTRUCTION = PARCOMED | {"instruction": "Réponds.", "input": "Où ?", "output": "Là.", "source": "MQC"}


def test_parcomed_s_own_layout_is_read(tmp_path: Path) -> None:
    """Both configurations, in Parquet and as JSON lines."""
    instructions = [INSTRUCTION, INSTRUCTION | {"input": ""}]
    for config, rows in (("finetuning", [PARCOMED]), ("instruction-tuning", instructions)):
        (tmp_path / config).mkdir()
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / config / "train-00000-of-00001.parquet")
        (tmp_path / config / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = records_of(tmp_path, format="parcomed")
    tuned = ["Réponds.\nOù ?\nLà.", "Réponds.\nLà."]
    assert [record.text for record in read] == ["Le foie."] * 2 + tuned * 2
    assert {record.stated["source"] for record in read} == {"HAL", "MQC"}
    assert {record.stated["document_type"] for record in read} == {"Scientific"}


def test_parcomed_s_parquet_is_recognised(tmp_path: Path) -> None:
    """Also by shards, as `tokens build` reads it; a text column that the user names is read alone."""
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([INSTRUCTION, INSTRUCTION | {"input": ""}]), path)
    texts = ["Réponds.\nOù ?\nLà.", "Réponds.\nLà."]
    assert [record.text for record in records_of(tmp_path)] == texts
    batches = [batch for shard in shards_of("source", tmp_path) for batch in read_shard(shard)]
    assert [text for batch in batches for text in batch.text.to_pylist()] == texts
    assert {record.split for record in records_of(tmp_path)} == {"train"}
    assert [record.text for record in records_of(tmp_path, text_column="output")] == ["Là."] * 2


def test_the_hub_s_rows_are_known_by_their_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.load_dataset", Mock(return_value=[INSTRUCTION, PARCOMED]))
    assert [r.text for r in records_of("HealthDataHub/PARCOMED:instruction-tuning")] == [
        "Réponds.\nOù ?\nLà.",
        "Le foie.",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "without the column 'input'"),
        ({"input": 5}, "'input' is int"),
        ({"input": " "}, "no text"),
        (INSTRUCTION | {"output": ""}, "the output is empty"),
        (INSTRUCTION | {"output": None}, "the output is empty"),
    ],
)
def test_rows_that_are_no_documents_are_rejected_alone(tmp_path: Path, row: Any, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(PARCOMED) + "\n")
    first, second = items_of(tmp_path, format="parcomed")
    assert message in getattr(first, "reason", "")
    assert getattr(second, "text", "") == "Le foie."


def test_a_damaged_corpus_and_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no corpus"):
        pdapt("corpus", "publish", tmp_path, "--out", tmp_path / "out")
    corpus = corpus_of(tmp_path)
    for option, value in (("--shard-mb", 0), ("--title", " ")):
        with pytest.raises(UserError, match=option.strip("-").split("-")[0]):
            pdapt("corpus", "publish", corpus, "--out", tmp_path / "out", option, value)
    path = corpus / "documents" / "HAL.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"HAL\.parquet"):
        pdapt("corpus", "publish", corpus, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_overview_says_everything_in_text(published: Path) -> None:
    page = (published / "index.html").read_text()
    assert f"<h1>{TITLE.replace('<', '&lt;').replace('>', '&gt;').replace(chr(39), '&#39;')}</h1>" in page
    assert "7 documents and 40 words of 3 sources." in page
    assert all(f'id="table-{name}"' in page for name in ("sources", "types", "licences", "shared", "table1"))
    pictures = re.findall(r'<img [^>]*alt="([^"]+)"', page)
    assert len(pictures) == 4
    assert "BDPM: 18; HAL: 18; LETTRES: 4" in pictures[0]
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "nothing is loaded from elsewhere"


@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 900, 1400])
def test_the_overview_fits_every_width(
    published: Path, tmp_path: Path, width: int, programs: Callable[..., list[str]]
) -> None:
    """Only regions that scroll are wider than the page."""
    probe = tmp_path / "probe.html"
    script = "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script></body>"
    probe.write_text((published / "index.html").read_text().replace("</body>", script))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/c", "--dump-dom"]
    command = [*programs("chromium"), *options, f"--window-size={width},900", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (needed, given) = map(int, re.findall(r"<title>(\d+) (\d+)</title>", done.stdout)[0])
    assert needed <= given
