"""Damaged files: a reader of bytes that others wrote gives a value or a `UserError`, whatever they are.

`python -m pytest tests -k fuzz --fuzz-minutes 10 --timeout 0` makes a campaign of the fast layer's inputs, and counts
them.
"""

import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdapt.core.errors import UserError
from pdapt.core.system.os_errors import user_error

MEMORY = 600 * 2**20
"""Bytes by which a process may grow while it reads damaged copies of a file."""
SECONDS = 30
"""After which a reader is taken to hang: of its processor, or of the clock where it may wait for somebody."""
LONGEST = 20 * SECONDS
"""Seconds of the clock after which it is taken to hang in any case: beside other work a processor is slow."""
DEEP = 200_000
BOUNDED = 30_000
"""As deep as fits into the smallest files, so that no bound of a file's size is what refuses it."""
ALIASES = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 9)) for name in range(ord("b"), ord("z"))
)
"""Lines of YAML that stand for 9 to the power of 24 values."""
WRONG_VALUES = (
    b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"3.5", b'""', b'"x"', b"[]", b"{}", b"[[]]",
    b"18446744073709551616", b"9223372036854775807", b"-9223372036854775809", b"9" * 400, b"9" * 20_000, b'"\\ud800"',
    b'"\\u0000"', b'"../../x"', b'"/etc/passwd"', b'"' + b"x" * 300 + b'"', "\"١٢\"".encode(), b'{"a":1,"a":2}',
)  # fmt: skip
HOSTILE = (
    b"", b"\0", b"{", b"[]", b"{}", b"null", b"1", b'"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"\n\n\n", b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"[" * BOUNDED, b"a: " + b"[" * BOUNDED,
    b"- " * BOUNDED, b"? " * BOUNDED, ALIASES, b"9" * 20_000, b"-" * 9, b"\0" * 4096, b"{}\n" * 3,
)  # fmt: skip
MARK = "here comes another value"
VALUE = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"(?:[^"\\]|\\.)*"|true|false|null|\[[^\[\]{}]*\]|\{[^\[\]{}]*\}')


class Hang(BaseException):
    """A reader does not come to an end; nothing that catches errors catches it."""


def mutate(data: bytes, draw: random.Random) -> bytes:
    """A damaged copy: bits flipped, a piece cut, doubled, moved or overwritten, a value of JSON replaced."""
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        data = draw.choice(WAYS)(data, draw)
    return data


def _flip(data: bytes, draw: random.Random) -> bytes:
    if not data:
        return b"\x80"
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _drop(data: bytes, draw: random.Random) -> bytes:
    begin, end = _piece(data, draw)
    return data[:begin] + data[end:]


def _repeat(data: bytes, draw: random.Random) -> bytes:
    begin, end = _piece(data, draw)
    return data[:end] + data[begin:]


def _overwrite(data: bytes, draw: random.Random) -> bytes:
    begin, end = _piece(data, draw)
    end = min(end, begin + 16)
    filler = draw.choice((b"\0", b"\xff", b"\x7f", b"\x80"))
    return data[:begin] + filler * (end - begin) + data[end:]


def _value(data: bytes, draw: random.Random) -> bytes:
    found = list(VALUE.finditer(data[: 2**20]))
    if not found:
        return _flip(data, draw)
    chosen = draw.choice(found)
    return data[: chosen.start()] + draw.choice(WRONG_VALUES) + data[chosen.end() :]


def _integer(data: bytes, draw: random.Random) -> bytes:
    """A length or an offset of a binary format that lies."""
    at, width = draw.randrange(max(1, len(data))), draw.choice((4, 8))
    lie = draw.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**24, 2**62, -(2**63)))
    return data[:at] + (lie % 256**width).to_bytes(width, draw.choice(("little", "big"))) + data[at + width :]


def _structure(data: bytes, draw: random.Random) -> bytes:
    """A key or an item of JSON gone, there twice, called otherwise, one level deeper, or with another's value."""
    lines = data.splitlines(keepends=True)
    place = draw.randrange(len(lines)) if lines else 0
    for begin, end in ((place, place + 1), (0, len(lines))):
        text = b"".join(lines[begin:end])
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        damaged = _restructured(value, draw)
        return b"".join([*lines[:begin], damaged, b"\n", *lines[end:]])
    return _value(data, draw)


def _restructured(value: Any, draw: random.Random) -> bytes:
    wrong = draw.choice(WRONG_VALUES)
    containers = _containers([value])
    if not containers or not draw.randrange(20):
        return wrong
    chosen = draw.choice(containers)
    key = draw.choice(list(chosen if isinstance(chosen, dict) else range(len(chosen))))
    others = [item for other in containers for item in (other.values() if isinstance(other, dict) else other)]
    match draw.randrange(6):
        case 0:
            del chosen[key]
        case 1 if isinstance(chosen, dict):
            chosen[draw.choice(("", "x", f"{key}s"))] = chosen.pop(key)
        case 1:
            chosen[key:key] = [chosen[key]]
        case 2:
            chosen[key] = draw.choice(([chosen[key]], {"a": chosen[key]}))
        case 3:
            chosen[key] = draw.choice(others)
        case _:
            chosen[key] = MARK
    try:
        return json.dumps(value).encode().replace(f'"{MARK}"'.encode(), wrong)
    except (ValueError, RecursionError):  # a container that was put into itself has no end
        return b"[" * DEEP


