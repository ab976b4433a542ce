"""Which files a source has, how each of them is read, and which are left unread and why."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...core import log
from ...core.errors import UserError
from ...core.files import sha256_of_all
from ...core.self_hash import digest
from ..sources.definition import Definition
from ..sources.formats.conversations import CONVERSATIONS, FIELDS_OF
from ..sources.rules import is_export
from . import content
from .faults import FileError, printable
from .folders import Unread, walk
from .record import NAMES, split_of
from .registered import BINARY, ERROR_PAGE, ONE_DOCUMENT, conversation_file, published_file
from .sources import Source
from .streams import SourceFile, encoding_of, marked, open_bytes, packing_of

HEAD = 2**16
"""Bytes of a file that tell its format."""
PACKING_ENDINGS = ("gz", "gzip", "zst", "zstd", "xz", "bz2")
SMALLEST = 9
"""Bytes that anything packed takes at least."""
TEXT_ENDINGS = ("", "txt", "text", "md", "markdown", "rst", "asc")
"""Under these endings, or none, text is a document."""
JSON_ENDINGS = ("json", "jsonl", "ndjson")
TABLE_ENDINGS = ("csv", "tsv", "tab")
ABOUT = ("readme", "licence", "license", "copying", "notice", "changelog", "citation", "sha256sums", "md5sums")
"""Names of files about a data set rather than of it; and sources.md."""
LINE_FILES = ("seq.in",)
"""Names under which utterances are published, a document a line."""
PUBLISHED = {"input", "source", "document_type"}
"""Columns of PARCOMED, by which a Parquet file of it is recognised."""
NAMED = 5
"""Unread files of a reason that are named on standard error."""


@dataclass(frozen=True)
class Survey:
    """A source and its files.

    Attributes:
        source: the source.
        files: those that hold documents, sorted by name; none of the Hub's.
        unread: what is left unread.
        left_out: what the files hold beside documents, by reason; filled as they are read.
    """

    source: Source
    files: list[SourceFile] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def unread_by_reason(self) -> dict[str, list[str]]:
        """Reason -> names."""
        names: dict[str, list[str]] = defaultdict(list)
        for each in self.unread:
            names[each.reason].append(each.name)
        return dict(names)

    def formats(self) -> dict[str, int]:
        """Format, with what it is packed in -> files."""
        counts: dict[str, int] = defaultdict(int)
        for file in self.files:
            counts[" ".join(filter(None, [file.packing, file.format]))] += 1
        return dict(counts)


def fingerprint(surveyed: Survey) -> str:
    """SHA-256 that stands for the files that are read of a source: a file's own where the source is that file."""
    hashes = sha256_of_all([file.path for file in surveyed.files])
    if [file.path for file in surveyed.files] == [surveyed.source.path]:
        return hashes[0]
    return digest(dict(zip((file.name for file in surveyed.files), hashes, strict=True)))


def survey(sources: Sequence[Source], out: Path | None = None) -> tuple[list[Survey], list[UserError]]:
    """Look at the files of all sources.

    Args:
        sources: what is to be read.
        out: the folder that will be made, which is not input.

    Returns:
        The sources with their files, and what keeps a file, or a whole source, from being read.
    """
    surveys: list[Survey] = []
    faults: list[UserError] = []
    for source in sources:
        try:
            surveys.append(
                Survey(source) if isinstance(source.path, str) else _survey(source, source.path, out, faults)
            )
        except UserError as error:
            faults.append(error)
    return surveys, faults


def tell_unread(surveyed: Survey) -> None:
    """Say on standard error what is left unread of a source."""
    for reason, names in surveyed.unread_by_reason().items():
        shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        log.info(f"{surveyed.source.name}: left unread, {reason}: {shown}")


def tell_left_out(name: str, left_out: Counter[str]) -> None:
    """Say on standard error what the files of a source hold beside documents."""
    for reason, count in sorted(left_out.items()):
        log.info(f"{name}: left out, {reason}: {count:,}")


