"""JSON values, read so that no input ends in anything but a value or a ValueError that says what is wrong."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

LONGEST_INTEGER = 4000
"""Digits of an integer that is read as one; Python refuses more than 4,300."""
CHUNK = 2**20
LONGEST = 2**28
"""Characters of a value of a stream. A longer one is a bracket that is not closed, or was made to fill memory."""


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_INTEGER else digits


class Repeated(dict[str, Any]):
    """An object that names a key more than once, of which the last one counts.

    Attributes:
        repeated: the keys.
    """

    repeated: frozenset[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        value = Repeated(value)
        value.repeated = frozenset(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return value


_DECODER = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object)
WHITE = " \t\r\n\ufeff"
_MEMBER = re.compile(r'\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_NEXT = re.compile(r"\s*([,}])")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]+|[\]}]+')


def parse_line(line: str) -> Any:
    """The JSON value that a line holds.

    Raises:
        ValueError: it holds none; says why.
    """
    line = line.strip(WHITE)
    try:
        return _DECODER.decode(line)
    except RecursionError:
        return _shallow(line)  # as the reader of large files does, so that a line is read alike by both
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None


def _shallow(line: str) -> dict[str, Any]:
    """The plain members of an object; nested structures, however deep, are null.

    Raises:
        ValueError: the line is not an object.
    """
    members: dict[str, Any] = {}
    at = 1
    while (member := _MEMBER.match(line, at)) and line.startswith("{"):
        name, at = json.loads(member[1]), member.end()
        if line[at : at + 1] in ("[", "{"):
            members[name], at = None, _closing(line, at)
        else:
            members[name], at = _DECODER.raw_decode(line, at)
        rest = _NEXT.match(line, at)
        if rest is None:
            break
        if rest[1] == "}" and rest.end() == len(line):
            return members
        at = rest.end()
    raise ValueError("brackets nested too deep")


def _closing(line: str, at: int) -> int:
    """The place after the bracket that closes the one at `at`."""
    depth = 0
    for part in _BRACKETS.finditer(line, at):
        run = part[0]
        if run[0] in "[{":
            depth += len(run)
        elif run[0] in "]}":
            if len(run) >= depth:
                return part.start() + depth
            depth -= len(run)
    raise ValueError("not JSON: a bracket is not closed")


def read_values(text: io.TextIOBase) -> Iterator[tuple[int, Any]]:
    """The values of a stream: those of one array, or one value after the other; each with the line it begins at.

    Raises:
        ValueError: what is there is not JSON; its second argument is the line.
    """
    return _Values(text).read()


class _Values:
    """Values from a stream of text, of which only the one at work is held."""

    def __init__(self, text: io.TextIOBase) -> None:
        self.text, self.buffer, self.at, self.line, self.ended = text, "", 0, 1, False

    def read(self) -> Iterator[tuple[int, Any]]:
        array = self._peek() == "["
        if array:
            self.at += 1
        first = True
        while True:
            character = self._peek()
            if array and character == "]":
                self.at += 1
                break
            if not character and not array:
                return
            if array and not first:
                self._take(",")
            self._peek()
            yield self._value()
            first = False
        if self._peek():
            raise ValueError("not JSON: something follows the array", self.line)

    def _peek(self) -> str:
        """The next character that is not white space, or an empty string at the end."""
        while True:
            while self.at < len(self.buffer):
                character = self.buffer[self.at]
                if character not in WHITE:
                    return character
                self.line += character == "\n"
                self.at += 1
            if not self._more(CHUNK):
                return ""

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            character = self._peek()
            raise ValueError(
                f"not JSON: {wanted!r} is missing" + (f" before {character!r}" if character else ""), self.line
            )
        self.at += 1

    def _value(self) -> tuple[int, Any]:
        while True:
            try:
                value, end = _DECODER.raw_decode(self.buffer, self.at)
            except RecursionError:
                raise ValueError("brackets nested too deep", self.line) from None
            except json.JSONDecodeError as error:
                # A value that is cut off looks malformed: twice as much is read before it is refused.
                if len(self.buffer) - self.at > LONGEST:
                    raise ValueError(f"not JSON: a value of more than {LONGEST:,} characters", self.line) from None
                if self._more(max(CHUNK, len(self.buffer) - self.at)):
                    continue
                line = self.line + self.buffer.count("\n", self.at, error.pos)
                raise ValueError(f"not JSON: {error.msg}", line) from None
            if end == len(self.buffer) and self._more(CHUNK):
                continue  # a number may go on
            line, self.line = self.line, self.line + self.buffer.count("\n", self.at, end)
            self.at = end
            return line, value

    def _more(self, size: int) -> bool:
        """Read on; whether there was anything."""
        content = "" if self.ended else self.text.read(size)
        self.ended = not content
        self.buffer = self.buffer[self.at :] + content
        self.at = 0
        return bool(content)
