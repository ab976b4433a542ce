"""One reader for each format that a source may have, and how a format is told from files' names."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import UserError, nearest
from ..core.files import list_files
from .native import bdpm_table, read_bdpm, read_e3c, read_frenchmedmcqa, read_mqc
from .records import Input, Record, read_lines, read_text, split_of

HUB = "hub"
LINE_FILES = ("data.txt", "seq.in")
"""Names under which a text file of one document a line is published (PxCorpus)."""
ABOUT = ("readme", "licence", "license", "copying", "sources")
"""Files about a data set rather than of it."""
STATED = ("original_split", "document_type", "licence")
"""Columns in which a record may state these of itself."""
ROWS_IN_MEMORY = 256


def read_jsonl(source: Input) -> Iterator[Record]:
    """An object a line, gzip or not."""
    for file in source.files:
        name = source.name(file)
        split = split_of(name)
        for number, line in read_lines(file):
            if line.strip():
                row = _json_object(line, file, number)
                yield _from_row(row, f"{name}#{number}", source.text_column, split, f"{file}:{number}")


def _json_object(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON: {error.msg} at column {error.colno}", where=f"{file}:{number}") from None
    if not isinstance(value, dict):
        raise UserError("not a JSON object", where=f"{file}:{number}", allowed="an object a line")
    return value


def read_parquet(source: Input) -> Iterator[Record]:
    """A row a document."""
    for file in source.files:
        name, number = source.name(file), 0
        split = split_of(name)
        try:
            table = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise UserError(f"not a Parquet file: {error}", where=str(file)) from None
        columns = table.schema_arrow.names
        _require_column(columns, source.text_column, str(file))
        wanted = [column for column in columns if column in (source.text_column, *STATED)]
        for batch in table.iter_batches(ROWS_IN_MEMORY, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield _from_row(row, f"{name}#{number}", source.text_column, split, f"{file}, row {number}")


def read_hub(source: Input) -> Iterator[Record]:
    """The split `train` of `OWNER/NAME[:CONFIG]` on the Hugging Face Hub, or of a folder laid out like that."""
    from datasets import load_dataset

    name, _, config = str(source.path).partition(":")
    try:
        rows = load_dataset(name, config or None, split="train", streaming=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the data set {source.path} cannot be loaded: {error}",
            where=str(source.path),
            allowed="a local path, or OWNER/NAME[:CONFIG] on the Hugging Face Hub with a split 'train'",
        ) from None
    for number, row in enumerate(rows, 1):
        yield _from_row(row, f"train#{number}", source.text_column, "train", f"{source.path}, row {number}")


def _from_row(row: Mapping[str, Any], key: str, text_column: str, split: str, where: str) -> Record:
    """A record of named fields. Beside the text it may state its own original_split, document_type and licence."""
    _require_column(list(row), text_column, where)
    text = row[text_column]
    if not isinstance(text, str | None):
        raise UserError(f"{text_column!r} is {type(text).__name__}, not text", where=where)
    original_split, document_type, licence = (str(row.get(name) or "") for name in STATED)
    return Record(key, text or "", original_split or split, document_type, licence)


def _require_column(columns: list[str], wanted: str, where: str) -> None:
    if wanted not in columns:
        raise UserError(f"there is no text column {wanted!r}", where=where, allowed=", ".join(columns))


def read_line_documents(source: Input) -> Iterator[Record]:
    """A document a line, gzip or not."""
    for file in source.files:
        name = source.name(file)
        for number, line in read_lines(file):
            yield Record(f"{name}#{number}", line, split_of(name))


def read_text_documents(source: Input) -> Iterator[Record]:
    """A document a file."""
    for file in source.files:
        name = source.name(file)
        yield Record(name, read_text(file), split_of(name))


READERS: dict[str, Callable[[Input], Iterator[Record]]] = {
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "lines": read_line_documents,
    "texts": read_text_documents,
    "e3c": read_e3c,
    "frenchmedmcqa": read_frenchmedmcqa,
    "bdpm": read_bdpm,
    "mqc": read_mqc,
    HUB: read_hub,
}


def read(path: Path | str, format: str, text_column: str) -> Iterator[Record]:
    """The records of a source, in an order that does not change.

    Raises:
        UserError: the format is unknown, no file is of that format, or a file does not hold what the format says.
    """
    if format not in READERS:
        mend = nearest(format, list(READERS))
        raise UserError(f"unknown format {format!r}", where=str(path), allowed=", ".join(READERS), mend=mend)
    if isinstance(path, str):
        return READERS[format](Input(path, (), text_column))
    files = tuple(file for file in files_at(path) if _readable_as(file, format))
    if not files:
        raise UserError(f"no file of the format {format!r}", where=str(path), allowed=", ".join(READERS))
    return READERS[format](Input(path, files, text_column))


def _readable_as(file: Path, format: str) -> bool:
    """Whether a file is of a format. Plain text may be read either way: a document a line, or a document a file."""
    own = format_of(file)
    return own == format or {own, format} == {"lines", "texts"}


def detect(path: Path | str) -> str:
    """The format of a source: a key of READERS.

    Raises:
        UserError: nothing there is readable, or its files are of several formats.
    """
    if isinstance(path, str):
        return HUB
    found = {format for file in files_at(path) if (format := format_of(file))}
    if len(found) == 1:
        return found.pop()
    raise UserError(
        f"files of several formats: {', '.join(sorted(found))}" if found else "no file that a reader takes",
        where=str(path),
        allowed=".jsonl, .jsonl.gz, .parquet, .gz (a document a line), .txt (a document a file), "
        "or a corpus's own files (E3C, FrenchMedMCQA, BDPM, MQC, PxCorpus)",
        mend="give each kind its own folder" if found else "check the path",
    )


def files_at(path: Path) -> list[Path]:
    """The file, or the files of the folder, at `path`.

    Raises:
        UserError: there is nothing there.
    """
    if not path.exists():
        raise UserError(f"no such file or folder: {path.name}", where=str(path), mend="check the path")
    return list_files(path) if path.is_dir() else [path]


def format_of(file: Path) -> str | None:
    """The format that a file has by its name (for `.json`, by its content), or None where it is no document's."""
    name = file.name.lower()
    if name.split(".")[0] in ABOUT:
        return None
    if name == "dialogues":
        return "mqc"
    if bdpm_table(file):
        return "bdpm"
    if name in LINE_FILES:
        return "lines"
    if name.endswith(".json"):
        return "frenchmedmcqa" if _starts_with(file, b"[") else "e3c"
    suffixes = {".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".parquet": "parquet", ".gz": "lines", ".txt": "texts"}
    return next((format for suffix, format in suffixes.items() if name.endswith(suffix)), None)


def _starts_with(file: Path, character: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(character)
