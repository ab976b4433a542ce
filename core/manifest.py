"""A stage's record, and the one way a stage runs.

A stage reads inputs and fills a folder. `run_stage` gives it a hidden working folder beside the final one, and renames
that when the stage is complete. A finished stage is not repeated; an interrupted stage gets its working folder again,
and need not repeat what it finds there.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import log
from .checkpoint import read_hashes_record
from .errors import UserError
from .files import fsync_path, list_files, read_json, remove, require_file, sha256_of_all, write_json
from .self_hash import digest, read_hashed, write_hashed
from .system.disk import disk_errors
from .system.lock import locked

MANIFEST_FILE = "manifest.json"
KEY = ".stage.json"
TRACKED = (
    "pdapt",
    "torch",
    "megatron-core",
    "megatron-bridge",
    "transformers",
    "tokenizers",
    "fastokens",
    "datasets",
    "lm-eval",
    "mergekit",
)


@dataclass(frozen=True)
class Manifest:
    """Record of what a stage read, did and wrote.

    Attributes:
        stage: the stage's name, for instance `tokens`.
        inputs: name of an input -> its fingerprint (SHA-256).
        config: everything that decides the output, as JSON values.
        counts: what the stage counted (documents, tokens, seconds of its parts, ...).
        outputs: relative path -> SHA-256.
        versions: package -> version.
        seconds: wall time of the run that finished the stage.
    """

    stage: str
    inputs: dict[str, str]
    config: dict[str, Any]
    counts: dict[str, Any]
    outputs: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @staticmethod
    def read(folder: Path) -> "Manifest":
        """Read the manifest of a finished stage.

        Raises:
            UserError: the folder has no manifest, or the file is not a manifest.
            ChangedError: the manifest was changed after it was written.
        """
        value = read_hashed(folder / MANIFEST_FILE, nan=True)
        try:
            return Manifest(
                stage=value.text("stage"),
                inputs=value.texts("inputs"),
                config=value.object("config").values,
                counts=value.object("counts").values,
                outputs=value.texts("outputs"),
                versions=value.texts("versions"),
                seconds=value.number("seconds"),
            )
        except UserError as error:
            raise UserError(
                f"{MANIFEST_FILE} is not a stage manifest: {error.what}",
                where=error.where,
                fix=f"make or copy the folder again; if another program wrote {MANIFEST_FILE}, move it elsewhere",
            ) from None

    def write(self, folder: Path) -> None:
        """Write the manifest into its folder, with its own hash."""
        write_hashed(folder / MANIFEST_FILE, asdict(self))


@dataclass(frozen=True)
class StageKey:
    """Identity of a stage's work; `inputs` and `config` as in `Manifest`."""

    stage: str
    inputs: dict[str, str]
    config: dict[str, Any]


class Outdated(UserError):
    """A folder's finished stage was made from other inputs, or with other options.

    Attributes:
        out: the folder.
        differences: inputs and options that differ: `t: 0.5 there, 0.3 now`.
    """

    def __init__(self, out: Path, differences: list[str]) -> None:
        self.out, self.differences = out, differences
        super().__init__(
            f"{out} was made by another run: {'; '.join(differences)}",
            where=str(out / MANIFEST_FILE),
            allowed="the same inputs and options again, or a new folder",
            fix="choose another output folder, or remove this one",
        )


def versions() -> dict[str, str]:
    """Versions of the installed packages that determine a result."""
    return dict(_installed())


@cache
def _installed() -> dict[str, str]:
    """Read the metadata of all these packages, only once: it takes longer than a small stage."""
    packages = {name: next(iter(metadata.distributions(name=name)), None) for name in TRACKED}
    return {name: package.version for name, package in packages.items() if package is not None}


def fingerprint(path: Path) -> str:
    """Compute the SHA-256 of a file or folder: of its manifest's outputs if a stage wrote it, else of all bytes.

    Raises:
        UserError: there is nothing at `path`, or the file is empty.
    """
    if path.is_file():
        return sha256_of_all([require_file(path)])[0]
    if not path.is_dir():
        raise UserError(f"no such file or folder: {path.name}", where=str(path), fix="check the path")
    content = recorded(path) or hash_files(path)
    if not content:
        raise UserError(f"the folder is empty: {path.name}", where=str(path), fix="give a folder with files")
    return digest(content)


