"""Damage of each kind to a file of each format in which sources are published: always an error, never a silent loss."""

import gzip
from pathlib import Path

import pytest
from test_fuzz_sources import FILES

from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents import streams, values

ERROR_PAGE = b"<!DOCTYPE html><html><head><title>503</title></head><body><h1>Service unavailable</h1></body></html>"
BOMB = 4_000_000
"""Bytes that a bomb unpacks to; the bounds are lowered below them."""
ENTITIES = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d SYSTEM "file:///etc/passwd">]>"""
XML = ("tmx", "xmi", "gsc", "bioc", "tei")
PACKED = [name for name in FILES if name not in ("packed tmx", "pdf") and not FILES[name][2].startswith(b"PAR1")]


def refuse(folder: Path, name: str, content: bytes, ending: str = "") -> UserError:
    """Build a corpus of one file, of which no document may be spoilt; the error that it ends in."""
    key, file, _ = FILES[name]
    raw = folder / "raw"
    raw.mkdir()
    (raw / f"{file}{ending}").write_bytes(content)
    with pytest.raises(UserError) as raised:
        build_corpus(discover([str(raw)], format=key), folder / "corpus", max_rejected=0.0)
    assert not (folder / "corpus").exists()
    return raised.value


@pytest.mark.parametrize("name", PACKED)
def test_a_truncated_gzip_file_is_named(tmp_path: Path, name: str) -> None:
    error = refuse(tmp_path, name, gzip.compress(FILES[name][2] * 40)[:-30], ".gz")
    assert f"{FILES[name][1]}.gz" in str(error)
    assert "gzip data" in str(error)


@pytest.mark.parametrize("name", [name for name in PACKED if name != "html"])
def test_a_page_of_an_error_is_no_text_of_a_source(tmp_path: Path, name: str) -> None:
    assert FILES[name][1] in str(refuse(tmp_path, name, ERROR_PAGE))


@pytest.mark.parametrize("name", PACKED)
def test_text_in_another_encoding_is_refused(tmp_path: Path, name: str) -> None:
    text = FILES[name][2].decode("cp1252" if name == "bdpm" else "utf-8-sig")
    assert FILES[name][1] in str(refuse(tmp_path, name, text.encode("utf-16-le")))


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_a_text_is_refused(tmp_path: Path, name: str) -> None:
    assert str(tmp_path / "raw") in str(refuse(tmp_path, name, b""))


@pytest.mark.parametrize("name", PACKED)
def test_a_bomb_is_refused_before_it_fills_memory(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are 1 GiB a line and 2^28 characters a JSON value; here they are lowered."""
    monkeypatch.setattr(streams, "LINE_BYTES", 1_000_000)
    monkeypatch.setattr(values, "LONGEST", 1_000_000)
    content = FILES[name][2]
    middle = next(place for place in range(len(content) // 3, len(content)) if content[place : place + 1].isalpha())
    bomb = content[:middle] + b"a" * (3 * BOMB) + content[middle:]
    assert FILES[name][1] in str(refuse(tmp_path, name, gzip.compress(bomb), ".gz"))


@pytest.mark.parametrize("name", XML)
@pytest.mark.parametrize("entity", [b"&c;", b"&d;"])
def test_entities_are_not_expanded(tmp_path: Path, name: str, entity: bytes) -> None:
    content = FILES[name][2]
    body = content[content.index(b"?>") + 2 :].replace(b'<!DOCTYPE tmx SYSTEM "tmx14.dtd">', b"")
    assert b"Dose" in body
    error = refuse(tmp_path, name, ENTITIES + body.replace(b"Dose", entity))
    assert FILES[name][1] in str(error)
    assert "entit" in str(error)


@pytest.mark.parametrize(
    ("name", "share"), [("translations", None), ("conll", None), ("prose_table", None), ("bdpm", None)]
)
def test_a_spoilt_line_among_many_is_left_out_and_counted(tmp_path: Path, name: str, share: float | None) -> None:
    key, file, _ = FILES[name]
    lines = {
        "translations": (b'{"translation": {"fr": "Grippe %d"}}\n', b'{"translation": {"fr"\n'),
        "conll": (b"%d\t0\tDose\tdose\tNOM\tO\n\n", b"x\t0\tDose\n\n"),
        "prose_table": (b"%d;une indication de plus de cinq mots\n", b"1;2;3\n"),
        "bdpm": (b"6%07d\tliste I\n", b"60002283\n"),
    }[name]
    rows = [b"a;b\n"] if name == "prose_table" else []
    rows += [lines[0] % number for number in range(2000)]
    rows.insert(1000, lines[1])
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / file).write_bytes(b"".join(rows))
    sources = discover([str(tmp_path / "raw")], format=key)
    counts = build_corpus(sources, tmp_path / "corpus", max_rejected=share).counts["raw"]
    assert counts["rejected"] == 1
    assert counts["read"] == counts["kept"] + 1 >= 2000
    assert (tmp_path / "corpus" / "rejected.parquet").is_file()


@pytest.mark.parametrize("name", ["tmx", "frenchmedmcqa", "solr", "gsc"])
def test_malformed_structure_in_the_middle_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    """The file is refused whatever share of documents may be spoilt, since its rest is not known."""
    content = FILES[name][2]
    lines = b"\n" * 20 + content.replace(b"<tuv", b"\n<tuv").replace(b",", b",\n").replace(b"<unit", b"\n<unit")
    middle = len(lines) * 2 // 3
    key, file, _ = FILES[name]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / file).write_bytes(lines.strip()[:middle] + b"<&{" + lines.strip()[middle:])
    with pytest.raises(UserError, match=rf"{file}:\d+"):
        build_corpus(discover([str(tmp_path / "raw")], format=key), tmp_path / "corpus", max_rejected=1.0)