def _survey(source: Source, path: Path, out: Path | None, faults: list[UserError]) -> Survey:
    surveyed = Survey(source)
    alone = not path.is_dir()
    places = [(path, path.name)] if alone else walk(path, surveyed.unread, out)
    for file, name in places:
        try:
            each = examine(file, name, source, alone=alone)
        except FileError as error:
            faults.append(error)
            continue
        (surveyed.files if isinstance(each, SourceFile) else surveyed.unread).append(each)  # pyright: ignore
    if source.definition is not None:
        _leave_out_exports(surveyed)
    if not surveyed.files and not faults:
        _refuse(surveyed, path)
    return surveyed


def _leave_out_exports(surveyed: Survey) -> None:
    """Leave a source's export unread where its files are there in their native formats: it holds the same documents."""
    exports = [file for file in surveyed.files if is_export(_without_packing(file.name))]
    if exports and len(exports) < len(surveyed.files):
        surveyed.files[:] = [file for file in surveyed.files if file not in exports]
        reason = "an export of documents that are here in their native format"
        surveyed.unread.extend(Unread(file.name, reason, "give it by its own name") for file in exports)


def _refuse(surveyed: Survey, path: Path) -> None:
    """Raise because a source has no file that is read."""
    unread = [each for each in surveyed.unread if each.fix] or surveyed.unread
    if not unread:
        raise UserError("the folder holds no documents", where=printable(path), fix="check the path")
    base = path if path.is_dir() else path.parent
    faults = [UserError(each.reason, where=printable(base / each.name), fix=each.fix) for each in unread]
    if len(faults) == 1:
        raise UserError(f"no file here is read: {faults[0].what}", where=faults[0].where, fix=faults[0].fix)
    lines = [f"{fault.where}: {fault.what}" + (f"; {fault.fix}" if fault.fix else "") for fault in faults]
    raise UserError("no file here is read", where="\n    ".join([printable(path), *lines]))


def examine(path: Path, name: str, source: Source, *, alone: bool) -> SourceFile | Unread:
    """How a file is read, or why it is not.

    Args:
        path: the file.
        name: its name below its source's folder.
        source: what the user said of it.
        alone: whether it was given by its own name: then its name alone never keeps it from being read.

    Raises:
        FileError: it cannot be read, and by its content or name it should be.
    """
    if not alone and _is_about(path.name):
        return Unread(name, "about the data, by its name", "give it by its own name, if it is a document")
    ending = _ending(path.name)
    with open_bytes(path) as stream:
        raw = stream.read(HEAD)
    size = path.stat().st_size
    if not raw and not _is_text(ending, source) and source.definition is None:
        return _unread(path, name, "an empty file", "", alone=alone)
    packing = packing_of(raw)
    if packing and size < SMALLEST:
        return _unread(path, name, f"{packing} data cut off after {size} bytes", "fetch the file again", alone=alone)
    head = _unpacked(path, packing) if packing else raw
    file = SourceFile(path, name, "", packing, split="", size=size)
    if source.definition is not None:
        return _published(file, source, source.definition, head, alone=alone)
    if source.format in CONVERSATIONS:
        file = replace(file, encoding=encoding_of(path, packing, head, source.encoding))
        of_rows = conversation_file(file, source.format, head, alone=alone)
        return of_rows if isinstance(of_rows, Unread) else _with_split(of_rows, one_document=False)
    is_parquet = head.startswith(b"PAR1") and content.has_controls(head)
    if is_parquet or (ending == "parquet" and not source.format):
        return _parquet(file, source)
    kind = content.binary_kind(head, ending) or _second_packing(head, packing)
    if kind:
        return _unread(path, name, *kind, alone=alone)
    _require_mark(head, source, file)
    file = replace(file, encoding=encoding_of(path, packing, head, source.encoding))
    if file.encoding.startswith("utf-8") and content.looks_binary(head):
        return _unread(path, name, "binary data of no known format", "", alone=alone)
    return _text_file(file, source, head, ending, alone=alone)