def recorded(folder: Path) -> dict[str, str] | None:
    """SHA-256 of a folder's files, as recorded by the stage or the run that wrote it."""
    if (folder / MANIFEST_FILE).is_file():
        return Manifest.read(folder).outputs
    record = read_hashes_record(folder)
    return record.files if record else None


def run_stage(
    stage: str,
    inputs: Mapping[str, Path | str],
    config: dict[str, Any],
    out: Path,
    body: Callable[[Path], dict[str, Any]],
    *,
    resumes: bool = False,
    beside: bool = False,
    hashes: Mapping[str, str] = MappingProxyType({}),
) -> Manifest:
    """Run `body` in a working folder, and move that to `out` when it is complete.

    Args:
        stage: name of the stage.
        inputs: name -> file or folder, which is fingerprinted, or its fingerprint.
        config: JSON values that decide the output.
        out: the folder to make.
        body: fills the folder that it is given, and returns its counts.
        resumes: whether `body`, after an interruption, gets the folder with what it had made; else an empty one.
        beside: whether the inputs are fingerprinted while `body` works, if there is nothing at `out` to compare them
            with: for inputs that take long to read. `body` cannot ask for their fingerprints then.
        hashes: SHA-256, by path in the folder, of files that `body` hashes as it writes; `body` fills it.

    Returns:
        The manifest written to `out`, or the one found there if the same work was already done.

    Raises:
        UserError: `out` holds something else.
    """
    assert not (resumes and beside), "what an interruption left is compared by the inputs' fingerprints"
    config = json.loads(json.dumps(config))
    if out.is_symlink():  # the folder is made where the link points
        out = Path(os.path.realpath(out))
    check_outside(out, [given for given in inputs.values() if isinstance(given, Path)])
    if not _something(out):
        _check_replaceable(out)
        with locked(out, f"writing ({stage}) to"), disk_errors(out):
            if not _something(out):
                key = StageKey(stage, {} if beside else _fingerprints(inputs), config)
                return _make(key, inputs if beside else {}, out, body, hashes=hashes, resumes=resumes)
    done = _finished(out, StageKey(stage, _fingerprints(inputs), config))
    log.info(f"{stage}: {out} is there already, nothing to do")
    return done


def check_outside(out: Path, inputs: Iterable[Path]) -> None:
    """Check that a stage's output does not lie within an input, which it would change.

    Raises:
        UserError: `out` lies within a folder that is fingerprinted by all its bytes, since it has no recorded hashes.
    """
    parents = Path(os.path.realpath(out)).parents
    for given in inputs:
        if given.is_dir() and Path(os.path.realpath(given)) in parents and recorded(given) is None:
            raise UserError(
                f"{out} lies within {given}, which is an input", where="--out", fix="choose a folder beside it"
            )


def _make(
    key: StageKey,
    inputs: Mapping[str, Path | str],
    out: Path,
    body: Callable[[Path], dict[str, Any]],
    *,
    hashes: Mapping[str, str],
    resumes: bool,
) -> Manifest:
    """Do a stage's work; `inputs` are those that are fingerprinted at the same time."""
    work = out.parent / f".{out.name}.partial"
    _enter(work, key, resumes=resumes)
    start = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        prints = pool.submit(_fingerprints, inputs)
        try:
            counts = body(work)
        except UserError:
            if not resumes:  # the same inputs would give nothing else
                remove(work)
            raise
        outputs = hash_files(work, hashes)
    manifest = Manifest(
        stage=key.stage,
        inputs=key.inputs | prints.result(),
        config=key.config,
        counts=counts,
        outputs=outputs,
        versions=versions(),
        seconds=time.monotonic() - start,
    )
    manifest.write(work)
    (work / KEY).unlink()
    with ThreadPoolExecutor() as pool:  # a disk flushes several files at once in one go
        list(pool.map(fsync_path, list_files(work)))
    if out.exists():
        out.rmdir()  # it is empty: `run_stage` has checked
    work.replace(out)
    fsync_path(out.parent)
    return manifest


