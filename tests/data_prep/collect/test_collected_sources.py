"""Documents of each scheme: collected from a server that answers in the real format, and read by the source."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import source_files as files
from local_site import Request, Response, Site
from reading_helpers import records_of, survey_of

from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.data_prep.collect.collect import collect
from pdapt.data_prep.documents.collected import tell_unfinished
from pdapt.data_prep.sources.registry import definitions

Shared = Callable[[str], Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def zipped(**members: bytes) -> bytes:
    """A zip archive; `__` in a member's name stands for `/`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "collected.jsonl").read_text().splitlines()]


def texts(folder: Path, key: str) -> list[str]:
    return [record.text for record in records_of(folder / key, format=key)]


def solr_site(site: Site, records: list[dict[str, Any]]) -> None:
    """HAL's search over some records, and the texts of those that name one."""

    def search(request: Request) -> Response:
        assert request.get("sort") == "docid asc"
        begin = 0 if request.get("cursorMark") == "*" else int(request.get("cursorMark")[3:])
        end = min(begin + int(request.get("rows")), len(records))
        page = {"response": {"numFound": len(records), "docs": records[begin:end]}, "nextCursorMark": f"AoE{end}"}
        return Response(json.dumps(page).encode())

    site.routes["/api.archives-ouvertes.fr/search/"] = search


def hal_records(site: Site, count: int) -> list[dict[str, Any]]:
    hal = f"{site.address}/hal.science"
    return [
        files.HAL_RECORD | {"halId_s": f"hal-{number:02}", "fileMain_s": f"{hal}/hal-{number:02}/document"}
        for number in range(count)
    ]


def test_a_cursors_pages_are_followed_and_their_licensed_full_texts_fetched(tmp_path: Path, site: Site) -> None:
    """Full texts without a licence stay where they are; one that is gone, or elsewhere, is counted."""
    records = hal_records(site, 5)
    records[2] |= {"licence_s": None}
    records[4] |= {"fileMain_s": "https://elsewhere.example/hal-04.pdf"}
    solr_site(site, records)
    for number in (0, 3):
        site.serves(f"/hal.science/hal-{number:02}/document", files.pdf(f"These {number}"))
    definition = site.define(tmp_path, "HAL", lambda how: how["steps"][0]["solr"].update(rows=2))
    counts = collect([definition], tmp_path / "raw", contact="a@b.fr")["HAL"]
    assert counts["entries"] == 5
    assert counts["full texts without a licence, which are not fetched"] == 1
    assert counts["files that the server does not give"] == 1
    assert counts["files at hosts that the definition does not name"] == 1
    found = {record.stated["doc_id"]: record.text for record in records_of(tmp_path / "raw" / "HAL", format="hal")}
    abstract = "La grippe\nUne étude de 37 ± 0,5 °C."
    assert found == {"hal-00": "These 0", "hal-03": "These 3"} | dict.fromkeys(("hal-01", "hal-02", "hal-04"), abstract)
    assert {request.headers["user-agent"].split("/")[0] for request in site.requests} == {"pdapt"}
    assert site.requests[0].headers["user-agent"].endswith("(a@b.fr)")
    header, *answers, end = journal(tmp_path / "raw" / "HAL")
    assert (header["source"], end["counts"]["files"]) == ("HAL", 6)
    for answer in answers:
        path = tmp_path / "raw" / "HAL" / answer["file"]
        assert answer["file"] == "" or answer["sha256"] == sha256(path), answer
        assert answer["url"].startswith(site.address)
        assert answer["date"].endswith("+00:00")
    assert [answer["status"] for answer in answers if not answer["file"]] == [404]