def _published(
    file: SourceFile, source: Source, definition: Definition, head: bytes, *, alone: bool
) -> SourceFile | Unread:
    """How a file of a registered source is read, or why it is not."""
    published = published_file(file, definition, _without_packing(file.name), head, alone=alone)
    if not isinstance(published, SourceFile):
        return published
    if published.format == "parquet":
        return _parquet(published, replace(source, format=None))
    if published.format not in BINARY:
        _require_mark(head, source, published)
    encoding = encoding_of(file.path, file.packing, head, source.encoding or published.encoding or None)
    return _with_split(replace(published, encoding=encoding), one_document=published.format in ONE_DOCUMENT)


def _require_mark(head: bytes, source: Source, file: SourceFile) -> None:
    """Check that a file is not UTF-16 without a byte order mark."""
    if source.encoding is None and not marked(head) and (encoding := content.looks_utf16(head)):
        raise FileError("UTF-16 without a byte order mark", where=file.where, fix=f"--encoding {encoding}")


def _unread(path: Path, name: str, reason: str, fix: str, *, alone: bool) -> Unread:
    if alone:
        raise FileError(f"{reason}, which is not read", where=printable(path), fix=fix)
    return Unread(name, reason, fix)


def _unpacked(path: Path, packing: str) -> bytes:
    with open_bytes(path, packing) as stream:
        return stream.read(HEAD)


def _second_packing(head: bytes, packing: str) -> tuple[str, str] | None:
    second = packing_of(head) if packing else ""
    return (f"{second} data inside {packing} data", "unpack it once") if second else None


def _is_about(name: str) -> bool:
    lower = name.lower()
    return lower.split(".")[0] in ABOUT or lower == "sources.md"


def _without_packing(name: str) -> str:
    """A file's name without the endings of what it is packed in."""
    while name.lower().rpartition(".")[2] in PACKING_ENDINGS and "." in name:
        name = name.rpartition(".")[0]
    return name


def _ending(name: str) -> str:
    """The ending of a file's name, lower case, without those of packing; empty where it has none."""
    parts = _without_packing(name.lower()).split(".")
    return parts[-1] if len(parts) > 1 else ""


def _is_text(ending: str, source: Source) -> bool:
    return source.format in ("text", "lines") or (source.format is None and ending in TEXT_ENDINGS[1:])


def _parquet(file: SourceFile, source: Source) -> SourceFile:
    where = file.where
    if file.packing:
        raise FileError(f"Parquet inside {file.packing} data", where=where, fix="unpack it")
    if source.format not in (None, "parquet"):
        raise FileError(f"a Parquet file, and --format is {source.format}", where=where, fix="leave --format out")
    try:
        schema = pq.read_schema(file.path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"not a Parquet file, or a damaged one: {error}", where=where) from None
    columns = tuple(schema.names)
    if source.format is None and source.text_column not in columns and set(columns) >= PUBLISHED:
        return _with_split(replace(file, format="instructions", columns=columns), one_document=False)
    _require_column(columns, source, where)
    kind = schema.field(source.text_column).type
    if not holds_text(kind):
        fix = "cast the column to string, or name another: --text-column"
        raise FileError(f"the column {source.text_column!r} holds {kind}, not text", where=where, fix=fix)
    return _with_split(replace(file, format="parquet", columns=columns), one_document=False)


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column's type is one of text: Arrow has several."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind)


def _require_column(columns: Sequence[str], source: Source, where: str) -> None:
    wanted = source.text_column
    if columns.count(wanted) == 1:
        return
    count = "no text column" if wanted not in columns else "more than one column"
    chats = next((format for format, fields in FIELDS_OF.items() if fields <= set(columns)), "")
    fix = f"`pdapt tokens build --format {chats}` reads conversations" if chats else "--text-column names another"
    raise FileError(f"there is {count} {wanted!r}", where=where, allowed=", ".join(columns), fix=fix)


