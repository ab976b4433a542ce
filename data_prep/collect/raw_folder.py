"""A source's folder of raw answers, and the journal of where each came from, by which an interrupted run continues."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.errors import UserError
from ...core.files import atomic_path, fsync_path, read_lines, sha256
from ...core.jsonio import JsonObject, parse_json
from ...core.system.disk import disk_errors
from ..documents.folders import JOURNAL_FILE

REMOVE = "remove the folder, and collect again"


@dataclass(frozen=True)
class Answer:
    """A raw answer.

    Attributes:
        file: its file below the source's folder; empty where the server has nothing at the address.
        url: its address, without secrets.
        date: when it came, in UTC.
        sha256: of its bytes.
        bytes: how many they are.
        status: HTTP's; 0 for a file of the user's.
        etag: its version, as the server names it.
        modified: when it was last changed, as the server says.
    """

    file: str
    url: str
    date: str
    sha256: str = ""
    bytes: int = 0
    status: int = 200
    etag: str = ""
    modified: str = ""


class Raw:
    """A source's folder and its journal, one JSON object a line: the collection, the answers, and the end.

    Files are renamed into place before the journal names them, so that a file it does not name is not relied on.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        """Open a folder.

        Args:
            folder: the source's; need not be there.
            header: what is collected: source, definition and limit.

        Raises:
            UserError: it was collected by another definition or limit, or the journal is not one.
        """
        self.folder, self.header = folder, header
        self.path = folder / JOURNAL_FILE
        self.answers: dict[str, Answer] = {}
        self.counts: dict[str, Any] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = list(self._lines()) if self.path.exists() else []
        if lines:
            self._check(lines[0])
        for line in lines[1:]:
            self._take(line)
        if not self.complete():
            self.counts = None
            self._rewrite()

    def _lines(self) -> Iterator[JsonObject]:
        """The journal's lines; one that a killed run left unfinished at the end is dropped."""
        for where, line in read_lines(self.path):
            if line.endswith(b"\n"):
                yield JsonObject(parse_json(line, where), where)

    def _check(self, line: JsonObject) -> None:
        if line.values != self.header:
            names = [name for name in self.header if line.values.get(name) != self.header[name]]
            raise UserError(
                f"{self.folder} was collected with other settings: {', '.join(names) or 'by another version'} differ",
                where=str(self.path),
                allowed="the same definition and --limit again, or another folder",
                fix="choose another --out, or remove this folder",
            )

    def _take(self, line: JsonObject) -> None:
        if "counts" in line.values:
            self.counts = line.object("counts").values
            return
        answer = Answer(
            file=line.text("file"),
            url=line.text("url"),
            date=line.text("date"),
            sha256=line.text("sha256"),
            bytes=line.integer("bytes"),
            status=line.integer("status"),
            etag=line.text("etag"),
            modified=line.text("modified"),
        )
        if PurePosixPath(answer.file).is_absolute() or ".." in PurePosixPath(answer.file).parts or "\0" in answer.file:
            raise UserError(f"the file {answer.file[:60]!r} is not in the folder", where=line.where, fix=REMOVE)
        self.answers[answer.file or answer.url] = answer

    def complete(self) -> bool:
        """Whether an earlier run came to the end, and all of its files are there."""
        return self.counts is not None and all(map(self._is_there, self.answers.values()))

    def _is_there(self, answer: Answer) -> bool:
        path = self.folder / answer.file
        return not answer.file or (path.is_file() and path.stat().st_size == answer.bytes)

    def _rewrite(self) -> None:
        """Rewrite the journal: the answers whose files are there."""
        self.answers = {key: answer for key, answer in self.answers.items() if self._is_there(answer)}
        with atomic_path(self.path) as partial:
            records = [self.header, *map(asdict, self.answers.values())]
            partial.write_text("".join(map(_line, records)), encoding="utf-8")

    def find(self, name: str, url: str) -> Answer | None:
        """The answer of an address in the file of this name, or the fact that there was none; None where it is new."""
        answer = self.answers.get(name) or self.answers.get(url)
        return answer if answer and answer.url == url and self._is_there(answer) else None

    def place(self, name: str) -> Path:
        """The path of a file of this relative name, whose folder is made.

        Raises:
            UserError: a link leads out of the source's folder.
        """
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise UserError(f"{path} leads out of {self.folder}", where=str(path), fix="remove the link")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, partials: Sequence[tuple[Path, Answer]]) -> None:
        """Rename finished files into place, and note them with their sizes and hashes, in one go."""
        lines = []
        with disk_errors(self.path):
            for partial, answer in partials:
                whole = replace(answer, sha256=sha256(partial), bytes=partial.stat().st_size)
                fsync_path(partial)
                partial.replace(self.place(answer.file))
                lines.append(whole)
        self.note(*lines)

    def note(self, *answers: Answer) -> None:
        """Note answers whose files are in place, or that have none."""
        for answer in answers:
            self.answers[answer.file or answer.url] = answer
        self._append("".join(_line(asdict(answer)) for answer in answers))

    def forget(self, names: Sequence[str]) -> None:
        """Remove answers, and their files."""
        for name in names:
            self.answers.pop(name)
            (self.folder / name).unlink(missing_ok=True)
        self._rewrite()

    def finish(self, counts: dict[str, Any]) -> None:
        """Note that all is there; downloads that came to nothing are removed."""
        for half in (*self.folder.rglob(".*.partial"), *self.folder.rglob(".*.partial.json")):
            half.unlink()
        self.counts = counts
        self._append(_line({"counts": counts}))

    def _append(self, text: str) -> None:
        with disk_errors(self.path), self.path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
