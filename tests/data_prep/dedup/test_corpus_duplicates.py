"""`corpus build --duplicates`: what is kept, what is listed, and what a kill leaves."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import Source, build_corpus
from pdapt.data_prep.dedup import corpus_duplicates
from pdapt.data_prep.documents import store

Row = dict[str, Any]
LEAFLET = (
    "Ce médicament contient du paracétamol. Adultes : prendre 500 mg toutes les 6 heures, sans dépasser 3 g par jour. "
    "Ne prenez jamais ce médicament en cas d'allergie, ni en cas de maladie grave du foie. Demandez conseil à votre "
    "pharmacien en cas de doute, et gardez cette notice : vous pourriez avoir besoin de la relire."
)


def write(folder: Path, name: str, *rows: str | Row) -> Source:
    """A source of one JSONL file; a text alone is a row of a text."""
    path = folder / f"{name}.jsonl"
    values = [{"text": row} if isinstance(row, str) else row for row in rows]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in values), encoding="utf-8")
    return Source(name, path)


def tokenized(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]", text))


def documents(folder: Path, source: str) -> list[str]:
    return pq.read_table(folder / "documents" / f"{source}.parquet")["text"].to_pylist()


def listed(folder: Path) -> list[Row]:
    return pq.read_table(folder / "duplicates.parquet").to_pylist()


def test_near_duplicates_are_dropped_and_counted_by_pair_of_sources(tmp_path: Path) -> None:
    dose = LEAFLET.replace("500 mg", "1000 mg")
    longer = f"{LEAFLET} Ne laissez pas ce médicament à la portée des enfants."
    sources = [
        write(tmp_path, "a", LEAFLET, "Un tout autre texte.", LEAFLET),
        write(tmp_path, "b", tokenized(LEAFLET), dose, longer, LEAFLET),
    ]
    manifest = build_corpus(sources, tmp_path / "corpus", duplicates="near")
    words = {text: len(text.split()) for text in (LEAFLET, tokenized(LEAFLET), longer)}
    assert manifest.counts["a"]["duplicates"] == {"a": {"exact": {"documents": 1, "words": words[LEAFLET]}}}
    assert manifest.counts["b"]["duplicates"] == {
        "a": {
            "exact": {"documents": 1, "words": words[LEAFLET]},
            "near": {"documents": 1, "words": words[longer]},
            "words": {"documents": 1, "words": words[tokenized(LEAFLET)]},
        }
    }
    kept = {name: documents(tmp_path / "corpus", name) for name in "ab"}
    assert kept == {"a": [LEAFLET, "Un tout autre texte."], "b": [dose]}
    for name, texts in kept.items():
        counts = manifest.counts[name]
        assert (counts["kept"], counts["characters"]) == (len(texts), sum(map(len, texts)))
        assert counts["words"] == sum(len(text.split()) for text in texts)
    rows = listed(tmp_path / "corpus")
    assert [(row["source"], row["row"], row["kind"]) for row in rows] == [
        ("a", 0, "kept"),
        *(("a", 2, "exact"), ("b", 0, "words"), ("b", 2, "near"), ("b", 3, "exact")),
    ]
    assert {row["cluster"] for row in rows} == {0}
    assert [row["similarity"] for row in rows if row["kind"] != "near"] == [1.0] * 4
    assert [0.8 < row["similarity"] < 1 for row in rows if row["kind"] == "near"] == [True]


@pytest.mark.parametrize(("duplicates", "left"), [("keep", 5), ("flag", 5), ("exact", 4), ("near", 3)])
def test_each_treatment(tmp_path: Path, duplicates: str, left: int) -> None:
    source = write(tmp_path, "a", LEAFLET, LEAFLET, LEAFLET.upper(), "court", LEAFLET.replace("6 heures", "8 heures"))
    manifest = build_corpus([source], tmp_path / "corpus", duplicates=duplicates)
    assert manifest.counts["a"]["kept"] == len(documents(tmp_path / "corpus", "a")) == left
    assert manifest.config.get("duplicates", "keep") == duplicates
    assert (tmp_path / "corpus" / "duplicates.parquet").exists() == (duplicates != "keep")
    kinds = [] if duplicates == "keep" else [row["kind"] for row in listed(tmp_path / "corpus")]
    assert kinds == {"keep": [], "exact": ["kept", "exact"]}.get(duplicates, ["kept", "exact", "words"])


def test_an_unknown_treatment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'exact'"):
        build_corpus([write(tmp_path, "a", "texte")], tmp_path / "corpus", duplicates="exakt")


def test_the_stricter_licence_wins_and_then_the_order_given(tmp_path: Path) -> None:
    texts = [LEAFLET, LEAFLET.replace("paracétamol", "tramadol").replace("foie", "rein")]
    free, closed = (
        write(tmp_path, name, *({"text": text, "commercial": commercial} for text in texts))
        for name, commercial in (("free", True), ("closed", False))
    )
    silent = write(tmp_path, "silent", *texts)
    build_corpus([free, silent, closed], tmp_path / "corpus", duplicates="near")
    assert {row["source"] for row in listed(tmp_path / "corpus") if row["kind"] == "kept"} == {"closed"}
    build_corpus([free, silent], tmp_path / "silent-wins", duplicates="near")
    assert {row["source"] for row in listed(tmp_path / "silent-wins") if row["kind"] == "kept"} == {"silent"}
    twins = [write(tmp_path, name, *texts) for name in ("z", "y")]
    build_corpus(twins, tmp_path / "first-wins", duplicates="near")
    assert {row["source"] for row in listed(tmp_path / "first-wins") if row["kind"] == "kept"} == {"z"}


@pytest.mark.parametrize(("withheld", "split"), [("test", "train"), ("test", "dev"), ("dev", "train")])
def test_a_publishers_test_part_comes_first_and_then_its_development_part(
    tmp_path: Path, withheld: str, split: str
) -> None:
    """So that what is withheld from training stays withheld."""
    dropped = write(tmp_path, "a", {"text": LEAFLET, "original_split": split, "commercial": False})
    kept = write(tmp_path, "b", {"text": tokenized(LEAFLET), "original_split": withheld}, "autre texte")
    build_corpus([dropped, kept], tmp_path / "corpus", duplicates="near")
    assert not (tmp_path / "corpus" / "documents" / "a.parquet").exists()
    assert documents(tmp_path / "corpus", "b") == [tokenized(LEAFLET), "autre texte"]


@pytest.mark.slow
def test_bdpm_comes_before_e3c_and_cas_before_deft2021(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Real cases as CAS and DEFT2021 have them, there tokenized, and BDPM texts as E3C has them."""
    cases = sorted(shared("samples/frasimed").rglob("*.txt"))[:12]
    for folder, rewrite in (("deft", tokenized), ("cas", str)):
        for case in cases:
            path = tmp_path / folder / "DEFT-cas-cliniques" / case.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rewrite(case.read_text(encoding="utf-8")), encoding="utf-8")
    build_corpus([Source("bdpm", shared("samples/bdpm"), format="BDPM")], tmp_path / "bdpm")
    texts = [text for text in dict.fromkeys(documents(tmp_path / "bdpm", "bdpm")) if len(text.split()) > 20][:10]
    stated = {"publication_date": "2010", "source_url": "", "licence": "CC BY-NC", "type": "leaflet", "source": "ansm"}
    (tmp_path / "e3c").mkdir()
    for number, text in enumerate(texts):
        value = {"id": f"FR{number}", "text": text.upper(), "authors": [], "language": "fr", "title": "", **stated}
        (tmp_path / "e3c" / f"FR{number}.json").write_text(json.dumps(value), encoding="utf-8")
    sources = [
        Source("e3c", tmp_path / "e3c", format="E3C"),
        Source("deft", tmp_path / "deft", format="DEFT2021"),
        Source("bdpm", shared("samples/bdpm"), format="BDPM"),
        Source("cas", tmp_path / "cas", format="CAS"),
    ]
    counts = build_corpus(sources, tmp_path / "corpus", duplicates="near").counts
    assert (counts["e3c"]["kept"], counts["deft"]["kept"]) == (0, 0)
    assert counts["cas"]["kept"] == len(cases)
    assert {kind: each["documents"] for kind, each in counts["deft"]["duplicates"]["cas"].items()} == {"words": 12}
    assert sum(each["documents"] for each in counts["e3c"]["duplicates"]["bdpm"].values()) == 10
    assert "e3c" not in counts["bdpm"]["duplicates"]


