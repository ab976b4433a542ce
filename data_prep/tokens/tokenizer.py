"""The tokenizer: loading one so that a document's text stays text, and training one like Qwen3's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from ...core import log
from ...core.errors import UserError
from ...core.files import atomic_path, read_object, require_file, write_json
from ...core.hf.tokenizer_file import open_tokenizer
from ...core.jsonio import JsonObject
from ...core.qwen3 import END_OF_DOCUMENT, SPECIAL_TOKENS
from ..documents.sources import HUB

FILES = ("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.jinja")
"""The files of a Hugging Face folder that belong to its tokenizer."""

WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen3's pre-tokenizer: how its `tokenizer.json` cuts text into words. Each digit is a word of its own."""

_PRINTED = [*range(ord("!"), 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTE_CHARACTERS = {byte: 0x100 + place for place, byte in enumerate(sorted(set(range(0x100)) - set(_PRINTED)))}
"""The character that byte-level BPE writes for a byte, where that is not the byte's own in Latin-1."""

LARGEST_ID = 2**31 - 1
"""Ids are stored as int32."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and what a data set has to know of it.

    Attributes:
        definition: contents of `tokenizer.json`.
        files: the tokenizer's files, `tokenizer.json` first.
        eod_id: id of `<|endoftext|>`, which ends a document.
        size: largest id + 1.
        lock: of the first use of `tokenizer`.
    """

    definition: dict[str, Any]
    files: tuple[Path, ...]
    eod_id: int
    size: int
    lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def tokenizer(self) -> Tokenizer:
        """Encodes text as text only: no id of an added token ever comes out of it. Loaded when first asked for."""
        with self.lock:
            return self._tokenizer

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return _text_only(open_tokenizer(self.files[0], checked=True))

    @cached_property
    def token_bytes(self) -> npt.NDArray[np.int32]:
        """Bytes of each token's text, [size]; 0 for added tokens. Byte-level BPE writes a byte as a character."""
        sizes = np.zeros(self.size, np.int32)
        words: dict[str, int] = self.definition["model"]["vocab"]
        sizes[list(words.values())] = list(map(len, words))
        return sizes

    def encode(self, texts: Sequence[str]) -> Iterator[npt.NDArray[np.int32]]:
        """The ids of each text, ended by `eod_id`, in the texts' order."""
        for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
            yield np.array([*encoding.ids, self.eod_id], dtype=np.int32)

    def encode_word(self, word: bytes) -> npt.NDArray[np.int32]:
        """The ids of UTF-8 that is one word, or a part of one: the model's own, which composes and cuts nothing."""
        tokens = self.tokenizer.model.tokenize(word.decode("latin-1").translate(BYTE_CHARACTERS))
        return np.fromiter((token.id for token in tokens), np.int32, len(tokens))


def load_tokenizer(source: str | Path, vocab_size: int | None = None) -> Vocabulary:
    """Load a tokenizer from a folder that holds `tokenizer.json`, or from the Hugging Face Hub.

    The end of a document is `<|endoftext|>` by name. The configuration's `eos_token` is not asked: Qwen3's says
    `<|im_end|>`, which ends a turn of a conversation.

    Args:
        source: a folder, or `hub:OWNER/NAME` on the Hub; nothing else is looked for on the network.
        vocab_size: rows of the model's embedding, which every id has to fit in.

    Raises:
        UserError: there is no such tokenizer, it has no `<|endoftext|>`, or it is larger than `vocab_size`.
    """
    folder = _folder(source)
    path = require_file(folder / "tokenizer.json")
    contents = read_object(path)
    definition = contents.values
    ids = _ids(contents)
    if not ids:
        raise UserError("tokenizer.json holds no BPE model", where=str(path), fix="give a Qwen3 tokenizer")
    if END_OF_DOCUMENT not in ids:
        raise UserError(f"the tokenizer has no {END_OF_DOCUMENT}", where=str(path), fix="give a Qwen3 tokenizer")
    size = max(ids.values()) + 1
    if vocab_size is not None and size > vocab_size:
        raise UserError(
            f"the tokenizer has ids up to {size - 1}, the model's vocabulary has {vocab_size} rows",
            where=str(path),
            allowed=f"a tokenizer of at most {vocab_size} ids",
            fix="take the model's own tokenizer",
        )
    others = sorted({file for pattern in FILES for file in folder.glob(pattern)} - {path})
    return Vocabulary(definition, (path, *others), ids[END_OF_DOCUMENT], size)


def _ids(definition: JsonObject) -> dict[str, int]:
    """Id of each token of a byte-level BPE, or nothing where it is none."""
    if "model" not in definition:
        return {}
    model = definition.object("model")
    if model.values.get("type") != "BPE" or "vocab" not in model:
        return {}
    words = model.object("vocab")
    ids = {token: words.integer(token, maximum=LARGEST_ID) for token in words.values}
    for entry in definition.list("added_tokens") if "added_tokens" in definition else []:
        added = JsonObject(entry, f"{definition.where}: added_tokens")
        ids[added.text("content")] = added.integer("id", maximum=LARGEST_ID)
    return ids


def _folder(source: str | Path) -> Path:
    if not str(source).startswith(HUB):
        folder = Path(source)
        if folder.is_dir():
            return folder
        raise UserError(
            f"no tokenizer at {source}: there is no such folder",
            where="tokenizer",
            allowed="a folder with tokenizer.json, or hub:OWNER/NAME on the Hugging Face Hub",
        )
    # Loaded here because it takes longer than the rest of this room together.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source).removeprefix(HUB), allow_patterns=list(FILES)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise UserError(
            f"no tokenizer at {source}: {error}",
            where="tokenizer",
            allowed="a folder with tokenizer.json, or hub:OWNER/NAME on the Hugging Face Hub",
        ) from None


def _text_only(tokenizer: Tokenizer) -> Tokenizer:
    """Make the text of an added token, met in a document, be encoded as the text it is.

    `encode_special_tokens` does that for special tokens; Qwen3 has others (`<think>`, `<|fim_prefix|>`), which become
    special here, in memory, so that no document can write a control id.
    """
    tokenizer.add_special_tokens([token.content for token in tokenizer.get_added_tokens_decoder().values()])
    tokenizer.encode_special_tokens = True
    return tokenizer


def train_tokenizer(texts: Iterator[str], vocab_size: int, out: Path) -> None:
    """Train a byte-level BPE that differs from Qwen3's in its vocabulary alone, as a Hugging Face folder.

    Args:
        texts: what to learn from.
        vocab_size: most ids it may have, the special tokens among them; as in Qwen3 they follow the words. A text
            with few different words gives fewer.
        out: the folder, which gets `tokenizer.json` and `tokenizer_config.json`.

    Raises:
        UserError: `vocab_size` is too small for the 256 bytes and the special tokens.
    """
    least = 256 + len(SPECIAL_TOKENS)
    if vocab_size < least:
        raise UserError(f"vocab_size = {vocab_size} is too small", where="vocab_size", allowed=f"{least} or more")
    tokenizer = _untrained()
    trainer = BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    if tokenizer.get_vocab_size() < vocab_size:
        log.warn(f"the text gives the tokenizer {tokenizer.get_vocab_size()} ids, not {vocab_size}")
    write_json(out / "tokenizer_config.json", _configuration())
    with atomic_path(out / "tokenizer.json") as partial:
        tokenizer.save(str(partial))


def _untrained() -> Tokenizer:
    """Qwen3's tokenizer without its vocabulary."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _configuration() -> dict[str, object]:
    """Contents of `tokenizer_config.json`, as Qwen3-Base's, but that a document's end is also where generation ends."""
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_DOCUMENT,
        "errors": "replace",
        "model_max_length": 131_072,
        "pad_token": END_OF_DOCUMENT,
        "split_special_tokens": False,
        "unk_token": None,
    }