def test_a_finished_collection_is_not_asked_for_again(tmp_path: Path, site: Site) -> None:
    solr_site(site, hal_records(site, 3))
    definition = site.define(tmp_path, "HAL")
    first = collect([definition], tmp_path / "raw")
    asked = len(site.requests)
    assert collect([definition], tmp_path / "raw") == first
    assert len(site.requests) == asked
    assert tell_unfinished(tmp_path / "raw" / "HAL") == ""
    with pytest.raises(UserError, match="limit"):
        collect([definition], tmp_path / "raw", limit=1)


def test_a_first_look_asks_for_little(tmp_path: Path, site: Site) -> None:
    records = hal_records(site, 9)
    solr_site(site, records)
    for number in range(9):
        site.serves(f"/hal.science/hal-{number:02}/document", files.pdf("These"))
    collect([site.define(tmp_path, "HAL")], tmp_path / "raw", limit=2)
    assert len(site.requests) == 3
    assert tell_unfinished(tmp_path / "raw" / "HAL") == "it was collected with --limit 2, for a first look"
    assert len(records_of(tmp_path / "raw" / "HAL", format="hal")) == 2


def test_a_scroll_session_that_the_server_forgets_is_begun_again(tmp_path: Path, site: Site) -> None:
    """A session whose address stays the same, as it may; forgotten by the server in between, it is begun again."""
    hits = [files.ISTEX_HIT | {"id": f"0A{number}", "arkIstex": f"ark:/67375/{number}"} for number in range(5)]
    state = {"at": 0, "asked": 0}

    def search(request: Request) -> Response:
        state["asked"] += 1
        if not request.get("scrollId"):
            state["at"] = 0
        elif state["asked"] == 3:
            return Response(b'{"error": "no such scroll"}', 404)
        part = hits[state["at"] : state["at"] + 2]
        state["at"] += 2
        page: dict[str, Any] = {"total": 5, "hits": part, "scrollId": "x"}
        if state["at"] >= 5:
            page["noMoreScrollResults"] = True
        else:
            page["nextScrollURI"] = f"{site.address}/api.istex.fr/document/?scrollId=x"
        return Response(json.dumps(page).encode())

    site.routes["/api.istex.fr/document/"] = search
    counts = collect([site.define(tmp_path, "ISTEX")], tmp_path / "raw")["ISTEX"]
    assert (counts["entries"], counts["scroll sessions begun again"], counts["files"]) == (5, 1, 3)
    assert texts(tmp_path / "raw", "ISTEX") == ["Le foie\nUn résumé."] * 5


def wiki_site(site: Site) -> None:
    """Three categories, one of them with a subcategory and in two parts; a page is in two of them."""
    members = {
        "Catégorie:Médecine": [(0, 12, "Foie"), (14, 90, "Catégorie:Anatomie"), (0, 13, "Rate")],
        "Catégorie:Anatomie": [(0, 12, "Foie"), (0, 14, "Os"), (14, 91, "Catégorie:Trop profond")],
        "Catégorie:Pharmacie": [(0, 15, "Dose")],
        "Catégorie:Biologie": [],
    }

    def api(request: Request) -> Response:
        if request.get("list"):
            listed = members[request.get("cmtitle")]
            begin = int(request.get("cmcontinue") or 0)
            part = [{"ns": ns, "pageid": identifier, "title": title} for ns, identifier, title in listed[begin:][:2]]
            answer: dict[str, Any] = {"query": {"categorymembers": part}}
            if begin + 2 < len(listed):
                answer["continue"] = {"cmcontinue": str(begin + 2), "continue": "-||"}
        else:
            identifier = int(request.get("pageids"))
            page = files.WIKIPEDIA_PAGE | {"pageid": identifier, "extract": f"{files.TEXT} {identifier}"}
            answer = {"batchcomplete": True, "query": {"pages": [page]}}
        return Response(json.dumps(answer).encode())

    site.routes["/fr.wikipedia.org/w/api.php"] = api


