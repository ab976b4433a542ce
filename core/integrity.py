"""Files against the hashes that were written with them, while a stage reads the same files.

Hashing goes on in threads beside the stage's own reading, so that a file comes from the disk once and takes no time of
its own where there are cores to spare. The stage ends when both have: what it made of a damaged file is thrown away.
"""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import log
from .checkpoint import SEAL
from .errors import UserError
from .files import list_files
from .hf_config import CONFIG, SIDE_FILES
from .manifest import NAME, recorded

BLOCK = 2**22
"""Bytes that are hashed at once."""
THREADS = 4
"""Files that are hashed at once."""
HASHES = (NAME, SEAL)
"""Files that hold the hashes."""
NO_VERIFY = "give --no-verify where the change is yours, or you have compared the files already"


class Checked:
    """Files whose hashes are being compared.

    Attributes:
        count: how many.
        total: bytes of them.
    """

    def __init__(self, wanted: Mapping[Path, str]) -> None:
        """Begin to hash the files, in threads.

        Args:
            wanted: file -> SHA-256 that was written with it.
        """
        self.count, self.total = len(wanted), sum(path.stat().st_size for path in wanted)
        self._wanted = dict(wanted)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS)
        self._found: dict[Path, Future[str]] = {path: self._pool.submit(self._hash, path) for path in wanted}

    def _hash(self, path: Path) -> str:
        value = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while not self._stop.is_set() and (block := file.read(BLOCK)):
                value.update(block)
        return value.hexdigest()

    def finish(self) -> None:
        """Wait for the hashes.

        Raises:
            UserError: one is another than was written, by the file's name.
        """
        differing = [path for path, found in self._found.items() if found.result() != self._wanted[path]]
        if differing:
            _refuse(differing, "another SHA-256 than was written with it")

    def end(self) -> None:
        """Leave off."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)


def file_names(folder: Path) -> list[str]:
    """Names of the files that a folder holds, and of those that it should hold by the hashes written with them."""
    there = {str(path.relative_to(folder)) for path in list_files(folder)} - set(HASHES)
    return sorted(there | (recorded(folder) or {}).keys())


def settings_files(folder: Path) -> list[str]:
    """Those of a Hugging Face folder that are its configuration and tokenizer."""
    return [name for name in file_names(folder) if name in (CONFIG, *SIDE_FILES)]


def hf_files(folder: Path) -> list[str]:
    """Those of a Hugging Face folder that are read: configuration, tokenizer, weights with their index."""
    weights = [name for name in file_names(folder) if ".safetensors" in name and "/" not in name]
    return [*settings_files(folder), *weights]


@contextmanager
def checking(
    stage: str, folders: Mapping[Path, Iterable[str]], *, verify: bool = True
) -> Iterator[dict[str, int | None]]:
    """Compare files with the hashes that were written with them, while the block reads them.

    Args:
        stage: what reads them, for messages.
        folders: folder -> names of its files that are read.
        verify: whether they are compared.

    Yields:
        `{"verified": how many files are compared}`, for a manifest's counts; None where that was not wanted.

    Raises:
        UserError: a file is missing, is not one of those that were written, or has another hash. Whatever the block
            raised is then what led to it.
    """
    if not verify:
        yield {"verified": None}
        return
    checked = Checked(_wanted(stage, folders))
    try:
        yield {"verified": checked.count}
        checked.finish()
    except UserError:
        raise
    except Exception:  # a damaged file can make a library raise anything: name the file, or raise it again
        checked.finish()
        raise
    finally:
        checked.end()
    if checked.count:
        size = f"{checked.count} files, {checked.total / 1e9:.2f} GB"
        log.info(f"{stage}: {size}, have the SHA-256 that was written with them")


def check(stage: str, folders: Mapping[Path, Iterable[str]], *, verify: bool = True) -> None:
    """Compare files with the hashes that were written with them, now; see `checking`."""
    with checking(stage, folders, verify=verify):
        pass


def _wanted(stage: str, folders: Mapping[Path, Iterable[str]]) -> dict[Path, str]:
    """File -> SHA-256 that was written with it."""
    wanted: dict[Path, str] = {}
    for folder, names in folders.items():
        hashes = recorded(folder)
        if hashes is None:
            log.info(f"{stage}: {folder} holds no hashes of its files: there is nothing to check them against")
            continue
        there, read = {str(path.relative_to(folder)) for path in list_files(folder)}, set(names)
        missing, unknown = sorted(read & hashes.keys() - there), sorted(read & there - hashes.keys())
        if missing:
            _refuse([folder / name for name in missing], "missing")
        if unknown:
            _refuse([folder / name for name in unknown], "not one of the files that were written there")
        wanted |= {folder / name: hashes[name] for name in sorted(read & hashes.keys())}
    return wanted


def _refuse(paths: list[Path], wrong: str) -> None:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    raise UserError(
        f"{', '.join(path.name for path in paths[:3])}{more}: {wrong}",
        where=str(paths[0]),
        mend=f"make or copy it again; {NO_VERIFY}",
    )
