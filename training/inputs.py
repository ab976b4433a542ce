"""Whether a recipe, its tokens and its base fit together, checked before anything is started."""

from dataclasses import asdict
from pathlib import Path

from ..core import log
from ..core.checkpoint import HF, newest, root_of
from ..core.errors import UserError
from ..core.files import sha256
from ..core.integrity import damage_first
from ..core.log import counted
from ..core.qwen3 import Qwen3Config, read_config
from ..data_prep.tokens.tokens_record import RECORD, read_record
from ..recipes.schema import Recipe, shape_of
from .blend import Member, cut_conversations, train_blend, valid_sequences
from .compare_tokenizers import TOKENIZER, Vocabulary, differences, read_vocabulary
from .input_hashes import Inputs, small_files


def check_inputs(recipe: Recipe, inputs: Inputs) -> list[Member]:
    """Check that recipe, tokens and base fit together.

    Returns:
        The data sets that the run reads.

    Raises:
        UserError: the tokens' vocabulary is larger than the model's, the blend matches no data set, or another
            tokenizer made the tokens; the base is not a Megatron checkpoint, or is one of another model. If a file is
            damaged, the message says so.
    """
    with damage_first(lambda: small_files(inputs), verify=inputs.verify):
        return _check_inputs(recipe, inputs)


def _check_inputs(recipe: Recipe, inputs: Inputs) -> list[Member]:
    record, shape = read_record(inputs.tokens), shape_of(recipe)
    if record.vocabulary_size > shape.vocab:
        raise UserError(
            f"the tokens' vocabulary has {record.vocabulary_size} ids, but the model has only {shape.vocab}",
            where=str(inputs.tokens / RECORD),
            fix="tokenize with the model's own tokenizer",
        )
    members = train_blend(inputs.tokens, recipe.data, recipe.steps * recipe.batch.global_size)
    _say_cut(inputs.tokens, recipe)
    if not valid_sequences(inputs.tokens, recipe.data):
        where = str(inputs.tokens / RECORD)
        raise UserError("the validation sets contain no sequence", where=where, fix="hold out more documents")
    tokenizer = _tokens_tokenizer(inputs.tokens, record.tokenizer_sha256)
    if inputs.base is not None:
        _check_base(inputs.base, shape)
        _check_tokenizer(inputs, tokenizer, record.eod_id)
    return members


def _say_cut(tokens: Path, recipe: Recipe) -> None:
    """Say how many tokens of conversations are learned, and how many are lost where long conversations are cut."""
    fitted = cut_conversations(tokens, recipe.data)
    if not fitted:
        return
    answers, size = (sum(getattr(each, name) for each in fitted) for name in ("answers", "tokens"))
    log.info(f"train: {answers:,} of the conversations' {counted(size, 'token')} are answers, and are learned")
    cut, lost, left_out = (sum(getattr(each, name) for each in fitted) for name in ("cut", "lost", "left_out"))
    if not cut:
        return
    log.warn(
        f"train: {counted(cut, 'conversation')} of more than {recipe.data.seq_length:,} tokens are cut there: "
        f"{counted(lost, 'token')} of answers are lost"
        + (f", and {counted(left_out, 'conversation')} without an answer before that are left out" if left_out else "")
    )


def _check_base(base: Path, shape: Qwen3Config) -> None:
    if newest(base) is None:
        raise UserError(
            f"{base} is neither a run with a checkpoint nor a Megatron checkpoint root",
            where="--base",
            fix="make one from a Hugging Face folder: `pdapt convert import HF_FOLDER OUT`",
        )
    settings = root_of(base) / HF
    if not (settings / "config.json").is_file():
        log.warn(f"train: {settings} has no config.json: the base's shape cannot be compared with the recipe's")
        return
    held, wanted = asdict(read_config(settings)), asdict(shape)
    differing = [
        f"{name}: {held[name]} in the base, {wanted[name]} in the recipe"
        for name in wanted
        if held[name] != wanted[name]
    ]
    if differing:
        raise UserError(
            f"the recipe's model differs from the base's ({', '.join(differing)})",
            where="model",
            fix="give the recipe the base's size or shape",
        )


def _tokens_tokenizer(tokens: Path, known: str) -> Path:
    """Find the folder of the tokenizer that the tokens were made with, and check its hash."""
    folder = tokens / "tokenizer"
    path = folder / TOKENIZER
    if not path.is_file():
        raise UserError(f"the tokens folder has no {TOKENIZER}", where=str(path), fix="build the tokens again")
    if sha256(path) != known:
        raise UserError(
            f"{TOKENIZER} is not the one that the tokens were made with",
            where=str(path),
            allowed=f"the file with the SHA-256 that {RECORD} states: {known}",
            fix="build the tokens again",
        )
    return folder


def _check_tokenizer(inputs: Inputs, tokenizer: Path, eod: int) -> None:
    """Check that ids have the same meaning in the base as in the tokens."""
    assert inputs.base is not None
    named = [root_of(inputs.base) / HF, *([inputs.tokenizer] if inputs.tokenizer else [])]
    folders = [folder for folder in named if folder == inputs.tokenizer or (folder / TOKENIZER).is_file()]
    if not folders:
        log.warn(
            f"train: the base has no {HF}/{TOKENIZER}, so pdapt cannot tell whether the tokens were made with its "
            "tokenizer (--tokenizer FOLDER gives it)"
        )
        return
    ours = read_vocabulary(tokenizer)
    for folder in folders:
        _check_same(ours, read_vocabulary(folder), eod)


def _check_same(ours: Vocabulary, theirs: Vocabulary, eod: int) -> None:
    differing = differences(ours, theirs)
    if theirs.eod != eod:
        differing.append(f"documents end with id {eod:,} in the tokens and {theirs.eod} in the base's tokenizer")
    if differing:
        raise UserError(
            f"the tokens were made with a tokenizer other than the base's (tokens first): {'; '.join(differing)}",
            where=f"{ours.path} and {theirs.path}",
            allowed="one vocabulary, in the same order, with the same merges and the same end of a document",
            fix="build the tokens again with the base's tokenizer",
        )
    differing = [name for name in ours.steps if ours.steps[name] != theirs.steps[name]]
    if differing:
        log.warn(
            f"train: base and tokens have the same ids, but the {' and '.join(differing)} of their tokenizers differ"
        )
