"""The parents of a merge: the properties that they must share, and the files that are read."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..core import log
from ..core.errors import UserError
from ..core.files import read_object, require_file, write_json
from ..core.hf.config import CONFIG, both_spellings
from ..core.hf.model import open_model
from ..core.hf.tokenizer_file import open_tokenizer
from ..core.hf.turns import ends_turns
from ..core.hf.weights import DTYPES, INDEX, NAMES, Weights
from ..core.integrity import checking, damage_first, hf_files
from ..core.qwen3 import Qwen3Config
from .slerp import check_finite

TOKENIZER = "tokenizer.json"
OLDER_TOKENIZER = ("vocab.json", "merges.txt")
"""Files of a tokenizer that has no `tokenizer.json`."""


def open_parents(folders: Sequence[Path], *, verify: bool) -> list[Weights]:
    """Open models and check that they can be merged, reading no weights except tied output layers.

    Args:
        folders: the models' folders.
        verify: whether, if something is wrong, files are compared with their hashes to name a damaged one.

    Raises:
        UserError: a folder is given twice, models differ in architecture, vocabulary, type or tokenizer, or one of them
            is not a complete Hugging Face folder of Qwen3 safetensors.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"the same folder is given twice: {', '.join(map(str, folders))}", fix="give two models")
    with damage_first(lambda: {folder: hf_files(folder) for folder in folders}, verify=verify):
        first, *others = [open_model(folder) for folder in folders]
        for shape, weights in others:
            _check_alike(first[0], shape, folders[0], weights.folder)
            _check_types(first[1], weights)
            _check_tokenizers(folders[0], weights.folder)
    if not has_tokenizer(folders[0]):
        log.warn(
            "the models have no tokenizer: their vocabularies cannot be compared, and the merged model has no tokenizer"
        )
    return [weights for _, weights in (first, *others)]


def settings_folder(folders: Sequence[Path]) -> Path:
    """Choose the parent whose configuration and tokenizer the result gets.

    It is the first one that ends its turns or, if none does, the first, which is the base: with a Base's settings a
    merge with a fine-tuned model would not stop after its answer.
    """
    return next((folder for folder in folders if ends_turns(folder)), folders[0])


def check_values(stage: str, parents: Sequence[Weights], *, verify: bool) -> dict[str, int | None]:
    """Check models' values for NaN and infinity, and their files against the recorded hashes.

    Returns:
        See `checking`.

    Raises:
        UserError: a value is NaN or infinite, which a merge would spread, or a file does not match its hash.
    """
    with checking(stage, {model.folder: hf_files(model.folder) for model in parents}, verify=verify) as counts:
        for model in parents:
            for name in model.tensors:
                check_finite(model, name)
                model.release(name)
    return counts


def parameters(model: Weights) -> int:
    """Number of weights of a model."""
    return sum(tensor.nbytes // DTYPES[tensor.dtype].itemsize for tensor in model.tensors.values())


def view(model: Weights, folder: Path) -> Path:
    """Make a folder that shows mergekit only the weights to be merged.

    mergekit reads what the index names, so the folder has no tied output layer and no file that is in no index; its
    paths have no `@` or `+`.

    Args:
        model: the model to whose files it links.
        folder: the folder to make.
    """
    folder.mkdir(parents=True)
    links = {path: f"{number}.safetensors" for number, path in enumerate(sorted(model.files))}
    for path, name in links.items():
        (folder / name).symlink_to(path.resolve())
    write_json(folder / INDEX, {"weight_map": {name: links[model.file(name)] for name in model.tensors}})
    path = model.folder / CONFIG
    write_json(folder / CONFIG, both_spellings(read_object(path).values, NAMES[DTYPES[type_of(model)]], str(path)))
    return folder


def type_of(model: Weights) -> str:
    """The type of a complete model's weights, in safetensors' spelling."""
    return next(iter(model.tensors.values())).dtype


def _check_alike(ours: Qwen3Config, theirs: Qwen3Config, base: Path, tuned: Path) -> None:
    first, second = asdict(ours), asdict(theirs)
    differing = [f"{name} {first[name]} and {second[name]}" for name in first if first[name] != second[name]]
    if differing:
        raise UserError(
            f"the models' architectures differ ({base.name} and {tuned.name}): {'; '.join(differing)}",
            where=str(tuned / CONFIG),
            allowed="two models with the same architecture and vocabulary",
        )


def _check_types(ours: Weights, theirs: Weights) -> None:
    if type_of(ours) != type_of(theirs):
        raise UserError(
            f"the weights are {type_of(ours)} in {ours.folder.name} and {type_of(theirs)} in {theirs.folder.name}",
            where=str(theirs.folder),
            allowed="models of the same type",
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has any file of a tokenizer."""
    return any((folder / name).is_file() for name in (TOKENIZER, *OLDER_TOKENIZER))


def _check_tokenizers(base: Path, tuned: Path) -> None:
    if not has_tokenizer(base) and not has_tokenizer(tuned):
        return
    names = (TOKENIZER,) if (base / TOKENIZER).is_file() or (tuned / TOKENIZER).is_file() else OLDER_TOKENIZER
    if any(_canonical(base / name) != _canonical(tuned / name) for name in names):
        raise UserError(
            "the models' tokenizers differ, so the same id stands for different text in each",
            where=str(tuned / names[0]),
            allowed="two models with the same tokenizer, or both without one",
        )


def _canonical(path: Path) -> str | bytes:
    """Normalise a tokenizer's spelling, whatever release wrote it; padding and truncation belong to calls."""
    require_file(path)
    if path.name != TOKENIZER:
        return path.read_bytes()
    tokenizer = open_tokenizer(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer.to_str()