def test_the_pages_of_a_wikis_categories_are_fetched(tmp_path: Path, site: Site) -> None:
    wiki_site(site)
    site.first = [Response(b'{"error": {"code": "maxlag"}}', headers={"Retry-After": "0"})]
    definition = site.define(tmp_path, "WIKIPEDIA")
    with pytest.raises(UserError, match="--contact"):
        collect([definition], tmp_path / "raw")
    counts = collect([definition], tmp_path / "raw", contact="https://example.org/pdapt")["WIKIPEDIA"]
    assert counts["entries"] == 4
    assert counts["requests repeated"] == {"the server is busy (maxlag)": 1}
    assert sorted(texts(tmp_path / "raw", "WIKIPEDIA")) == [f"{files.TEXT} {number}" for number in (12, 13, 14, 15)]
    collect([definition], tmp_path / "look", contact="a@b.fr", limit=1)
    assert texts(tmp_path / "look", "WIKIPEDIA") == [f"{files.TEXT} 12"]
    flat = site.define(tmp_path, "WIKIPEDIA", lambda how: how["steps"][0]["mediawiki"].pop("depth"))
    collect([flat], tmp_path / "flat", contact="a@b.fr")  # no subcategory is entered unless a depth is stated
    assert sorted(texts(tmp_path / "flat", "WIKIPEDIA")) == [f"{files.TEXT} {number}" for number in (12, 13, 15)]


def test_tables_are_fetched_and_a_page_for_each_of_their_rows(tmp_path: Path, site: Site) -> None:
    rows = [f"6000{number}228\tDOLIPRANE {number}" + "\tx" * 10 for number in range(3)]
    tables = {
        "CIS_bdpm": "\r\n".join(rows),
        "CIS_COMPO_bdpm": "60000228\tcp\t1\tPARACÉTAMOL\t5 mg\tun\tSA\t1\t",
        "CIS_CPD_bdpm": "60000228\tliste I",
        "CIS_GENER_bdpm": "1\tgroupe\t60000228\t0\t1\t",
        "CIS_HAS_SMR_bdpm": "60000228\tCT\tx\t20200101\tImportant\tLe service",
        "CIS_HAS_ASMR_bdpm": "60000228\tCT\tx\t20200101\tV\tAucune",
    }
    base = "/base-donnees-publique.medicaments.gouv.fr"
    for name, content in tables.items():
        site.serves(f"{base}/download/file/{name}.txt", content.encode("cp1252"))
    site.routes[f"{base}/affichageDoc.php"] = lambda request: Response(
        files.HTML.replace(b"Notice", request.get("specid").encode())
    )
    collect([site.define(tmp_path, "BDPM")], tmp_path / "raw")
    read = records_of(tmp_path / "raw" / "BDPM", format="bdpm")
    drugs = {record.key: record.text for record in read if "Forme" in record.text}
    leaflets = [record.stated["doc_id"] for record in read if record.text.startswith("Un\n")]
    assert list(drugs) == leaflets == ["60000228", "60001228", "60002228"]
    assert "PARACÉTAMOL, 5 mg" in drugs["60000228"]


def listed(site: Site, path: str, answer: Any) -> None:
    site.answers(path, json.dumps(answer).encode())


def hosted(site: Site, name: str, content: bytes) -> str:
    site.serves(f"/{name}", content)
    return f"{site.address}/{name}"


def test_wanted_resources_of_the_states_portal_are_fetched(tmp_path: Path, site: Site) -> None:
    content = files.PROSE
    kept = {"type": "sha1", "value": hashlib.sha1(content, usedforsecurity=False).hexdigest()}
    url = hosted(site, "static.data.gouv.fr/avis.csv", content)
    resources = [
        {"id": "0a1b2c3d-x", "url": url, "filetype": "file", "filesize": len(content), "checksum": kept},
        {"id": "1a1b2c3d-x", "url": hosted(site, "a/r/guid", content), "format": "csv", "filetype": "remote"},
        {"id": "2a1b2c3d-x", "url": f"{site.address}/notice.pdf", "filetype": "file"},
    ]
    listed(site, "/www.data.gouv.fr/api/1/datasets/evaluation-des-dispositifs-medicaux/", {"resources": resources})
    counts = collect([site.define(tmp_path, "CNEDIMTS")], tmp_path / "raw")["CNEDIMTS"]
    assert counts["files listed that the definition does not want"] == 1
    assert texts(tmp_path / "raw", "CNEDIMTS") == [f"{files.TEXT} Chez l’adulte"] * 2


