"""Topics of texts in a file: written by `pdapt corpus topics --out`, or by a classifier of the user's.

Tab-separated, with a line of names first. The columns `text_sha256`, the SHA-256 of a text's UTF-8, and `topic` are
read; others are left alone.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.errors import UserError
from ...core.files import atomic_path, read_lines
from .term_list import check_topic

HASH, TOPIC = "text_sha256", "topic"
DIGEST = 64
"""Hexadecimal digits of a SHA-256."""
LONGEST = 10_000
"""Bytes of a line."""
UNLISTED = ""
"""Topic of a text that a file does not list."""

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Assignments:
    """Topics by text.

    Attributes:
        names: of the topics; the last is UNLISTED.
        hashes: first 64 bits of the texts' SHA-256, rising, [texts]; of ten million texts, one in 4e5 such files has
            two that share them.
        topics: index in `names` of each, [texts].
    """

    names: list[str]
    hashes: Hashes
    topics: npt.NDArray[np.int32]

    def of(self, hashes: Hashes) -> npt.NDArray[np.int32]:
        """Index in `names` of texts, given by their hashes, [texts]."""
        if not len(self.hashes):
            return np.full(len(hashes), len(self.names) - 1, np.int32)
        places = np.searchsorted(self.hashes, hashes).clip(max=len(self.hashes) - 1)
        listed = self.hashes[places] == hashes
        return np.where(listed, self.topics[places], len(self.names) - 1).astype(np.int32)


def short_hash(digest: bytes) -> int:
    """The first 64 bits of a digest."""
    return int.from_bytes(digest[:8])


def text_hashes(texts: Iterable[bytes | memoryview]) -> Hashes:
    """The first 64 bits of the SHA-256 of each text's UTF-8, [texts]."""
    return np.array([short_hash(hashlib.sha256(text).digest()) for text in texts], np.uint64)


def read_assignments(path: Path) -> Assignments:
    """Read the topics that a file gives texts.

    Raises:
        UserError: it lacks a column, a line is not a hash with a topic, or a text has two topics.
    """
    hashes, topics, numbers = [], [], dict[str, int]()
    lines = read_lines(path, LONGEST)
    columns = _columns(*next(lines, (f"{path}:1", b"")))
    for where, line in lines:
        if not line.strip():
            continue
        digest, topic = _row(line, columns, where)
        hashes.append(short_hash(digest))
        topics.append(numbers.setdefault(topic, len(numbers)))
    if not hashes:
        raise UserError(
            f"{path.name} lists no text", where=str(path), fix="`pdapt corpus topics --out` writes such a file"
        )
    values, kinds = np.array(hashes, np.uint64), np.array(topics, np.int32)
    order = np.argsort(values, kind="stable")
    values, kinds = values[order], kinds[order]
    again = values[1:] == values[:-1]
    if (contrary := again & (kinds[1:] != kinds[:-1])).any():
        first, second = order[np.flatnonzero(contrary)[0] :][:2].tolist()
        names = list(numbers)
        what = f"one text is both {names[topics[first]]} and {names[topics[second]]}"
        raise UserError(what, where=f"{path}: text_sha256 {hashes[first]:016x}…", fix="give each text one topic")
    keep = np.concatenate([[True], ~again])
    return Assignments([*numbers, UNLISTED], values[keep], kinds[keep])


def write_assignments(path: Path, rows: Iterable[tuple[bytes, str]]) -> None:
    """Write texts' SHA-256 with their topics, each text once, all of it or nothing."""
    seen: set[int] = set()
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(f"{HASH}\t{TOPIC}\n")
        for digest, topic in rows:
            if (short := short_hash(digest)) not in seen:
                seen.add(short)
                file.write(f"{digest.hex()}\t{topic}\n")


def _columns(where: str, line: bytes) -> tuple[int, int]:
    """Places of the hash and of the topic among a file's columns."""
    names = line.decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
    for name in (HASH, TOPIC):
        if names.count(name) != 1:
            known = ", ".join(each[:40] for each in names[:10])
            allowed = f"a first line with the names {HASH} and {TOPIC}, parted by a tab"
            raise UserError(f"no column is called {name!r}; there are: {known}", where=where, allowed=allowed)
    return names.index(HASH), names.index(TOPIC)


def _row(line: bytes, columns: tuple[int, int], where: str) -> tuple[bytes, str]:
    try:
        values = line.decode().rstrip("\r\n").split("\t")
        digest, topic = (values[column] for column in columns)
        if len(digest) != DIGEST:
            raise ValueError(digest)
        return bytes.fromhex(digest), check_topic(topic, where)
    except UserError:
        raise
    except (ValueError, IndexError):
        shown = line[:80].decode("utf-8", "replace").rstrip("\r\n")
        allowed = f"the {DIGEST} hexadecimal digits of a text's SHA-256, and a topic"
        raise UserError(f"not a text with its topic: {shown!r}", where=where, allowed=allowed) from None
