"""Every kind of page in a browser: axe-core, at several widths, light and dark, in both languages, and on paper."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import axe_source, inspect, print_to_pdf
from page_kinds import Makers, build_pages
from pypdfium2 import PdfDocument

from pdapt.eval.report import page

pytestmark = pytest.mark.slow

DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")


@pytest.fixture(scope="module")
def pages(
    make_benchmark: Any, make_scores: Any, trade: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """All pages, with a dot for each picture: those take minutes to draw, and no check here looks at them."""

    def draw_dots(_: Any, folder: Path, name: str, *__: Any) -> dict[str, Path]:
        paths = {theme: folder / f"{name}-{theme}.png" for theme in ("light", "dark")}
        for path in paths.values():
            path.write_bytes(DOT)
        return paths

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "draw_twice", draw_dots)
        yield build_pages(Makers(make_benchmark, make_scores, trade), tmp_path_factory.mktemp("pages"))


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_browser_and_axe_core_find_nothing_wrong_with_any_page(
    pages: dict[str, Path], programs: Any, tmp_path: Path, language: str
) -> None:
    """No finding of whatever impact; no page scrolls sideways, and no table does that does not say so."""
    browser, npm = programs("chromium", "npm")
    chosen = {name: folder for name, folder in pages.items() if name.endswith(language)}
    texts = {name: (folder / "index.html").read_text(encoding="utf-8") for name, folder in chosen.items()}
    seen = inspect(browser, axe_source(npm, tmp_path), texts, tmp_path)
    assert len(seen) == 2 * len(chosen) >= 24
    wrong = {
        (name, look["width"]): look
        for name, of_page in seen.items()
        for look in of_page["looks"]
        if look["scrolls"] or look["cut"] or look["unsaid"]
    }
    assert wrong == {}
    assert {name: of_page["axe"] for name, of_page in seen.items() if of_page["axe"]} == {}


@pytest.mark.parametrize("name", ["many_models-fr", "numbers-en", "results_of_lm_eval-fr"])
def test_a_page_is_printed_on_a4_whole(pages: dict[str, Path], programs: Any, tmp_path: Path, name: str) -> None:
    """Folded details are on paper, too, and no text stands beyond its edge."""
    (browser,) = programs("chromium")
    printed = PdfDocument(print_to_pdf(browser, pages[name] / "index.html", tmp_path))
    assert {tuple(round(size) for size in sheet.get_size()) for sheet in printed} == {(595, 842)}, "A4"
    text = "".join(sheet.get_textpage().get_text_range() for sheet in printed)
    assert "SHA-256" in text, "the last of the details"
    for sheet in printed:
        words = sheet.get_textpage()
        boxes = [words.get_rect(number) for number in range(words.count_rects())]
        assert all(left >= 0 and right <= 595 + 1 for left, _, right, _ in boxes), "nothing is cut"
