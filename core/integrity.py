"""Check of files against their recorded hashes, while a stage reads the same files.

Threads hash the files while the stage reads them, so that each file comes from the disk once, and hashing takes no
extra time if there are idle cores. The stage ends when both have ended: what it made from a damaged file is thrown
away.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

from . import log
from .checkpoint import HASHES_FILE, HF, NEMO2, RELEASE, read_hashes_record
from .dcp import Span, weight_spans
from .errors import UserError
from .files import list_files, read_blocks
from .hf.config import CONFIG, SIDE_FILES
from .log import Progress, counted
from .manifest import MANIFEST_FILE, recorded
from .self_hash import ChangedError

MOST_THREADS = 16
"""How many files are hashed at once, if there are as many cores."""
HASHES = (MANIFEST_FILE, HASHES_FILE)
"""Files that hold the hashes."""
AGAIN = "make or copy it again"
"""Fix for a damaged file, if no option accepts it."""
NO_VERIFY = f"{AGAIN}; give --no-verify if you changed it, or have already compared the files"

Look = Callable[[memoryview], None]
"""Function that sees a file's bytes as they are read, in order."""


class Checked:
    """Files whose hashes are being compared.

    Attributes:
        count: number of files with a hash.
        total: bytes of all files that are read.
    """

    def __init__(
        self,
        wanted: Mapping[Path, str],
        looks: Mapping[Path, Look] = MappingProxyType({}),
        *,
        spans: Mapping[Path, list[Span]] = MappingProxyType({}),
        fix: str = NO_VERIFY,
        say: str = "",
    ) -> None:
        """Begin to read the files, in threads.

        Args:
            wanted: file -> SHA-256 that was written with it.
            looks: file -> function that sees its bytes, whether it has a hash or not.
            spans: file -> the parts that its hash covers; the hash of any other file covers all bytes.
            fix: how to correct a file that differs.
            say: stage under whose name progress is logged; empty if the files are checked beside other work.
        """
        self._fix = fix
        paths = dict.fromkeys([*wanted, *looks])
        sizes = (_size(path, spans.get(path)) for path in paths)
        self.count, self.total = len(wanted), sum(sizes)
        self._wanted, self._looks, self._spans = dict(wanted), dict(looks), dict(spans)
        self._begin = time.monotonic()
        self._progress = Progress(say, self.total) if say else None
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(min(MOST_THREADS, max(2, len(os.sched_getaffinity(0)))))
        self._found: dict[Path, Future[str]] = {path: self._pool.submit(self._hash, path) for path in paths}

    def __str__(self) -> str:
        """Number and size, as the beginning of a sentence: `2 files, 1.21 GB, have`."""
        size = f"{self.total / 1e9:.2f} GB" if self.total >= 1e9 else f"{self.total / 1e6:.1f} MB"
        return counted(self.count, f"file, {size}, has", f"files, {size}, have")

    def _hash(self, path: Path) -> str:
        value, look = hashlib.sha256(), self._looks.get(path)
        for block in read_blocks(path, self._spans.get(path)):
            if self._stop.is_set():
                break
            value.update(block)
            if look is not None:
                look(block)
            if self._progress is not None:
                self._progress.add(len(block))
        return value.hexdigest()

    def finish(self) -> float:
        """Wait for the hashes.

        Returns:
            Seconds that it took.

        Raises:
            UserError: a hash differs from the written one; the message names the file.
        """
        hashes = {path: future.result() for path, future in self._found.items()}
        differing = [path for path, value in self._wanted.items() if hashes[path] != value]
        if differing:
            _refuse(differing, "another SHA-256 than was written with it", self._fix)
        return time.monotonic() - self._begin

    def end(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)


class UnchangedFiles:
    """Files that must not change while they are read more than once, or by another process."""

    def __init__(self, folders: Mapping[Path, Iterable[str]]) -> None:
        """Note the files; `folders` as in `checking`."""
        self._before = {folder / name: _identity(folder / name) for folder, names in folders.items() for name in names}

    def check(self) -> None:
        """Check that each is still the same file, and has not been written to.

        Raises:
            UserError: a file was replaced, changed or removed.
        """
        changed = [path for path, before in self._before.items() if _identity(path) != before]
        if changed:
            _refuse(changed, "changed while it was read", "do not change the files while they are read; run it again")