def _text_file(file: SourceFile, source: Source, head: bytes, ending: str, *, alone: bool) -> SourceFile | Unread:
    whole = len(head) < HEAD
    text = head.decode(file.encoding, "replace")
    text = text if whole else text.rstrip("\ufffd")
    format = _forced(text, whole, ending, source, alone=alone) if source.format else ""
    if source.format and not format:
        return Unread(file.name, f"not {source.format}, as --format says")
    if not format:
        recognized = _recognize(file, text, whole, ending, source=source)
        if isinstance(recognized, tuple):
            return _unread(file.path, file.name, *recognized, alone=alone)
        format = recognized
    return _described(replace(file, format=format), source, text, whole)


def _forced(text: str, whole: bool, ending: str, source: Source, *, alone: bool) -> str:
    """The format that the user names; empty where a file among others cannot be of it."""
    wanted = source.format or ""
    if alone or wanted in ("text", "lines", "csv"):
        return wanted
    kind = content.json_kind(text, whole, ending)
    return wanted if wanted != "parquet" and (kind or ending in JSON_ENDINGS) else ""


def _recognize(file: SourceFile, text: str, whole: bool, ending: str, *, source: Source) -> str | tuple[str, str]:
    """The format of a text file, or why it is left unread and what would make it readable."""
    if _without_packing(file.path.name.lower()) in LINE_FILES:
        return "lines"
    kind = content.json_kind(text, whole, ending)
    if kind:
        return kind
    if ending in JSON_ENDINGS and not text.strip():
        return "jsonl"  # of no lines
    if ending in JSON_ENDINGS and content.is_page(text):
        raise FileError(f"an HTML page under the ending .{ending}", where=file.where, fix=ERROR_PAGE)
    if ending in JSON_ENDINGS:
        fix = "--format text or lines reads it as text"
        raise FileError(f"the name ends in .{ending}, and it does not hold JSON objects", where=file.where, fix=fix)
    markup = content.markup_kind(text, ending in TEXT_ENDINGS[1:])
    if markup:
        return markup, content.CONVERT
    if ending in TABLE_ENDINGS or content.is_table(text, whole, source.text_column):
        return "csv"
    if ending in TEXT_ENDINGS or ending.isdigit():
        return "text"
    if ending in content.ENDINGS:
        return content.ENDINGS[ending][1:]
    return f"text under the ending .{ending}", "--format text, or lines, reads it"


def _described(file: SourceFile, source: Source, text: str, whole: bool) -> SourceFile:
    """A file with its columns and its publisher's split, its text column looked for."""
    if file.format == "csv":
        columns, delimiter = content.csv_columns(text, source.text_column)
        file = replace(file, columns=columns, delimiter=delimiter)
        _require_column(columns, source, file.where)
    if file.format == "jsonl":
        objects = content.head_objects(text, whole)
        if objects and not any(source.text_column in each for each in objects):
            _require_column(tuple(objects[0]), source, file.where)
        file = replace(file, schema=_schema(objects, source.text_column))
    return _with_split(file, one_document=file.format == "text")


def _schema(objects: Sequence[dict[str, Any]], text_column: str) -> pa.Schema | None:
    """Types of the fields that are read of JSON lines, as their first objects have them; see `SourceFile`."""
    types: dict[str, pa.DataType] = {text_column: pa.string()}
    for name, what in NAMES.items():
        if name == text_column:
            continue
        kinds = {type(each[name]) for each in objects if each.get(name) is not None}
        if not kinds <= {bool} if what == "commercial" else kinds not in (set(), {str}, {int}):
            return None
        types[name] = pa.bool_() if what == "commercial" else pa.int64() if kinds == {int} else pa.string()
    return pa.schema(list(types.items()))


def _with_split(file: SourceFile, *, one_document: bool) -> SourceFile:
    return replace(file, split=split_of(file.name, one_document=one_document))
