"""Formats of which no file of the publisher is at hand: fixtures from their descriptions."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import source_files as files
from reading_helpers import items_of, records_of, survey_of

from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents.reading import read_source
from pdapt.data_prep.tokens.selection.shards import plan_shards, read_shard

TEXT = files.TEXT


def write(folder: Path, **contents: bytes) -> Path:
    """A folder with files; `__` in a name stands for the point."""
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def texts_of(path: Path, key: str) -> list[str]:
    return [record.text for record in records_of(path, format=key)]


def left_out(path: Path, key: str) -> dict[str, int]:
    """Count the documents of a folder that are left out, by reason."""
    survey = survey_of(path, format=key)
    list(read_source(survey, []))
    return dict(survey.left_out)


@pytest.mark.parametrize(
    ("key", "name", "content", "texts"),
    [
        ("ecdc_tm", "ECDC.tmx", files.TMX, [f"{TEXT} gras", "Deux"]),
        ("emea_v3", "EMEA.tmx", files.TMX, [f"{TEXT} gras", "Deux"]),
        ("e3c", "FR1.xml", files.XMI, [f"{TEXT}\nFin."]),
        ("mantra_gsc", "EMEA_GSC_fr_man.xml", files.GSC, [TEXT, "Deux"]),
        ("wmt18_medline", "fr2en.xml", files.BIOC, [f"{TEXT} Fin."]),
        ("quaero", "train/emea.xml", files.BIOC, [f"{TEXT} Fin."]),
        ("hal", "hal-01.xml", files.TEI, [f"Un\n{TEXT} suite.\nDeux"]),
        ("istex", "0A1B.tei", files.TEI, [f"Un\n{TEXT} suite.\nDeux"]),
        ("bdpm", "60002283_N.html", files.HTML, [f"Un\n{TEXT}\nsuite gras\n5 mg"]),
        ("has", "jcms/c_1.html", files.HTML, [f"Un\n{TEXT}\nsuite gras\n5 mg"]),
        ("cas", "CAS_neg.txt", files.CONLL, ["Dose 5–10", "Fin"]),
        ("cnedimts", "avis.csv", files.PROSE, [f"{TEXT} Chez l’adulte"]),
        ("qualiscope", "indicateurs.csv", files.PROSE, [f"{TEXT} Chez l’adulte"]),
        ("wmt16", "train.jsonl", files.TRANSLATIONS, ["Grippe 7", "Grippe 8"]),
        ("wmt18_medline", "medline_fr.txt", b"d1\t1\tUn\nd2\t1\tDeux\nd1\t2\tSuite\n", ["Un\nSuite", "Deux"]),
        ("parcomed", "finetuning/train.jsonl", files.INSTRUCTIONS, [f"Réponds.\nOù {n} ?\nLà." for n in (7, 8)]),
        ("wikipedia", "answer.json", files.WIKIPEDIA_ANSWER, [TEXT]),
        ("hal", "page.json", files.solr(files.HAL_RECORD), ["La grippe\nUne étude de 37 ± 0,5 °C."]),
        ("istex", "page.json", files.ISTEX_PAGE, ["Le foie\nUn résumé."]),
        ("clear", "encyclo.txt", TEXT.encode(), [TEXT]),
        ("deft2021", "DEFT-cas-cliniques/1.txt", TEXT.encode(), [TEXT]),
        ("pxcorpus", "seq.in", f"{TEXT}\n\nDeux\n".encode(), [TEXT, "Deux"]),
        ("emea_v3", "EMEA.en-fr.fr", f"{TEXT}\n\nDeux\n".encode(), [TEXT, "Deux"]),
        ("cerimes", "foie.pdf", files.pdf("Un cours\nde 5-10 mg", "Page 2"), ["Un cours\nde 5-10 mg\n\nPage 2"]),
        ("has", "avis.pdf", files.pdf("œdème à 37 °C"), ["œdème à 37 °C"]),
    ],
)
def test_texts_are_read_without_what_stands_around_them(
    tmp_path: Path, key: str, name: str, content: bytes, texts: list[str]
) -> None:
    """The same texts packed, and by shards, as `tokens build` reads them."""
    path = tmp_path / "a" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert texts_of(tmp_path / "a", key) == texts
    batches = [batch for shard in plan_shards(survey_of(tmp_path / "a", format=key)) for batch in read_shard(shard)]
    assert [text for batch in batches for text in batch.text.to_pylist()] == texts
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    path.unlink()
    assert texts_of(tmp_path / "a", key) == texts


@pytest.mark.parametrize(
    ("key", "name", "content", "keys"),
    [
        ("ecdc_tm", "ECDC.tmx", files.TMX, ["ECDC.tmx#7", "ECDC.tmx#3"]),
        (
            "ecdc_tm",
            "a.tmx",
            b'<tu tuid="7"><tuv lang="fr"><seg>a</seg><seg>b</seg></tuv></tu>',
            ["a.tmx#7", "a.tmx#7.2"],
        ),
        (
            "mantra_gsc",
            "a.xml",
            b"<x><unit><text>a</text></unit><unit><text>b</text></unit></x>",
            ["a.xml#1", "a.xml#2"],
        ),
        ("wmt18_medline", "a.xml", b"<document><passage><text>a</text></passage></document>", ["a.xml#1"]),
        ("wmt18_medline", "fr.txt", b"d1\t1\tUn\nd2\t1\tDeux\n", ["fr.txt#d1", "fr.txt#d2"]),
        ("essai", "ESSAI_neg.txt", files.CONLL, ["ESSAI_neg.txt#1", "ESSAI_neg.txt#2"]),
        ("emea_v3", "EMEA.en-fr.fr", b"Un\n\nDeux\n", ["EMEA.en-fr.fr#1", "EMEA.en-fr.fr#3"]),
        ("wmt16", "a.jsonl", b"\n" + files.TRANSLATIONS, ["a.jsonl#2", "a.jsonl#3"]),
        ("wmt16", "a.csv", b"en,fr\nFlu,Grippe\nCold,Rhume\n", ["a.csv#2", "a.csv#3"]),
        ("wmt16", "a.parquet", files.parquet(files.TRANSLATIONS), ["a.parquet#1", "a.parquet#2"]),
        ("frenchmedmcqa", "train.json", json.dumps([files.QUESTION] * 2).encode(), ["train.json#1", "train.json#2"]),
        ("hal", "a.json", files.solr(files.HAL_RECORD), ["a.json#1"]),
        ("istex", "a.json", files.ISTEX_PAGE, ["a.json#1"]),
        ("wikipedia", "a.json", files.WIKIPEDIA_ANSWER, ["a.json#12"]),
        ("cnedimts", "avis.csv", files.PROSE, ["avis.csv#2.Indication"]),
    ],
)
def test_documents_of_a_file_are_named_by_their_identifier_or_else_their_number(
    tmp_path: Path, key: str, name: str, content: bytes, keys: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert [record.key for record in records_of(tmp_path, format=key)] == keys


@pytest.mark.parametrize(
    "key", ["HAL", "HAS", "ISTEX", "BDPM", "EMEA_V3", "CERIMES", "QUALISCOPE", "CLEAR", "WMT18_MEDLINE"]
)
def test_an_export_has_a_document_a_line(tmp_path: Path, key: str) -> None:
    write(tmp_path, merged_full_text_1__txt__gz=gzip.compress(f"{TEXT}\nDeux\n".encode()))
    assert texts_of(tmp_path, key) == [TEXT, "Deux"]


def test_full_texts_are_joined_with_the_records_of_their_index(tmp_path: Path) -> None:
    records = [
        files.HAL_RECORD,
        files.HAL_RECORD | {"halId_s": "hal-02", "fileMain_s": "https://hal.science/hal-02/document"},
        files.HAL_RECORD | {"halId_s": "hal-03", "language_s": ["en"]},
        files.HAL_RECORD | {"halId_s": "hal-04", "abstract_s": ["A", "B"], "licence_s": None},
        files.HAL_RECORD | {"halId_s": "hal-05", "abstract_s": ["A", "B"], "fr_abstract_s": ["B"]},
        files.HAL_RECORD | {"halId_s": "hal-06", "fileMain_s": "https://hal.science/hal-06/document"},
    ]
    write(
        tmp_path,
        page__json=files.solr(*records),
        these__pdf=files.pdf("These 1"),
        **{"hal-02v3__pdf": files.pdf("These 2")},
    )
    write(tmp_path, **{"hal-02__txt": b"the same, by another program", "hal-03__pdf": files.pdf("English")})
    write(tmp_path, **{"hal-06/document__pdf": files.pdf("These 6")})
    found = {record.stated.get("doc_id"): record for record in records_of(tmp_path, format="hal")}
    assert {key: record.text for key, record in found.items()} == {
        "hal-01": "These 1",
        "hal-02": "the same, by another program",
        "hal-05": "La grippe\nB",
        "hal-06": "These 6",
    }
    assert found["hal-01"].stated["licence"] == files.HAL_RECORD["licence_s"]
    assert found["hal-01"].stated["authors"] == "A. Un; B. Deux"
    assert found["hal-05"].stated["subset"] == "abstract"
    assert left_out(tmp_path, "hal") == {
        "second forms of a document": 1,
        "documents in another language": 1,
        "entries of an index without a full text here, or an abstract in French": 1,
    }


def test_of_a_record_with_abstracts_in_two_languages_the_french_one_is_taken(tmp_path: Path) -> None:
    """With the title in French, whatever comes first."""
    languages = {"en": ("The flu", "It is winter."), "fr": ("La grippe", TEXT)}
    titles = "".join(f'<title xml:lang="{name}">{title}</title>' for name, (title, _) in languages.items())
    abstracts = "".join(
        f'<abstract xml:lang="{name}"><p>{text}</p></abstract>' for name, (_, text) in languages.items()
    )
    record = f"<biblFull><titleStmt>{titles}</titleStmt><profileDesc>{abstracts}</profileDesc></biblFull>"
    english = record.replace('xml:lang="fr"', 'xml:lang="de"')
    listed = f'<TEI xmlns="http://www.tei-c.org/ns/1.0"><listBibl>{record}{english}</listBibl></TEI>'
    write(tmp_path, records__xml=listed.encode())
    assert texts_of(tmp_path, "hal") == [f"La grippe\n{TEXT}"]
    assert left_out(tmp_path, "hal") == {"records without an abstract in French": 1}


def test_an_entry_of_istex_says_its_language_where_it_states_one(tmp_path: Path) -> None:
    """An abstract is taken as French only where French is the only language stated."""
    hits = [
        files.ISTEX_HIT,
        files.ISTEX_HIT | {"id": "B2", "arkIstex": "ark:/67375/B2", "language": ["eng", "fre"]},
        files.ISTEX_HIT | {"id": "C3", "arkIstex": "ark:/67375/C3", "language": ["eng"]},
        files.ISTEX_HIT | {"id": "D4", "arkIstex": "ark:/67375/D4", "language": []},
    ]
    write(tmp_path, page__json=json.dumps({"total": 4, "hits": hits, "noMoreScrollResults": True}).encode())
    for name in ("B2", "C3", "D4"):
        write(tmp_path, **{f"{name}__txt": f"{TEXT} {name}".encode()})
    found = {record.stated["doc_id"]: record for record in records_of(tmp_path, format="istex")}
    assert {key: record.text for key, record in found.items()} == {
        "0A1B": "Le foie\nUn résumé.",
        "B2": f"{TEXT} B2",
        "D4": f"{TEXT} D4",
    }
    assert {key: record.stated.get("language", "") for key, record in found.items()} == {
        "0A1B": "fr",
        "B2": "fr",
        "D4": "",
    }
    assert left_out(tmp_path, "istex") == {"documents in another language": 1}


@pytest.mark.parametrize(("key", "name"), [("pxcorpus", "seq.in"), ("emea_v3", "EMEA.en-fr.fr")])
def test_lines_without_text_are_counted(tmp_path: Path, key: str, name: str) -> None:
    (tmp_path / name).write_text("Un\n\nDeux\n \n")
    assert left_out(tmp_path, key) == {"lines without text": 2}


def test_a_kind_of_journal_is_not_a_type_of_document(tmp_path: Path) -> None:
    """E3C's files name theirs `journal`; Table 1 counts all of E3C as clinical."""
    write(tmp_path / "e3c", FR1__json=files.E3C)
    assert b'"type": "journal"' in files.E3C
    build_corpus(discover([str(tmp_path / "e3c")], format="e3c"), tmp_path / "corpus")
    assert pq.read_table(tmp_path / "corpus" / "documents")["document_type"].to_pylist() == ["Clinical"]