def _containers(level: list[Any]) -> list[Any]:
    """The objects and lists that hold something, at any depth."""
    found: list[Any] = []
    while level := [item for item in level if isinstance(item, dict | list) and item]:
        found += level
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return found


def _piece(data: bytes, draw: random.Random) -> tuple[int, int]:
    begin = draw.randrange(len(data) + 1)
    return begin, min(len(data), begin + draw.choice((1, 2, 8, 64, 512)))


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _flip, _cut, _drop, _repeat, _overwrite, _integer, _value, _value, _value, _structure, _structure,
    _structure, _structure,
)  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How long a reader is tried.

    Attributes:
        count: number of inputs at least.
        seed: of the damages.
        minutes: time for which there are more than that.
    """

    count: int
    seed: int = 0
    minutes: float = 0


def mutations(data: bytes, effort: Effort, *, hostile: bool = True) -> Iterator[bytes]:
    """Inputs hostile to any reader, if they are wanted, then damaged copies of a sound file."""
    draw, end = random.Random(effort.seed), time.monotonic() + 60 * effort.minutes
    first = HOSTILE[: effort.count] if hostile else ()
    yield from first
    made = len(first)
    while made < effort.count or time.monotonic() < end:
        yield mutate(data, draw)
        made += 1


def survives(path: Path, read: Callable[[], Any], effort: Effort, *, places: bool = True, hostile: bool = True) -> int:
    """Check a reader on damaged copies of a file, and on what is no file in its place; the number of inputs.

    Args:
        path: a sound file, which `read` reads; it is sound again afterwards.
        read: reads it, and uses what it read as far as whoever reads does.
        effort: how many copies.
        places: whether other things are put in the file's place, too.
        hostile: whether what is hostile to any reader, and no copy of the file, is among them.

    Raises:
        AssertionError: the reader took too much memory, or ended with something else than a value or a `UserError`.
    """
    sound = path.read_bytes()
    read()
    refused, inputs, memory = 0, 0, _memory("VmRSS")
    for damaged in mutations(sound, effort, hostile=hostile):
        path.unlink()  # what is written over a file, ext4 puts onto the disk at once
        path.write_bytes(damaged)
        refused += _refuses(read, path, f"damage {inputs} of seed {effort.seed} to {path}", memory)
        inputs += 1
    for put in PLACES if places else ():
        path.unlink(missing_ok=True)
        put(path)
        refused += _refuses(read, path, f"{put.__name__} for {path}", memory)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    path.write_bytes(sound)
    assert refused, f"of {inputs} damages to {path.name} none was refused: is it read at all?"
    return inputs


def _refuses(read: Callable[[], Any], path: Path, what: str, memory: int) -> bool:
    """Whether a reader refuses what is there: by a `UserError`, or by an error that `main` makes one of.

    `memory` is what the process had before the first copy.
    """
    with _bounded(what, memory, waits=path.is_fifo()), _woken(path):
        try:
            read()
        except UserError:
            return True
        except OSError as error:
            if user_error(error) is None:
                raise
            return True
    return False


def _folder(path: Path) -> None:
    path.mkdir()


def _link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def _pipe(path: Path) -> None:
    """Nobody writes to it: who opens it waits for ever."""
    os.mkfifo(path)


PLACES = (_folder, _link_to_nowhere, _link_to_itself, _pipe)


@contextmanager
def _bounded(what: str, memory: int, *, waits: bool) -> Iterator[None]:
    def hangs(*_: Any) -> None:
        raise Hang(f"{what}: no answer after {SECONDS} s")

    before = [(number, signal.signal(number, hangs)) for number in (signal.SIGALRM, signal.SIGPROF)]
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is counted from here
    signal.alarm(SECONDS if waits else LONGEST)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before:
            signal.signal(number, handler)
    grown = _memory("VmHWM") - memory
    assert grown < MEMORY, f"{what}: takes {grown / 2**20:.0f} MiB"


@contextmanager
def _woken(path: Path) -> Iterator[None]:
    """End a wait for the other end of a pipe, which no signal ends where a library waits."""

    def end_wait() -> None:
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))

    if not path.is_fifo():
        yield
        return
    waker = threading.Timer(SECONDS + 1, end_wait)
    waker.start()
    try:
        yield
    finally:
        waker.cancel()


def _memory(field: str) -> int:
    """Bytes of this process's memory, now (`VmRSS`) or at its peak (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