def _fingerprints(inputs: Mapping[str, Path | str]) -> dict[str, str]:
    return {name: fingerprint(given) if isinstance(given, Path) else given for name, given in inputs.items()}


def hash_files(folder: Path, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Compute the SHA-256 of each file, by its path in the folder; files with a known hash are not read."""
    files = {str(path.relative_to(folder)): path for path in list_files(folder)}
    unread = {name: path for name, path in files.items() if name not in known}
    computed = dict(zip(unread, sha256_of_all(list(unread.values())), strict=True))
    return {name: known.get(name) or computed[name] for name in files}


def input_fingerprints(work: Path) -> dict[str, str]:
    """Fingerprints of the inputs of the stage that works in `work`, for a body that records them."""
    return read_json(work / KEY)["inputs"]


def _something(out: Path) -> bool:
    """Whether there is anything at `out` other than an empty folder."""
    return out.exists() and not (out.is_dir() and not any(out.iterdir()))


def _check_replaceable(out: Path) -> None:
    """Check, before the work, that the finished folder can replace the empty one."""
    if out.is_mount():
        raise UserError(
            f"{out} is a mount point, and cannot be replaced as a whole",
            where="--out",
            fix="give a folder within it",
        )


def _finished(out: Path, key: StageKey) -> Manifest:
    if not (out / MANIFEST_FILE).is_file():
        raise UserError(f"the output exists and no stage wrote it: {out}", where="--out", fix="choose another folder")
    manifest = Manifest.read(out)
    made = StageKey(manifest.stage, manifest.inputs, manifest.config)
    if made == key:
        _check_complete(out, manifest)
        return manifest
    if manifest.stage != key.stage:
        raise UserError(f"{out} was made by the stage {manifest.stage}", where="--out", fix="choose another folder")
    raise Outdated(out, _differences(made, key))


def _check_complete(out: Path, manifest: Manifest) -> None:
    """Check that a finished folder still has its files; their contents are compared when they are read."""
    missing = [name for name in manifest.outputs if not (out / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(
            f"{out} was complete, but {', '.join(missing[:3])}{more} {'is' if len(missing) == 1 else 'are'} missing",
            where=str(out / missing[0]),
            fix="remove the folder, and run the same command again",
        )


def _differences(there: StageKey, now: StageKey) -> list[str]:
    """Describe the differences between two keys of one stage."""
    inputs = sorted({*there.inputs, *now.inputs})
    differing = [name for name in inputs if there.inputs.get(name) != now.inputs.get(name)]
    before, after = there.config, now.config
    options = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return [
        *([f"other {', '.join(differing)}"] if differing else []),
        *(f"{name}: {_short(before.get(name))} there, {_short(after.get(name))} now" for name in options),
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 200 else text[:200] + " …"


def renew(out: Path, run: Callable[[Path | None], Manifest]) -> Manifest:
    """Run a stage again if its choices have changed; the old result is replaced when the new one is complete.

    Args:
        out: the stage's folder.
        run: runs the stage into `out`; it is given the folder of the outdated result, or None.

    Returns:
        The stage's manifest.
    """
    aside = out.with_name(f".{out.name}.outdated")
    try:
        manifest = run(aside if aside.is_dir() else None)
    except Outdated as error:
        if error.out != out:
            raise
        log.info(f"{out.name}: started again ({'; '.join(error.differences)})")
        remove(aside)
        out.rename(aside)
        return renew(out, run)
    except BaseException:
        if aside.is_dir() and not out.exists():
            aside.rename(out)
        raise
    remove(aside)
    return manifest


def _enter(work: Path, key: StageKey, *, resumes: bool) -> None:
    """Continue an interrupted run of the same work, if the stage can; remove any other."""
    if resumes and _interrupted(work) == asdict(key):
        log.info(f"{key.stage}: continuing where an earlier run stopped")
        return
    (work / KEY).unlink(missing_ok=True)  # first: after an interruption here, the rest is not used again
    remove(work)
    work.mkdir(parents=True)
    write_json(work / KEY, asdict(key))


def _interrupted(work: Path) -> Any:
    """The key of an interrupted run's work, as JSON values; None if there is none, or it is not recorded."""
    try:
        return read_json(work / KEY)
    except UserError:
        return None
