"""The frame of the report's pages, figures that are part of a page, and the format of durations."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent
SYMBOLS = {"better": "▲", "worse": "▼", "no clear change": "●"}
"""Change of a score -> symbol."""
MARKS = SYMBOLS | {"near": "≈"}
"""Mark of a cell -> symbol."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page: theme -> data URI, its caption, and a text for readers who cannot see it."""

    images: dict[str, str]
    caption: str
    alt: str


def data_uris(images: dict[str, Path]) -> dict[str, str]:
    """Theme -> PNG file as theme -> data URI."""
    return {
        theme: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode() for theme, path in images.items()
    }


def render(template: str, folder: Path = TEMPLATES, **content: Any) -> str:
    """Render a page from a template of `folder` that extends `page.html.jinja`, with the style sheet in it."""
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = duration
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(css=css, symbols=SYMBOLS, marks=MARKS, **content)


def duration(seconds: float) -> str:
    """Wall time in hours, minutes or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