def test_wanted_files_of_a_zenodo_record_are_fetched(tmp_path: Path, site: Site) -> None:
    archive = zipped(**{"pxslu__seq.in": f"{files.TEXT}\nDeux\n".encode(), "pxslu__a.wav": b"RIFF"})
    md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
    link = {"self": hosted(site, "zenodo.org/api/records/6524162/files/pxslu.zip/content", archive)}
    answer = {"files": [{"key": "pxslu.zip", "size": len(archive), "checksum": f"md5:{md5}", "links": link}]}
    listed(site, "/zenodo.org/api/records/6524162", answer)
    collect([site.define(tmp_path, "PXCORPUS")], tmp_path / "raw")
    assert texts(tmp_path / "raw", "PXCORPUS") == [files.TEXT, "Deux"]
    assert not list((tmp_path / "raw").rglob("*.wav"))


def test_files_of_a_data_set_come_from_the_commit_of_its_revision(tmp_path: Path, site: Site) -> None:
    """The files are those of the commit that the revision stood for."""
    name = "en-fr/train.jsonl"
    lfs = {"sha256": hashlib.sha256(files.TRANSLATIONS).hexdigest(), "size": len(files.TRANSLATIONS)}
    siblings = [{"rfilename": "README.md", "size": 1}, {"rfilename": name, "size": len(files.TRANSLATIONS), "lfs": lfs}]
    api = "/huggingface.co/api/datasets/qanastek/WMT-16-PubMed"
    listed(site, f"{api}/revision/main", {"sha": COMMIT, "siblings": siblings})

    def localized(how: dict[str, Any]) -> None:
        how["steps"][0]["hub"]["url"] = f"{site.address}/api/datasets/qanastek/WMT-16-PubMed/revision/main?blobs=true"

    site.routes["/api/datasets/qanastek/WMT-16-PubMed/revision/main"] = site.routes[f"{api}/revision/main"]
    site.serves(f"/datasets/qanastek/WMT-16-PubMed/resolve/{COMMIT}/{name}", files.TRANSLATIONS)
    collect([site.define(tmp_path, "WMT16", localized)], tmp_path / "raw")
    assert texts(tmp_path / "raw", "WMT16") == ["Grippe 7", "Grippe 8"]
    assert survey_of(tmp_path / "raw" / "WMT16", format="wmt16").unread_by_reason() == {
        "lists of what was collected": ["listing/answer.json"],
        "made by pdapt": ["collected.jsonl"],
    }


@pytest.mark.parametrize(
    ("key", "archive", "expected"),
    [
        ("ECDC_TM", {"ECDC-TM__ECDC.tmx": files.TMX, "ECDC-TM__notice.pdf": b"%PDF-"}, [f"{files.TEXT} gras", "Deux"]),
        ("EMEA_V3", {"EMEA.en-fr.fr": b"Un\nDose\n", "EMEA.en-fr.en": b"One\nDose\n"}, ["Un", "Dose"]),
        (
            "MANTRA_GSC",
            {"GSC__EMEA_GSC_fr_man.xml": files.GSC, "GSC__EMEA_GSC_en_man.xml": b"<x/>"},
            [files.TEXT, "Deux"],
        ),
        ("QUAERO", {"c__train__EMEA__1.txt": files.TEXT.encode(), "c__train__EMEA__1.ann": b"T1"}, [files.TEXT]),
        ("E3C", {"E3C-Corpus-8__data_collection__French__layer1__FR1.json": files.E3C}, [files.TEXT]),
        ("MQC", {"l-0__dialogues__Interne1__dialogues": b"d00000001 Bonjour\n"}, ["Médecin : Bonjour"]),
    ],
)
def test_archives_are_unpacked_to_the_files_that_are_read(
    tmp_path: Path, site: Site, key: str, archive: dict[str, bytes], expected: list[str]
) -> None:
    source = definitions()[key]
    assert source.collect is not None
    assert source.collect.steps[0].files is not None
    (url,) = source.collect.steps[0].files.urls
    site.serves(url.removeprefix("https:/").split("?")[0].replace("//", "/"), zipped(**archive))
    collect([site.define(tmp_path, key)], tmp_path / "raw")
    assert texts(tmp_path / "raw", key) == expected