def _identity(path: Path) -> tuple[int, ...] | None:
    """A file's disk, number, size and times of change; None if there is no file.

    The last time is the kernel's own: it also changes if a file is put back with its old date.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _size(path: Path, spans: list[Span] | None) -> int:
    return path.stat().st_size if spans is None else sum(end - begin for begin, end in spans)


def file_names(folder: Path) -> list[str]:
    """Names of the files that a folder holds, and of those that it should hold by the hashes written with them."""
    there = {str(path.relative_to(folder)) for path in list_files(folder)} - set(HASHES)
    return sorted(there | (recorded(folder) or {}).keys())


def settings_files(folder: Path) -> list[str]:
    """The names of a Hugging Face folder's configuration and tokenizer files."""
    return [name for name in file_names(folder) if name in (CONFIG, *SIDE_FILES)]


def hf_files(folder: Path) -> list[str]:
    """The names of the files of a Hugging Face folder that are read: configuration, tokenizer, weights, index."""
    weights = [name for name in file_names(folder) if ".safetensors" in name and "/" not in name]
    return [*settings_files(folder), *weights]


def stage_files(places: Iterable[Path]) -> dict[Path, list[str]]:
    """The files that a stage wrote, by its folder, for `checking`.

    Args:
        places: files, folders and patterns of names, anywhere. For a folder or a pattern, missing files that the stage
            wrote there also count, and files that were added.
    """
    files: dict[Path, list[str]] = {}
    for place in places:
        for folder in (place, *place.parents[:3]):
            name, there = str(place.relative_to(folder)), _recorded(folder)
            names = {file for file in there if _within(file, name)}
            if names:
                beside = () if name in there else (file for file in file_names(folder) if _within(file, name))
                files.setdefault(folder, []).extend(sorted({*names, *beside}))
    return files


def _within(file: str, place: str) -> bool:
    """Whether a file is one that a folder or a pattern stands for, in a stage's folder."""
    return place == "." or fnmatchcase(file, place) or file.startswith(f"{place}/")


def _recorded(folder: Path) -> dict[str, str]:
    """The recorded hashes of a folder, which need not be a stage's."""
    try:
        return recorded(folder) or {}
    except ChangedError:
        raise
    except UserError as error:
        log.info(f"{folder / MANIFEST_FILE} is not a stage's manifest: {error.what}")
        return {}


def hashed_folder(checkpoint: Path) -> Path:
    """The folder that holds the hashes of a checkpoint: the root if an import wrote it, else its own folder."""
    imported = checkpoint.name in (RELEASE, NEMO2) and (checkpoint.parent / MANIFEST_FILE).is_file()
    return checkpoint.parent if imported else checkpoint


def checkpoint_files(checkpoint: Path, reference: Path | None = None) -> dict[Path, list[str]]:
    """The files of a checkpoint that are read: folder -> names of its files.

    Args:
        checkpoint: the checkpoint's folder.
        reference: the Hugging Face folder from which its settings are taken; None for the one beside it.
    """
    settings, hashed = reference or checkpoint.parent / HF, hashed_folder(checkpoint)
    if hashed == checkpoint:
        return {checkpoint: file_names(checkpoint), settings: settings_files(settings)}
    weights = f"{checkpoint.name}/"
    beside = (weights,) if reference else (weights, f"{HF}/")
    read = {hashed: [name for name in file_names(hashed) if name.startswith(beside)]}
    return read | ({reference: settings_files(reference)} if reference else {})


