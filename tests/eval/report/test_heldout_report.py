"""The page: complete, self-contained, readable without colour, on a telephone and by a screen reader."""

import csv
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.core.remarks.remark import Remark, RemarkKind
from pdapt.eval.report.heldout_report import HeldoutReportOptions, build_heldout_report
from pdapt.eval.statistics.tradeoff import build_tradeoff

TITLE = "Qwen3 <on> French text"


class Page(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


SETTINGS = {"learning rate": 3e-4, "merge": "slerp <t>"}


def _write_metrics(folder: Path) -> list[Path]:
    paths = [folder / run / "metrics.jsonl" for run in ("general", "medical")]
    points = [{"iteration": i, "slots": 512 * i, "loss": 3 + 5 * math.exp(-i / 20)} for i in range(1, 101)]
    points += [{"iteration": i, "valid_loss": 3.1 + 5 * math.exp(-i / 20)} for i in (50, 100)]
    for path in paths:
        path.parent.mkdir()
        path.write_text("".join(json.dumps(point) + "\n" for point in points))
    return paths


@pytest.fixture(scope="module")
def finished(make_scores, trade, tmp_path_factory) -> Path:
    """A folder with `scores`, two runs' metrics, and the `report` made of them."""
    folder = tmp_path_factory.mktemp("run")
    options = HeldoutReportOptions(TITLE, _write_metrics(folder), settings=SETTINGS, domain="medical")
    build_heldout_report(make_scores(folder, trade), folder / "report", options)
    return folder


@pytest.fixture
def report(finished: Path) -> Path:
    return finished / "report"


@pytest.mark.slow
def test_page_needs_nothing_else(report):
    text = (report / "index.html").read_text()
    page = Page(text)
    addresses = [str(value) for _, a in page.elements for key, value in a.items() if key in ("src", "href", "srcset")]
    assert len(addresses) == 12
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not page.all("script")
    assert not page.all("link")
    assert not re.search(r"https?:|url\(|@import", text)


def test_page_is_semantic(report):
    page = Page((report / "index.html").read_text())
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert all(len(image["alt"] or "") > 20 for image in page.all("img"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert len(page.all("table")) == len([a for a in page.all("div") if str(a.get("class")).startswith("scroll")]) == 4


def test_the_answer_is_two_sentences_and_marks_have_words(report):
    text = (report / "index.html").read_text().replace("\u00a0", " ")
    assert re.findall(r'<p class="headline">(.*)</p>', text) == [
        "Against its base, the adapted model gains on medical text (perplexity −18.1 %) and loses on general text "
        "(perplexity +10.5 %).",
        "The merge with the base reverses part of the loss and keeps the gain: against the base, it gains on medical "
        "text (perplexity −9.5 %) and loses on general text (perplexity +2.0 %).",
    ]
    assert "Qwen3 &lt;on&gt; French text" in text
    assert "slerp &lt;t&gt;" in text
    for mark, symbol, change in (("better", "▲", r"−18\.1 %"), ("worse", "▼", r"\+10\.5 %")):
        words = rf'{symbol}</span><span class="hidden">clearly {mark} than the base, perplexity {change}'
        assert re.search(rf'class="mark {mark}" aria-hidden="true">{words}', text)


def test_tables_are_files_too(report):
    with (report / "tables/scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Model"], row["medical: perplexity"], row["medical: perplexity mark"]) for row in rows] == [
        ("base", "2.5", ""),
        ("cpt-10 (adapted)", "2.5", "better"),
        ("merged", "2.5", "better"),
    ]
    names = {path.stem for path in (report / "tables").glob("*.tex")}
    assert names == {path.stem for path in (report / "tables").glob("*.csv")} == TABLES


TABLES = {"decisions", "scores", "sources", "run-settings"}


@pytest.mark.slow
def test_the_page_is_in_french_too(finished, tmp_path):
    metrics = [finished / "medical" / "metrics.jsonl", finished / "cpt" / "metrics.jsonl"]
    options = HeldoutReportOptions("Titre", metrics, domain="medical", language="fr")
    build_heldout_report(finished / "scores", tmp_path / "out", options)
    text = (tmp_path / "out/index.html").read_text()
    assert 'lang="fr"' in text
    assert "le modèle adapté gagne sur le texte «\u00a0medical\u00a0» (perplexité −18,1\u00a0%)" in text
    assert "La courbe de cpt manque\u00a0:" in text
    own = r'<dd>.*?</dd>|<dt>.*?</dt>|data:image[^"]*|<style>.*?</style>|(?:id|class)="[^"]*"'
    words = set(re.findall(r"\w+", re.sub(own, "", text, flags=re.DOTALL)))
    assert not words & {"perplexity", "clearly", "better", "iteration", "missing", "training", "with", "the"}
    with pytest.raises(UserError, match="'de' is not a language"):
        build_heldout_report(finished / "scores", tmp_path / "no", HeldoutReportOptions("T", language="de"))


def test_figures_are_files_too(report):
    names = {path.name for path in (report / "figures").iterdir()}
    assert {"loss-0-general-light.png", "byte_perplexity-medical-dark.png", "acc-medical-general-light.png"} <= names
    assert {"answer-light.png", "answer.pdf", "loss-0-general.pdf"} <= names
    assert len(names) == 18
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert all((report / "figures" / name).read_bytes().startswith(starts[Path(name).suffix]) for name in names)


def test_stages_are_listed_with_hashes_and_versions(finished, report):
    text = (report / "index.html").read_text()
    manifest = json.loads((finished / "scores/manifest.json").read_text())
    for expected in (manifest["outputs"]["scores.json"], manifest["inputs"]["source"], manifest["versions"]["torch"]):
        assert expected in text


@pytest.mark.slow
def test_the_same_inputs_give_the_same_page(finished, report, tmp_path):
    metrics = [finished / run / "metrics.jsonl" for run in ("general", "medical")]
    options = HeldoutReportOptions(TITLE, metrics, settings=SETTINGS, domain="medical")
    build_heldout_report(finished / "scores", tmp_path / "again", options)
    assert (tmp_path / "again/index.html").read_bytes() == (report / "index.html").read_bytes()


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures empty, for tests of words: a page's take seconds."""
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: path.write_bytes(b""))