def test_the_annotated_form_of_a_document_is_not_a_second_one(tmp_path: Path) -> None:
    write(tmp_path / "data_collection" / "French" / "layer1", FR1__json=files.E3C)
    write(tmp_path / "data_annotation" / "French" / "layer1", FR1__xml=files.XMI, FR2__xml=files.XMI)
    write(tmp_path / "data_collection" / "Italian" / "layer1", IT1__json=files.E3C)
    assert [r.stated["doc_id"] for r in records_of(tmp_path, format="e3c")] == ["FR1", "FR2"]


def test_a_sentence_that_two_annotated_files_share_counts_once(tmp_path: Path) -> None:
    other = files.CONLL + b"\n3\t0\tNeuf\tneuf\tNUM\tO\n"
    write(tmp_path, ESSAI_neg__txt=files.CONLL, ESSAI_spec__txt=other)
    assert texts_of(tmp_path, "essai") == ["Dose 5–10", "Fin", "Neuf"]
    assert left_out(tmp_path, "essai") == {"sentences that ESSAI_neg.txt has, too": 2}


def test_french_translations_are_read_from_tables_and_parquet(tmp_path: Path) -> None:
    rows = """7,"{'en': ""Flu"", 'fr': ""L'autre""}"\n8,"{}"\n"""
    (tmp_path / "a.csv").write_text(f"doc_id,translation\n{rows}")
    more: list[Any] = [{"doc_id": "9", "translation": {"en": "Flu", "fr": "Grippe"}}]
    pq.write_table(pa.Table.from_pylist(more), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("doc_id,translation.en,translation.fr\n10,Flu,La grippe\n")
    (tmp_path / "d.csv").write_text("doc_id,en,fr\n11,Flu,Une grippe\n")
    found = {record.stated["doc_id"]: record.text for record in records_of(tmp_path, format="wmt16")}
    assert found == {"7": "L'autre", "9": "Grippe", "10": "La grippe", "11": "Une grippe"}
    assert left_out(tmp_path, "wmt16") == {"rows without a translation in fr": 1}


def test_an_encyclopedias_pages_are_read_as_text(tmp_path: Path) -> None:
    page = files.WIKIPEDIA_PAGE
    pages = [
        page | {"extract": "<p>Dose<br/>5&nbsp;mg</p>", "pageid": 1},
        {"title": "Rien", "missing": True},
        {"pageid": 2},
    ]
    write(tmp_path, a__json=json.dumps({"query": {"pages": pages}}).encode(), b__json=files.WIKIPEDIA_ANSWER)
    pq.write_table(pa.table({"text": ["Une page"], "subset": ["Médecine"]}), tmp_path / "wikipedia.parquet")
    first, second, third = records_of(tmp_path, format="wikipedia")
    assert (first.text, second.text, third.text) == ("Dose\n5 mg", TEXT, "Une page")
    assert second.stated["url"] == "https://fr.wikipedia.org/wiki/Foie?oldid=99"
    assert left_out(tmp_path, "wikipedia") == {"pages that do not exist": 1, "pages whose text is in another answer": 1}


def test_codes_prices_and_other_languages_are_left_unread(tmp_path: Path) -> None:
    write(
        tmp_path / "bdpm",
        CIS_CIP_bdpm__txt=b"1\t2\n",
        CIS_CPD_bdpm__txt="60002283\tliste I, d\xe9livr\xe9e".encode("cp1252"),
    )
    survey = survey_of(tmp_path / "bdpm", format="bdpm")
    assert survey.unread_by_reason() == {"codes, prices and links, without text": ["CIS_CIP_bdpm.txt"]}
    assert texts_of(tmp_path / "bdpm", "bdpm") == ["Conditions de prescription et de délivrance : liste I, délivrée"]
    write(tmp_path / "emea", **{"EMEA__en-fr__fr": b"Un\n", "EMEA__en-fr__en": b"One\n", "EMEA__en-fr__ids": b"a\tb\n"})
    assert texts_of(tmp_path / "emea", "emea_v3") == ["Un"]


def test_annotations_are_refused_when_they_are_given_by_name(tmp_path: Path) -> None:
    (tmp_path / "1.ann").write_text("T1\tX 0 4\tDose")
    (tmp_path / "1.note").write_text(TEXT)
    with pytest.raises(UserError, match="annotations, which are not read"):
        items_of(tmp_path / "1.ann", format="quaero")
    assert texts_of(tmp_path / "1.note", "quaero") == [TEXT]  # a name that the source does not know is no reason


def test_sides_of_different_length_are_refused(tmp_path: Path) -> None:
    write(tmp_path, **{"EMEA__en-fr__fr": b"Un\nDeux\n", "EMEA__en-fr__en": b"One\nTwo\nThree\n"})
    with pytest.raises(UserError, match=r"2 lines, and EMEA\.en-fr\.en has 3"):
        items_of(tmp_path, format="emea_v3")


def test_words_broken_at_the_end_of_a_line_of_a_pdf_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(files.pdf("une hospi-\ntalisation de 5-\n10 jours"))
    (text,) = texts_of(tmp_path, "has")
    assert "hospitalisation" in text
    assert "510" not in text
