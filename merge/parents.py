"""What two models must share before their weights may be mixed, checked from files and headers alone."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from ..core.errors import UserError
from ..core.files import read_json, require_file
from ..core.qwen3 import Qwen3Config, read_config

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
OUTPUT_LAYER = "lm_head.weight"


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header declares it: dtype in safetensors' spelling (`BF16`, `F32`), and shape."""

    dtype: str
    shape: tuple[int, ...]


def check_parents(base: Path, tuned: Path) -> dict[str, Tensor]:
    """Return the tensors that both models have, having read no weight.

    Raises:
        UserError: they are one folder, or differ in architecture, vocabulary, tensors or tokenizer, or one of them is
            not a whole Hugging Face folder of Qwen3 safetensors.
    """
    if base.resolve() == tuned.resolve():
        raise UserError(f"base and tuned are the same folder: {base}", mend="give two models")
    config = _same_architecture(base, tuned)
    tensors = _same_tensors(base, tuned, config.tied)
    found = count_parameters(tensors)
    if found != config.parameters:
        raise UserError(
            f"the weights hold {found:,} parameters, and config.json promises {config.parameters:,}", where=str(base)
        )
    _same_tokenizer(base, tuned)
    return tensors


def count_parameters(tensors: dict[str, Tensor]) -> int:
    """Number of weights in a model's tensors."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read the names, dtypes and shapes of a model's tensors from its safetensors headers.

    Raises:
        UserError: no safetensors there, or a shard is missing, damaged or without a tensor that the index promises.
    """
    found: dict[str, Tensor] = {}
    for shard, promised in _shards(folder).items():
        tensors = _read_header(folder / shard)
        lacking = sorted(promised - tensors.keys())
        if lacking:
            raise UserError(f"the index puts {lacking[0]} in {shard}, which lacks it", where=str(folder / INDEX))
        found |= tensors
    return found


def _shards(folder: Path) -> dict[str, set[str]]:
    """File name -> tensors that the index says it holds (none where a single file needs no index)."""
    if not (folder / INDEX).is_file():
        require_file(folder / WEIGHTS)
        return {WEIGHTS: set()}
    index = read_json(folder / INDEX)
    if "weight_map" not in index:
        raise UserError(f"{INDEX} has no weight_map", where=str(folder / INDEX), mend="copy or export the model again")
    shards: dict[str, set[str]] = {}
    for tensor, shard in index["weight_map"].items():
        shards.setdefault(shard, set()).add(tensor)
    missing = sorted(shard for shard in shards if not (folder / shard).is_file())
    if missing:
        raise UserError(
            f"{len(missing)} of {len(shards)} shards are missing: {', '.join(missing)}",
            where=str(folder / INDEX),
            mend="copy or export the model again",
        )
    return shards


def _read_header(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return {name: Tensor(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise UserError(
            f"{path.name} is not a whole safetensors file: {error}", where=str(path), mend="copy it again"
        ) from None


def _same_architecture(base: Path, tuned: Path) -> Qwen3Config:
    config = read_config(base)
    ours, theirs = asdict(config), asdict(read_config(tuned))
    differing = [f"{name} {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if differing:
        raise UserError(
            f"the models' architectures differ (base and tuned): {'; '.join(differing)}",
            where=str(tuned / "config.json"),
            allowed="two models of one architecture and vocabulary",
        )
    return config


def _same_tensors(base: Path, tuned: Path, tied: bool) -> dict[str, Tensor]:
    ours, theirs = read_tensors(base), read_tensors(tuned)
    if tied:
        # Some exports write the tied output layer out; it is the embedding, so it says nothing of its own.
        ours.pop(OUTPUT_LAYER, None)
        theirs.pop(OUTPUT_LAYER, None)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"tensor {name} is {_describe(ours.get(name))} in base and {_describe(theirs.get(name))} in tuned",
                where=str(tuned),
                allowed="the same tensors, of the same shapes and dtypes, in both models",
            )
    return ours


def _describe(tensor: Tensor | None) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}" if tensor else "absent"


def _same_tokenizer(base: Path, tuned: Path) -> None:
    if _canonical_tokenizer(base) != _canonical_tokenizer(tuned):
        raise UserError(
            "the models' tokenizers differ, so the same id means another piece of text in each",
            where=str(tuned / "tokenizer.json"),
            allowed="two models of one tokenizer",
        )


def _canonical_tokenizer(folder: Path) -> str:
    """One spelling of a tokenizer, whatever release wrote it; padding and truncation belong to a call, not to it."""
    tokenizer = Tokenizer.from_file(str(require_file(folder / "tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer.to_str()
