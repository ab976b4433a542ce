"""The inputs of `pdapt tokens build`: folders of the corpus stage, and whatever else holds documents."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ....core.errors import UserError
from ....core.integrity import stage_files, wanted_hashes
from ....core.manifest import MANIFEST_FILE, Manifest
from ....core.self_hash import digest
from ...documents.discover import discover, split_name
from ...documents.reading import find_documents
from ...documents.sources import Source, check_names
from ...documents.store import FOLDER, document_files
from ...documents.survey import Survey, fingerprint
from ...sources.formats.conversations import CONVERSATIONS

REBUILD = (
    "copy it again, or build the corpus again; documents that you have changed yourself are read from another folder"
)
"""Advice for a corpus that is not what its manifest says."""


class Reading(Protocol):
    """The user's statements on the inputs; see `documents.sources.Source`."""

    @property
    def text_column(self) -> str: ...
    @property
    def format(self) -> str | None: ...
    @property
    def encoding(self) -> str | None: ...
    @property
    def document_type(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def commercial(self) -> bool | None: ...


def find_sources(paths: list[str], options: Reading, out: Path | None = None) -> list[Survey]:
    """The sources at some paths, with their files.

    Args:
        paths: `[NAME=]PATH` each: a corpus stage's folder, or local files as `discover` finds them.
        options: what the user says of them. Of a corpus the text column is known.
        out: the folder that will be made, which is not an input.

    Raises:
        UserError: a path is missing or on the Hub, files cannot be read, or two sources have the same name.
    """
    if not paths:
        raise UserError("no path is given", where="PATH", allowed="a corpus stage's folder, or files with documents")
    sources = [source for given in paths for source in _sources(given, options, out)]
    check_names([source.name for source in sources])
    return find_documents(sources, out)


def _sources(given: str, options: Reading, out: Path | None) -> list[Source]:
    name, target = split_name(given)
    if is_corpus(Path(target)):
        if options.format in CONVERSATIONS:
            raise UserError(
                f"{target} is a corpus, which holds documents, and --format is {options.format}",
                where="PATH",
                allowed="files of conversations",
            )
        wanted_hashes("", stage_files([Path(target).absolute() / FOLDER]), REBUILD)  # before what is left is believed
        files = document_files(Path(target).absolute())
        plain = Source(
            name="",
            path="",
            document_type=options.document_type,
            licence=options.licence,
            commercial=options.commercial,
            named=True,
        )
        names = {stem: f"{name}-{stem}" if name and len(files) > 1 else name or stem for stem in files}
        return [replace(plain, name=names[stem], path=file) for stem, file in files.items()]
    sources = discover(
        [given],
        format=options.format,
        document_type=options.document_type,
        licence=options.licence,
        commercial=options.commercial,
        text_column=options.text_column,
        encoding=options.encoding,
        out=out,
        conversations=True,
    )
    if any(isinstance(source.path, str) for source in sources):
        fix = f"pdapt corpus build {given} --out corpus"
        if options.format in CONVERSATIONS:
            fix = "fetch its files: hf download --repo-type dataset OWNER/NAME --local-dir FOLDER"
        raise UserError(f"{given} is on the Hub", where="PATH", allowed="local files", fix=fix)
    return sources


def named_by_user(surveys: list[Survey]) -> set[str]:
    """Names of the sources that the user gave one, here or when their corpus was built."""
    return {survey.source.name for survey in surveys if survey.source.named}


def is_corpus(folder: Path) -> bool:
    """Whether a folder was made by the corpus stage."""
    manifest = folder / MANIFEST_FILE
    return (folder / FOLDER).is_dir() and manifest.is_file() and Manifest.read(folder).stage == "corpus"


def fingerprints(surveys: list[Survey]) -> dict[str, str]:
    """A SHA-256 for each source that stands for its files. What a corpus stage wrote is not read for it."""
    return {survey.source.name: _recorded(survey) or fingerprint(survey) for survey in surveys}


def recorded_files(surveys: list[Survey]) -> dict[Path, list[str]]:
    """The files whose fingerprints are not of their bytes, for `checking`: a corpus' folder -> their names."""
    files: dict[Path, list[str]] = {}
    for survey in surveys:
        if _recorded(survey) is not None:
            path = Path(survey.source.path)
            files.setdefault(path.parent.parent, []).append(f"{FOLDER}/{path.name}")
    return files


def _recorded(survey: Survey) -> str | None:
    path = survey.source.path
    if isinstance(path, str) or path.parent.name != FOLDER or not is_corpus(path.parent.parent):
        return None
    recorded = Manifest.read(path.parent.parent).outputs.get(f"{FOLDER}/{path.name}")
    return digest({path.name: recorded}) if recorded else None
