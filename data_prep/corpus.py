"""The stage that makes a corpus: sources in, cleaned documents with their provenance out."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core import log
from ..core.errors import UserError
from ..core.manifest import Manifest, run_stage
from .clean import clean
from .documents import FOLDER, Row, read_counts, write_documents
from .readers import detect, files_at, format_of, read

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """A data set that goes into the corpus.

    Attributes:
        name: what it is called in the corpus; also the name of its files.
        path: a file or folder; a string is a data set on the Hugging Face Hub, `OWNER/NAME[:CONFIG]`.
        format: a key of `readers.READERS`; None to tell it from the files.
        document_type: the kind of text (scientific, clinical, ...); empty to take what the records state.
        licence: its licence, for records that do not state their own.
        commercial: whether the licence allows commercial use; None where that is not known.
        text_column: the field that holds the text, where records have named fields.
    """

    name: str
    path: Path | str
    format: str | None = None
    document_type: str = ""
    licence: str = ""
    commercial: bool | None = None
    text_column: str = "text"


def discover(
    paths: list[str],
    *,
    format: str | None = None,
    document_type: str = "",
    licence: str = "",
    commercial: bool | None = None,
    text_column: str = "text",
) -> list[Source]:
    """The sources that the user's paths name; the other arguments go to each of them.

    Args:
        paths: `[NAME=]PATH` each. A file or folder is one source; a folder without documents of its own at its top is
            one source per subfolder, unless it is given a NAME. `hub:OWNER/NAME[:CONFIG]`, or `OWNER/NAME` where
            there is no such path, is a data set on the Hugging Face Hub.

    Raises:
        UserError: a path is missing, a folder is empty, or two sources have the same name.
    """
    named = [pair for path in paths for pair in _named(path)]
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two sources are called {name!r}", where="sources", mend="name them: NAME=PATH")
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a source", allowed="letters, digits, '_', '.', '-'", mend="name it: NAME=PATH"
            )
    return [Source(name, path, format, document_type, licence, commercial, text_column) for name, path in named]


def _named(given: str) -> list[tuple[str, Path | str]]:
    """The (name, path) pairs that one of the user's paths stands for."""
    before, equals, after = given.partition("=")
    name, target = (before, after) if equals and not Path(given).exists() else ("", given)
    path = Path(target)
    if target.startswith("hub:") or (HUB_ID.fullmatch(target) and not path.exists()):
        dataset = target.removeprefix("hub:")
        return [(name or dataset.partition(":")[0].rpartition("/")[2], dataset)]
    if not path.exists():
        raise UserError(f"no such file or folder: {target}", where="sources", allowed="[NAME=]PATH, hub:OWNER/NAME")
    path = path.absolute()
    if name:
        return [(name, path)]
    if path.is_dir() and not any(file.parent == path and format_of(file) for file in files_at(path)):
        return _subfolders(path)
    return [(path.name if path.is_dir() else path.name.split(".")[0], path)]


def _subfolders(folder: Path) -> list[tuple[str, Path | str]]:
    found = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not found:
        raise UserError("the folder holds no documents and no subfolder", where=str(folder))
    return [(child.name, child) for child in found]


def build_corpus(sources: list[Source], out: Path) -> Manifest:
    """Read, clean and write each source's documents: `documents/<source>.parquet`.

    A document that is empty after cleaning is left out and counted. The manifest's counts are, for each source, the
    documents read, empty and kept, the characters and words (between white space) of those kept, and the `changes` that
    cleaning made, by kind (see `clean`).

    Raises:
        UserError: a source cannot be read, or has no document left.
    """
    if not sources:
        raise UserError("no source is given", where="sources", allowed="[NAME=]PATH, hub:OWNER/NAME")
    sources = [replace(source, format=source.format or detect(source.path)) for source in sources]

    def body(work: Path) -> dict[str, Any]:
        return {source.name: _build_source(source, work / FOLDER / f"{source.name}.parquet") for source in sources}

    inputs = {source.name: source.path for source in sources if isinstance(source.path, Path)}
    config = {"sources": [_config(source) for source in sources]}
    return run_stage("corpus", inputs, config, out, body, resumes=True)


def _config(source: Source) -> dict[str, Any]:
    """What of a source decides the output. A local path does not: what it holds does, and is among the inputs."""
    config = asdict(source)
    return config | {"path": source.path if isinstance(source.path, str) else None}


def _build_source(source: Source, path: Path) -> dict[str, Any]:
    """Write one source unless an earlier run did; its counts."""
    if not path.exists():
        log.info(f"corpus: {source.name} ({source.format})")
        counts = {"read": 0, "empty": 0, "kept": 0, "characters": 0, "words": 0, "changes": Counter()}
        write_documents(path, _rows(source, counts), counts)
        if counts["changes"]:
            changes = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts["changes"].items()))
            log.info(f"corpus: {source.name}: characters that cleaning changed: {changes}")
    return read_counts(path)


def _rows(source: Source, counts: dict[str, Any]) -> Iterator[Row]:
    """The rows of the documents kept; fills `counts` on the way."""
    assert source.format
    for record in read(source.path, source.format, source.text_column):
        text = clean(record.text, counts["changes"])
        counts["read"] += 1
        if not text:
            counts["empty"] += 1
            continue
        counts["kept"] += 1
        counts["characters"] += len(text)
        counts["words"] += len(text.split())
        yield {
            "text": text,
            "source": source.name,
            "doc_id": f"{source.name}/{record.key}",
            "document_type": source.document_type or record.document_type,
            "licence": record.licence or source.licence,
            "commercial": source.commercial,
            "original_split": record.split,
        }
    if not counts["kept"]:
        raise UserError(f"the source {source.name} has no document with text", where=str(source.path))
