"""`pdapt publish model` and `pdapt publish dataset`: checks, card and upload to the Hugging Face Hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import read_json, read_object
from ...core.hf.config import REMOTE_CODE, both_spellings
from ...core.hf.model import open_model
from ...core.hf.tokenizer_file import open_tokenizer
from ...core.hf.turns import ends_turns
from ...core.integrity import AGAIN, check, stage_files
from ...core.log import counted
from ...core.manifest import MANIFEST_FILE
from ...data_prep.licences.report import report_licences
from ...training.run.journal import JOURNAL_FILE, read_steps, spent
from .hub import CARD_FILE, Api, Kind, Publication, check_repo, upload
from .model_card_page import ModelFacts, model_card
from .publishable import check_anonymous, files_of, text_of

MODEL_FILES = (".safetensors", ".json", ".txt", ".jinja", ".yml", ".model")
DATASET_FILES = (".parquet", ".json", ".txt", ".html", ".png", ".pdf")
DATASET_NEEDS = ("croissant.json", "ATTRIBUTION.txt", "statistics.json")
SECTIONS = ("## Licences", "## Columns")
"""Sections without which the card of a data set is not complete."""


@dataclass(frozen=True)
class ModelSources:
    """Where a model's card takes its facts from; see `ModelFacts`.

    Attributes:
        base, base_licence, title, citation: as of `ModelFacts`.
        run: folder of the training run.
        corpus: folder of `corpus build` that it was trained on.
        report: folder of `report build`.
    """

    base: str
    run: Path | None
    corpus: Path | None
    report: Path | None
    title: str = ""
    base_licence: str = "apache-2.0"
    citation: str = ""


def prepare_model(folder: Path, sources: ModelSources) -> Publication:
    """Check a model's folder and write its card.

    Raises:
        UserError: the weights are incomplete, the configuration cannot be read by both lines of transformers, something
            for the card is missing, or a text names a path of this machine.
    """
    missing = [f"--{name}" for name in ("run", "corpus", "report") if getattr(sources, name) is None]
    if missing:
        raise UserError(
            f"the card would be incomplete: {', '.join(missing)} is missing",
            where="pdapt publish model",
            fix="--run says what training took, --corpus which licences the data has, --report how good the model is",
        )
    assert sources.run, "checked"
    assert sources.corpus, "checked"
    assert sources.report, "checked"
    names = files_of(folder, MODEL_FILES)
    if (folder / MANIFEST_FILE).is_file():
        check("publish", stage_files([folder]), fix=AGAIN)
    _check_weights(folder, names)
    _check_config(folder / "config.json")
    open_tokenizer(folder / "tokenizer.json")
    for name in names:
        if name.endswith(".json"):
            read_json(folder / name, nan=True)
    cost = spent(read_steps(sources.run / JOURNAL_FILE))
    assert cost, "there is a step"
    facts = ModelFacts(
        title=sources.title or folder.resolve().name,
        base=sources.base,
        base_licence=sources.base_licence,
        cost=cost,
        licences=report_licences(sources.corpus).licences,
        evaluation=sources.report,
        converses=ends_turns(folder),
        citation=sources.citation,
    )
    card = model_card(facts, _about(folder / CARD_FILE))
    check_anonymous(folder, names, card)
    return Publication(folder, names, card, Kind.MODEL)


def _check_weights(folder: Path, names: Sequence[str]) -> None:
    """Check that the weights are a whole model of numbers, and that no others lie beside them.

    Raises:
        UserError: they are not, by the name of a tensor or a file.
    """
    _, weights = open_model(folder)
    used = {path.name for path in weights.files}
    if others := [name for name in names if name.endswith(".safetensors") and name not in used]:
        raise UserError(
            f"{others[0]} is no part of the model: {', '.join(sorted(used))} hold all of its weights",
            where=str(folder / others[0]),
            fix="move it out of the folder",
        )
    for name in weights.tensors:
        if not bool(weights.get(name).isfinite().all()):
            raise UserError(
                f"{name} holds values that are not finite numbers",
                where=str(weights.file(name)),
                fix="publish a model from before training diverged",
            )
        weights.release(name)


def _check_config(path: Path) -> None:
    """Check that a configuration has the keys of transformers 4 and of 5, and asks for no code.

    Raises:
        UserError: it has those of one only, or names code that is to be run.
    """
    config = read_object(path).values
    if code := [key for key in REMOTE_CODE if key in config]:
        raise UserError(
            f"the configuration asks for code that comes with a model: {', '.join(code)}",
            where=str(path),
            fix="remove it: transformers has Qwen3's own",
        )
    wanted = both_spellings(dict(config), None, str(path))
    lacking = sorted(key for key in wanted if key not in config)
    if lacking:
        raise UserError(
            f"the configuration lacks {', '.join(lacking)}, which one line of transformers (4.5x or 5) reads",
            where=str(path),
            fix="export or merge the model again: pdapt writes both spellings",
        )


def _about(path: Path) -> str:
    """The text of the card beside the weights, a level below the new card's headings."""
    if not path.is_file():
        return "No card lies beside the weights."
    text = text_of(path)
    body = text.split("---\n", 2)[2] if text.startswith("---\n") and text.count("---\n") >= 2 else text
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in body.strip().splitlines())


def prepare_dataset(folder: Path) -> Publication:
    """Check a folder of `corpus publish`, whose card is taken as it is.

    Raises:
        UserError: it is not one, is damaged, lacks a part, or a text names a path of this machine.
    """
    lacking = [name for name in (MANIFEST_FILE, CARD_FILE, *DATASET_NEEDS) if not (folder / name).is_file()]
    if lacking:
        raise UserError(
            f"the folder is not a data set to publish: {', '.join(lacking)} is missing",
            where=str(folder),
            fix="make one with `pdapt corpus publish CORPUS --out FOLDER`",
        )
    check("publish", stage_files([folder]), fix=AGAIN)
    card = text_of(folder / CARD_FILE)
    absent = [section.removeprefix("## ") for section in SECTIONS if section not in card]
    if absent:
        raise UserError(f"the card lacks {', '.join(absent)}", where=str(folder / CARD_FILE), fix="publish it again")
    names = files_of(folder, DATASET_FILES)
    check_anonymous(folder, names, card)
    return Publication(folder, names, card, Kind.DATASET)


def publish(
    publication: Publication, repo: str, *, public: bool, dry_run: bool, api: Api | None = None
) -> dict[str, Any]:
    """Upload what is prepared, or with `dry_run` say what would be.

    Returns:
        Repository, visibility, files with their bytes, and the card.

    Raises:
        UserError: the name is not OWNER/NAME, or the Hub refuses it.
    """
    check_repo(repo)
    sizes = {name: (publication.folder / name).stat().st_size for name in publication.files}
    if not dry_run:
        if api is None:
            from huggingface_hub import HfApi

            api = HfApi()
        upload(publication, repo, public=public, api=api)
        log.info(f"publish: {counted(len(sizes) + 1, 'file')} to {repo}")
    visibility = "public" if public else "private"
    return {
        "repo": repo,
        "kind": publication.kind,
        "visibility": visibility,
        "uploaded": not dry_run,
        "files": sizes,
        "card": publication.card,
    }
