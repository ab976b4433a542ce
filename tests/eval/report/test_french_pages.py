"""French pages: nothing but names is in English, and numbers and marks are written as French writes them."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.remarks.remark import Remark, RemarkKind
from pdapt.core.training_cost import Spent
from pdapt.eval.paper.paper_report import build_paper_report
from pdapt.eval.paper.tables_file import TABLES_FILE
from pdapt.eval.report import page
from pdapt.eval.report.benchmark_findings import BenchmarkReportOptions
from pdapt.eval.report.benchmark_report import build_benchmark_report
from pdapt.eval.report.heldout_report import HeldoutReportOptions, build_heldout_report
from pdapt.eval.report.texts import Words, read_texts

FUNCTION_WORDS = (
    r"the|of|and|is|are|was|were|be|been|not|no|with|without|that|this|which|from|by|to|at|for|cannot|has|have|it|"
    r"its|their|as|each|all|more|than|where|missing|lost|read|left|model|models|task|tasks|questions asked"
)
ENGLISH = re.compile(rf"(?<![\w./-])(?:{FUNCTION_WORDS})(?![\w./-])")
Values = dict[str, str | int | float]
NAMES = r"GPT-\S+|Qwen3\S*|LOW CONFIDENCE"


def words_of(page: Path) -> str:
    """A page's words as a reader has them, texts of figures too; code is left out."""
    html = re.sub(r"<style>.*?</style>|<code>.*?</code>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    alternatives = re.findall(r'alt="([^"]*)"', html)
    return unescape("\n".join([re.sub(r"<[^>]+>", "\n", html), *alternatives]))


def english_in(words: str) -> list[str]:
    """English function words, each with the line that it is in; « quoted » names are left out."""
    quoted = re.sub(rf"«[^»]*»|{NAMES}", "", words)
    return [line.strip() for line in quoted.splitlines() if ENGLISH.search(line)]


def misprints_in(words: str) -> list[str]:
    """Marks that a line may begin with or that have no space, decimal points, and thousands without spaces."""
    words = re.sub(r"«[^»]{1,20}»", "", words)  # figures as the paper's PDF has them
    wrong = [r".{12} [:;?!»%].{9}", r".{12}« .{9}", r".{9}\w[:;?!]\s.{9}", r"(?<![\w.,-])\d{5,}(?![\w.-])"]
    found = [match for pattern in wrong for match in re.findall(pattern, words)]
    names = r"section\s\d\.\d|Llama3\.\d|Qwen3-\S+|\w+\.(?:jsonl?|txt)|\d+\.\d+\.\d\S*|[\w.+]*[a-z]\w*\.\S+"
    return found + re.findall(r"(?<![\d.])\d+\.\d+(?![\d.B])", re.sub(names, "", words))


OF_BASE: Values = {"model": "Qwen3-8B", "lr": 2e-5, "layout": "packed", "tokens": 2048, "precision": "bf16"}
OF_TEXT: Values = {"sequences": 12345, "steps": 1, "batch": 8, "times": 2.5, "published": 2.53, "largest": 576}
OF_TEXT |= {"every": 3}
OF_RANKS: Values = {"gib": 23.4, "ranks": 2, "tp": 1, "pp": 1, "dp": 2, "micro": 4, "grads": "fp32"}
EVERY_REMARK = [
    Remark(RemarkKind.RECIPE_BASE, OF_BASE),
    Remark(RemarkKind.RECIPE_SCALED, OF_BASE | {"scale": 10.0}),
    Remark(RemarkKind.RECIPE_TEXT, OF_TEXT),
    Remark(RemarkKind.RECIPE_CORES, OF_RANKS | {"cores": 1}),
    Remark(RemarkKind.RECIPE_GPUS, OF_RANKS | {"gpus": 8}),
    Remark(RemarkKind.RECIPE_OVERRIDES, {"overrides": "steps=8"}),
    Remark(RemarkKind.RECIPE_AS_IT_IS, {"recipe": "qwen3_tiny_cpt_2xcpu"}),
]
EVERY_FAULT = [
    *(Remark(kind, {"file": "log.jsonl", "line": 6}) for kind in RemarkKind if kind.startswith("line_")),
    Remark(RemarkKind.MORE_LINES, {"file": "log.jsonl", "count": 1}),
    Remark(RemarkKind.LOST_STEPS, {"file": "log.jsonl", "steps": "4-6"}),
    Remark(RemarkKind.RECORD_MISSING, {"file": "log.jsonl"}),
]


def _run(folder: Path, make_scores: Any, trade: Any) -> None:
    w = Words.read("fr")
    settings = {w("setting_recipe", number=i): w.remark(each) for i, each in enumerate(EVERY_REMARK)}
    metrics = folder / "cpt/metrics.jsonl"
    metrics.parent.mkdir()
    metrics.write_text('{"iteration": 1, "loss": 9.5}\n{"iteration": 4, "loss": 8.5}\n{"iteration": 5, "loss": 8.25}\n')
    curves = [metrics, folder / "base/metrics.jsonl"]
    faults = {"cpt": EVERY_FAULT}
    options = HeldoutReportOptions(
        "Essai", curves, settings=settings, record_faults=faults, domain="medical", language="fr"
    )
    build_heldout_report(make_scores(folder, trade), folder / "out", options)


def _benchmark(folder: Path, make_benchmark: Any) -> None:
    """Results of six tasks, one of each group, each damaged in another way in some model."""
    written = make_benchmark(folder / "Qwen3-0.6B-Base")
    written.tasks = [
        "mmlu_med_fr_anatomy",
        "mmlu_anatomy",
        "mmlu_prox_fr_law",
        "mmlu_prox_en_law",
        "labs_copy_fr",
        "quaero_entities_fr",
    ]
    written.config |= {"lm_eval": "0.4.13", "max_length": 4096, "max_gen_toks": None}
    for number, (name, role) in enumerate(
        {"base": "base", "a": "checkpoint", "b": "checkpoint", "m": "merged"}.items()
    ):
        written.add(name, role, lambda _, q, n=number: (q + n) % 4 < 2, step=number or None)
    written.write("m", "mmlu_anatomy", lambda *_: True, prompt="another")
    written.write("m", "mmlu_prox_fr_law", lambda *_: True, shots=1)
    (written.folder / "a/mmlu_anatomy/samples.jsonl").write_text("{broken\n")
    (written.folder / "b/mmlu_anatomy/results.json").unlink()
    spent = Spent(4320, 10_191_000_000, 12.5, 600.0, 0.9312, 1.26e9, lost=3, record_faults=tuple(EVERY_FAULT))
    options = BenchmarkReportOptions(
        {"Qwen3-0.6B-Base": written.folder}, {}, language="fr", training={"Qwen3-0.6B-Base": spent}
    )
    build_benchmark_report(options, folder / "out")


@pytest.mark.parametrize("kind", ["run", "benchmark", "paper"])
def test_a_french_page_has_no_english_and_french_marks(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_scores: Any,
    make_benchmark: Any,
    trade: Any,
) -> None:
    monkeypatch.setattr(page, "draw_twice", lambda _, folder, *__: dict.fromkeys(("light", "dark"), folder))
    monkeypatch.setattr(page, "data_uris", lambda images: dict.fromkeys(images, "data:"))
    if kind == "run":
        _run(tmp_path, make_scores, trade)
    elif kind == "benchmark":
        _benchmark(tmp_path, make_benchmark)
    else:
        build_paper_report(TABLES_FILE, BenchmarkReportOptions({}, {}, language="fr"), tmp_path / "out")
    words = words_of(tmp_path / "out/index.html")
    if kind == "benchmark":
        assert "doses et valeurs biologiques demandées, part altérée\u00a0: base 50,0\u00a0% (" in words
        assert "Le corpus de l'article contient ces jeux de données, parties de test comprises." in words
        tables = {path.stem for path in (tmp_path / "out/tables").glob("*.csv")}
        assert {"altered-numbers", "documents", "results-FR-NUMBERS", "results-FR-MEDICAL", "models-8"} <= tables
    assert english_in(words) == []
    assert misprints_in(words) == []


def test_english_and_misprints_are_found() -> None:
    """Each kind of what the pages once had."""
    for line in (
        "Line 6 of log.jsonl cannot be read.",
        "2 sequences: read 2.5 times",
        "decimal point of the score lost",
    ):
        assert english_in(f"La recette publiée\n{line}") == [line]
    assert english_in("le texte « history of medicine » et mmlu_prox_en_law/of/the") == []
    for wrong in ("Qwen3-0.6B: base, et plus", "la recette publiée : taux", "soit 12345 pas", "soit 2.5 fois"):
        assert misprints_in(f"Ici comme ailleurs, {wrong} et la suite."), wrong


def test_every_french_text_is_french() -> None:
    shown = {key: text for key, text in read_texts("fr").items() if english_in(re.sub(r"{[^}]*}", "", text))}
    assert shown == {}


@pytest.mark.parametrize(("count", "english", "french"), [(0, "0 steps", "0 pas"), (1, "1 step", "1 pas")])
def test_a_noun_after_a_number_is_in_its_number(count: int, english: str, french: str) -> None:
    for language, shown in (("en", english), ("fr", french)):
        w = Words(language, {"steps": "{steps:step|steps}" if language == "en" else "{steps:pas|pas}"})
        assert w("steps", steps=count) == shown
    w = Words("fr", {"lines": "{count:ligne|lignes}"})
    assert [w("lines", count=n) for n in (0, 1, 2, 1200)] == ["0 ligne", "1 ligne", "2 lignes", "1\u202f200 lignes"]