@contextmanager
def checking(
    stage: str,
    folders: Mapping[Path, Iterable[str]],
    *,
    weights_of: Iterable[Path] = (),
    verify: bool = True,
    fix: str = NO_VERIFY,
) -> Iterator[dict[str, int | None]]:
    """Compare files with the hashes that were written with them, while the block reads them.

    Args:
        stage: the stage that reads them, for messages.
        folders: folder -> names of its files that are read.
        weights_of: checkpoints whose optimizer state is not read, see `weights_alone`.
        verify: whether the files are compared.
        fix: how to correct a file that differs.

    Yields:
        `{"verified": number of files that are compared}`, for a manifest's counts; None as the number if `verify` is
        false.

    Raises:
        UserError: a file is missing, is not one of those that were written, has another hash, or was changed while the
            block read it. An error of the block is then a consequence, and is replaced by this one.
    """
    folders = {folder: list(names) for folder, names in folders.items()}
    unchanged = UnchangedFiles(folders)
    if not verify:
        yield {"verified": None}
        unchanged.check()
        return
    wanted, spans = weights_alone(wanted_hashes(stage, folders, fix), weights_of)
    checked = Checked(wanted, spans=spans, fix=fix)
    try:
        yield {"verified": checked.count}
        checked.finish()
        unchanged.check()
    except Exception:  # a damaged file can make a reader raise anything: name the file, or raise the error again
        checked.finish()
        raise
    finally:
        checked.end()
    if checked.count:
        log.info(f"{stage}: {checked} the SHA-256 that was written with {'them' if checked.count > 1 else 'it'}")


def check(stage: str, folders: Mapping[Path, Iterable[str]], *, verify: bool = True, fix: str = NO_VERIFY) -> None:
    """Compare files with the hashes that were written with them, now; see `checking`."""
    with checking(stage, folders, verify=verify, fix=fix):
        pass


@contextmanager
def damage_first(folders: Callable[[], Mapping[Path, Iterable[str]]], *, verify: bool = True) -> Iterator[None]:
    """If the block refuses an input and a file is damaged, name that file as the cause.

    For what a stage reads before it checks all bytes. If nothing is refused, nothing is hashed.

    Args:
        folders: returns folder -> names of its files that are read.
        verify: whether the files are compared.

    Raises:
        UserError: the block's own error, or what `checking` raises.
    """
    try:
        yield
    except UserError:
        if verify:
            checked = Checked(wanted_hashes("", folders()))
            try:
                checked.finish()
            finally:
                checked.end()
        raise


def wanted_hashes(stage: str, folders: Mapping[Path, Iterable[str]], fix: str = NO_VERIFY) -> dict[Path, str]:
    """Collect file -> SHA-256 that was written with it.

    Args:
        stage: the stage that reads them, to log that a folder holds no hashes; empty if that is logged elsewhere.
        folders: folder -> names of its files that are read.
        fix: how to correct files that differ.

    Raises:
        UserError: a file is missing, or is not one of those that were written.
    """
    wanted: dict[Path, str] = {}
    for folder, names in folders.items():
        hashes = recorded(folder)
        if hashes is None:
            if stage:
                log.info(f"{stage}: {folder} holds no hashes of its files, so they cannot be checked")
            continue
        there, read = {str(path.relative_to(folder)) for path in list_files(folder)}, set(names)
        missing = sorted(name for name in read & hashes.keys() if not (folder / name).is_file())
        unknown = sorted(read & there - hashes.keys())
        if missing:
            _refuse([folder / name for name in missing], "missing", fix)
        if unknown:
            _refuse([folder / name for name in unknown], "not one of the files that were written there", fix)
        wanted |= {folder / name: hashes[name] for name in sorted(read & hashes.keys())}
    return wanted


def weights_alone(
    wanted: Mapping[Path, str], checkpoints: Iterable[Path]
) -> tuple[dict[Path, str], dict[Path, list[Span]]]:
    """Compare only the weights of checkpoints, if their hashes were recorded: an eighth of a run's bytes.

    Args:
        wanted: see `wanted_hashes`.
        checkpoints: checkpoints whose optimizer state is not read. One without such hashes, or whose `.metadata` cannot
            be read, is compared as a whole.

    Returns:
        File -> SHA-256; and file -> the parts that the SHA-256 covers.
    """
    hashes, spans = dict(wanted), {}
    for checkpoint in checkpoints:
        record = read_hashes_record(checkpoint)
        recorded_weights = record.weights if record else {}
        try:
            of_weights = weight_spans(checkpoint) if recorded_weights else {}
        except UserError:
            continue  # it is damaged, or belongs to another checkpoint: its own hash will show that
        for name, value in recorded_weights.items():
            path = checkpoint / name
            if path in wanted and name in of_weights:
                hashes[path], spans[path] = value, of_weights[name]
    return hashes, spans


def _refuse(paths: list[Path], wrong: str, fix: str) -> None:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    raise UserError(f"{', '.join(path.name for path in paths[:3])}{more}: {wrong}", where=str(paths[0]), fix=fix)