@pytest.mark.usefixtures("no_pictures")
def test_prompts_that_were_cut_are_counted_on_the_page(finished, report, tmp_path):
    assert "cut at the start" not in (report / "index.html").read_text()
    shutil.copytree(finished / "scores", tmp_path / "scores")
    manifest = json.loads((finished / "scores/manifest.json").read_text())
    del manifest["sha256"]
    manifest["counts"] |= {"prompts_cut": 3, "prompts": 1400}
    (tmp_path / "scores/manifest.json").write_text(json.dumps(manifest))
    build_heldout_report(tmp_path / "scores", tmp_path / "out", HeldoutReportOptions(TITLE))
    assert "3 of 1,400 prompts" in (tmp_path / "out/index.html").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_damage_to_a_trainings_record_is_named_on_the_page(finished, tmp_path):
    fault = Remark(RemarkKind.LINE_NOT_JSON, {"file": "log.jsonl", "line": 6})
    options = HeldoutReportOptions(TITLE, record_faults={"base": [], "cpt": [fault]})
    manifest = build_heldout_report(finished / "scores", tmp_path / "out", options)
    shown = "cpt: Line 6 of log.jsonl cannot be read: it is not valid JSON."
    assert shown in (tmp_path / "out/index.html").read_text()
    assert manifest.config["record_faults"] == {"cpt": [fault.to_json()]}


