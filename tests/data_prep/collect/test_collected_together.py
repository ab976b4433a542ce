"""Sources that were collected side by side are one corpus, without being named again."""

from pathlib import Path

import source_files as files
from commands import pdapt_json
from local_site import Site
from reading_helpers import records_of
from test_collected_sources import wiki_site, zipped


def test_what_was_collected_is_built_unasked(tmp_path: Path, site: Site) -> None:
    wiki_site(site)
    site.serves("/wt-public.emm4u.eu/Resources/ECDC-TM/ECDC-TM.zip", zipped(**{"ECDC-TM__ECDC.tmx": files.TMX}))
    moses = {"EMEA.en-fr.fr": b"Un\nDose\n", "EMEA.en-fr.en": b"One\nDose\n"}
    site.serves("/object.pouta.csc.fi/OPUS-EMEA/v3/moses/en-fr.txt.zip", zipped(**moses))
    definitions = [site.define(tmp_path, key) for key in ("WIKIPEDIA", "ECDC_TM", "EMEA_V3")]
    raw, corpus = tmp_path / "raw", tmp_path / "corpus"
    collected = pdapt_json("corpus", "collect", *definitions, "--out", raw, "--contact", "a@b.fr")["sources"]
    assert {key: counts["files"] for key, counts in collected.items()} == {"WIKIPEDIA": 10, "ECDC_TM": 2, "EMEA_V3": 3}
    counts = pdapt_json("corpus", "build", raw, "--out", corpus)["counts"]
    assert {name: each["kept"] for name, each in counts.items()} == {"ECDC_TM": 2, "EMEA_V3": 2, "WIKIPEDIA": 4}
    (first, *_) = records_of(corpus / "documents" / "WIKIPEDIA.parquet")
    assert first.stated["licence"] == "CC-BY-SA-4.0"
