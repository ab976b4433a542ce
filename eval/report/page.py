"""The frame of the report's pages, figures that are part of a page, and the format of durations."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .table_formats import Table
from .texts import NO_BREAK, Words, format_number
from .theme import Theme, draw_twice

TEMPLATES = Path(__file__).parent
MARKS = {"better": "▲", "worse": "▼", "near": "≈"}
"""Mark of a cell -> symbol."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page: theme -> data URI, its caption, and a text for readers who cannot see it."""

    images: dict[str, str]
    caption: str
    alt: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `language` where it is not the page's."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Detail:
    """A part of the page that is folded at first.

    Attributes:
        key: its name on the page.
        title: its heading.
        paragraphs, pictures, tables: in the order of the page.
        is_open: whether it is shown unfolded.
    """

    key: str
    title: str
    paragraphs: Sequence[Paragraph] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = field(default_factory=list)
    is_open: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.paragraphs or self.pictures or self.tables)


def draw_picture(
    draw: Callable[[Theme, Path], None], folder: Path, name: str, *, caption: str, w: Words, alt: str = ""
) -> Picture:
    """Draw a figure in both themes, as `<folder>/<name>-<theme>.png`, and for print as `<name>.pdf`."""
    images = draw_twice(draw, folder, name, w.language)
    return Picture(data_uris(images), caption, alt or f"{caption} {w('values_in_tables')}")


def data_uris(images: dict[str, Path]) -> dict[str, str]:
    """Theme -> PNG file as theme -> data URI."""
    return {
        theme: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode() for theme, path in images.items()
    }


def render(template: str, folder: Path = TEMPLATES, **content: Any) -> str:
    """Render a page from a template of `folder` that extends `page.html.jinja`, with the style sheet in it.

    `w`, the words, are English where the content has none.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    content = {"w": Words.read("en")} | content
    environment.filters["seconds"] = partial(duration, language=content["w"].language)
    return environment.get_template(template).render(css=css, marks=MARKS, **content)


def tables_of(details: Sequence[Detail]) -> list[Table]:
    """The tables of all details."""
    return [table for detail in details for table in detail.tables]


def duration(seconds: float, language: str = "en") -> str:
    """Wall time in hours, minutes or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{format_number(seconds, '.1f', language)}{NO_BREAK}s"