def test_scores_that_nobody_can_compare_make_no_page(finished, tmp_path):
    shutil.copytree(finished / "scores", tmp_path / "scores")
    found = json.loads((tmp_path / "scores/scores.json").read_text()) | {"comparisons": []}
    found["models"] = [{"name": "a", "role": "other"}, {"name": "b", "role": "checkpoint"}]
    (tmp_path / "scores/scores.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"scores\.json: another SHA-256"):
        build_heldout_report(tmp_path / "scores", tmp_path / "out", HeldoutReportOptions(TITLE))
    manifest = json.loads((tmp_path / "scores/manifest.json").read_text())
    del manifest["sha256"]
    manifest["outputs"]["scores.json"] = sha256(tmp_path / "scores/scores.json")
    (tmp_path / "scores/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"nothing can be compared: a \(other\), b \(checkpoint\)"):
        build_heldout_report(tmp_path / "scores", tmp_path / "out", HeldoutReportOptions(TITLE))
    assert not (tmp_path / "out").exists()


def test_unfinished_stages_and_records_without_losses_are_refused(finished, tmp_path):
    def build(lines: str, stages: list[Path]) -> None:
        (tmp_path / "metrics.jsonl").write_text(lines)
        options = HeldoutReportOptions(TITLE, [tmp_path / "metrics.jsonl"], stages)
        build_heldout_report(finished / "scores", tmp_path / "out", options)

    with pytest.raises(UserError, match="no finished stage"):
        build('{"iteration": 1, "loss": 3}\n', [finished / "general"])
    with pytest.raises(UserError, match="no losses"):
        build('{"iteration": 1}\n', [])
    with pytest.raises(UserError, match="not a training record") as caught:
        build('{"loss": 3}\n', [])
    assert caught.value.where.endswith("metrics.jsonl:1")


@pytest.mark.usefixtures("no_pictures")
def test_curves_that_are_missing_or_have_gaps_are_said(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lossy = tmp_path / "cpt" / "metrics.jsonl"
    lossy.parent.mkdir()
    points = [{"iteration": i, "loss": 9.0 - i / 100} for i in range(2, 41) if i not in (5, 6, 7, 20)]
    points.append({"iteration": 41, "loss": None})
    points.append({"iteration": 42, "loss": 8.0})
    lossy.write_text("".join(json.dumps(point) + "\n" for point in points))
    training = [tmp_path / "base" / "metrics.jsonl", lossy, finished / "medical" / "metrics.jsonl"]
    build_heldout_report(finished / "scores", tmp_path / "out", HeldoutReportOptions(TITLE, training))
    said, page = capsys.readouterr().err, (tmp_path / "out" / "index.html").read_text()
    for text in ("The curve of base is missing: ", "The curve of cpt lacks iterations 1, 5 to 7, 20, 41: "):
        assert text in said
        assert text in page
    assert "curve of medical" not in page
    assert "Loss of cpt: " in page
    assert "Loss of base: " not in page


@pytest.mark.slow
def test_the_choice_of_a_merge_is_on_the_page_with_its_rule_and_its_curve(finished, tmp_path):
    scores, choice = finished / "scores", tmp_path / "choice"
    build_tradeoff(scores, choice, domain="medical", general="general", max_loss=5)
    options = HeldoutReportOptions(TITLE, sorted(finished.glob("*/metrics.jsonl")), settings=SETTINGS, choice=choice)
    build_heldout_report(scores, tmp_path / "report", options)
    text = (tmp_path / "report" / "index.html").read_text().replace("\u00a0", " ")
    assert "<p>Chosen: merged.</p>" in text
    assert "Rule: of the points whose loss in general is at most 5 %" in text
    (picture,) = [image for image in Page(text).all("img") if "chosen: merged" in (image.get("alt") or "")]
    assert (picture["src"] or "").startswith("data:image/png")
    names = {path.name for path in (tmp_path / "report" / "figures").glob("tradeoff*")}
    assert names == {"tradeoff-light.png", "tradeoff-dark.png", "tradeoff.pdf"}