def test_documents_of_many_row_groups_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROW_GROUP_BYTES", 2000)
    draw = np.random.default_rng(0)
    texts = [" ".join(f"mot{number}" for number in draw.integers(0, 10**6, 60)) for _ in range(30)]
    sources = [write(tmp_path, "a", *texts), write(tmp_path, "b", *(text.upper() for text in texts[5:]), "nouveau")]
    build_corpus(sources, tmp_path / "corpus", duplicates="near")
    assert pq.read_metadata(tmp_path / "corpus" / "documents" / "a.parquet").num_row_groups > 5
    assert documents(tmp_path / "corpus", "a") == texts
    assert documents(tmp_path / "corpus", "b") == ["nouveau"]


@pytest.mark.parametrize("rewritten", [0, 1, 2])
def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewritten: int) -> None:
    """It ends before, between or after the sources are written anew, and drops what the first run chose to."""
    sources = [
        write(tmp_path, "a", LEAFLET, "un texte", LEAFLET),
        write(tmp_path, "b", LEAFLET.upper(), "autre texte", "un texte"),
        write(tmp_path, "c", tokenized(LEAFLET)),
    ]
    undisturbed = build_corpus(sources, tmp_path / "undisturbed", duplicates="near")
    left = iter([None] * rewritten)

    def killed(*arguments: Any) -> None:
        if next(left, "killed"):
            raise KeyboardInterrupt
        store.filter_documents(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(corpus_duplicates, "filter_documents", killed)
        with pytest.raises(KeyboardInterrupt):
            build_corpus(sources, tmp_path / "corpus", duplicates="near")
    with monkeypatch.context() as patch:
        patch.setattr(corpus_duplicates, "_find", None)  # what is dropped is decided once
        resumed = build_corpus(sources, tmp_path / "corpus", duplicates="near")
    assert resumed.outputs == undisturbed.outputs
    assert resumed.counts == undisturbed.counts == Manifest.read(tmp_path / "corpus").counts