def test_questions_are_fetched_and_texts_join_an_index_by_hand(tmp_path: Path, site: Site) -> None:
    base = "/raw.githubusercontent.com/qanastek/FrenchMedMCQA/4e36a4055245feec3218573c9f6bb1a9ecb1756b/corpus"
    for split in ("train", "dev", "test"):
        site.serves(f"{base}/{split}.json", json.dumps([files.QUESTION]).encode())
    collect([site.define(tmp_path, "FRENCHMEDMCQA")], tmp_path / "raw")
    read = records_of(tmp_path / "raw" / "FRENCHMEDMCQA", format="frenchmedmcqa")
    assert sorted(record.split for record in read) == ["dev", "test", "train"]
    portal = "/data.enseignementsup-recherche.gouv.fr/api/explore/v2.1/catalog/datasets"
    site.serves(f"{portal}/fr_esr_ressources-pedagogiques/exports/json", files.RESOURCES)
    collect([site.define(tmp_path, "CERIMES")], tmp_path / "raw")
    (tmp_path / "raw" / "CERIMES" / "foie.pdf").write_bytes(files.pdf("Un cours"))  # as its page says
    (record,) = records_of(tmp_path / "raw" / "CERIMES", format="cerimes")
    assert (record.text, record.stated["title"]) == ("Un cours", "Anatomie")


def test_what_needs_an_agreement_says_so_and_takes_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        collect(["CAS", "deft2021"], tmp_path / "raw")
    message = str(raised.value)
    assert "CAS needs a signed data user agreement" in message
    assert "https://clementdalloux.fr/?page_id=28" in message
    assert "DEFT2021=FOLDER" in message
    assert not (tmp_path / "raw").exists()
    own = tmp_path / "own" / "DEFT-cas-cliniques"
    own.mkdir(parents=True)
    (own / "1.txt").write_text(files.TEXT)
    (own / ".hidden").write_text("x")
    counts = collect([f"CAS={tmp_path / 'own'}"], tmp_path / "raw")["CAS"]
    assert counts == {
        "files": 1,
        "bytes": len(files.TEXT.encode()),
        "files not taken": ["DEFT-cas-cliniques/.hidden: hidden"],
    }
    assert texts(tmp_path / "raw", "CAS") == [files.TEXT]
    assert journal(tmp_path / "raw" / "CAS")[1]["sha256"] == sha256(own / "1.txt")
    assert collect([f"CAS={tmp_path / 'own'}"], tmp_path / "raw")["CAS"] == counts
    (own / "2.txt").write_text("Deux")
    with pytest.raises(UserError, match="was collected with other settings"):
        collect([f"CAS={tmp_path / 'own'}"], tmp_path / "raw")


def test_every_source_that_anybody_may_have_says_how_it_is_collected() -> None:
    without = {key for key, source in definitions().items() if source.collect is None}
    assert without == {"DEFT2021", "CAS", "CLEAR", "ESSAI", "WMT18_MEDLINE"}
    assert all(definitions()[key].access for key in without)
    assert all(source.collect.delay >= 0.5 for source in definitions().values() if source.collect)
