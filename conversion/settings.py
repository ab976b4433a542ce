"""Configuration and tokenizer of a checkpoint: from a Hugging Face folder, or from its trainer's own files.

Those are Megatron-Bridge's and NeMo 2's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import log
from ..core.checkpoint import HF, NEMO2
from ..core.errors import UserError
from ..core.files import read_object, write_json
from ..core.hf.config import CONFIG, SIDE_FILES, write_settings, write_side_files
from ..core.qwen3 import Qwen3Config, read_config
from .trainer_config import CONTEXT, MODEL_CONFIG, RUN_CONFIG, TOKENIZER, read_model_config, read_run_config

READERS = {RUN_CONFIG: read_run_config, MODEL_CONFIG: read_model_config}
"""A trainer's file -> reader of the shape that it states, from its folder."""
LONGEST = "max_position_embeddings"
UNSTATED = {
    RUN_CONFIG: (LONGEST, "attention_dropout", "initializer_range"),
    MODEL_CONFIG: ("attention_dropout", "initializer_range"),
}
"""A trainer's file -> keys of a `config.json` that are also written with it although it does not state them."""


@dataclass(frozen=True)
class Settings:
    """Settings of a model.

    Attributes:
        folder: a Hugging Face folder, or a trainer's folder of the tokenizer, which may be absent.
        stated: the file that states the model's shape.
    """

    folder: Path
    stated: Path

    @property
    def shape(self) -> Qwen3Config:
        """The model's shape.

        Raises:
            UserError: its file is damaged, or describes a model other than a dense Qwen3.
        """
        return READERS[self.stated.name](self.stated.parent) if self.of_trainer else read_config(self.folder)

    @property
    def of_trainer(self) -> bool:
        """Whether the settings are a trainer's own."""
        return self.stated.name in READERS

    @property
    def states(self) -> frozenset[str] | None:
        """Keys of a `config.json` that the settings state; None for all."""
        return frozenset(self.config("").keys() - UNSTATED[self.stated.name]) if self.of_trainer else None

    def files(self) -> dict[str, Path]:
        """The files that are there: name -> path."""
        names = (name for name in SIDE_FILES if (self.folder / name).is_file())
        return {self.stated.name: self.stated} | {name: self.folder / name for name in names}

    def config(self, dtype: str) -> dict[str, Any]:
        """Contents of `config.json`, for weights of a type."""
        if self.of_trainer:
            return self.shape.to_hf(dtype)
        return read_object(self.folder / CONFIG).values | {"dtype": dtype}

    def write(self, target: Path, dtype: str) -> None:
        """Write the settings as those of a Hugging Face folder; see `write_settings`."""
        if not self.of_trainer:
            write_settings(self.folder, target, dtype)
            return
        shape = self.shape
        if LONGEST in UNSTATED[self.stated.name]:
            log.warn(
                f"{self.stated.name} does not state the model's longest sequence: {LONGEST} is set to that of "
                f"training, {shape.max_positions:,}; give --reference for the base's own"
            )
        if "tokenizer.json" not in self.files():
            log.warn(f"{self.folder} holds no tokenizer, so none is written; to get one, give --reference")
        write_json(target / CONFIG, shape.to_hf(dtype))
        write_side_files(self.folder, target)


def settings_of(checkpoint: Path, reference: Path | None) -> Settings:
    """Find the settings of a checkpoint.

    Args:
        checkpoint: the checkpoint's folder.
        reference: the user's choice of a Hugging Face folder; None for the `hf` folder beside the checkpoints or, if
            there is none, for the files of Megatron-Bridge or NeMo 2 in the checkpoint.

    Raises:
        UserError: there are no settings.
    """
    folder = reference or checkpoint.parent / HF
    if folder.is_dir():
        return Settings(folder, folder / CONFIG)
    context = checkpoint.parent / CONTEXT
    if reference is None and (checkpoint / RUN_CONFIG).is_file():
        return Settings(checkpoint / TOKENIZER, checkpoint / RUN_CONFIG)
    if reference is None and checkpoint.name == NEMO2 and (context / MODEL_CONFIG).is_file():
        return Settings(context / TOKENIZER, context / MODEL_CONFIG)
    raise UserError(
        f"no configuration for {checkpoint.name}",
        where=str(folder),
        allowed=f"a folder {HF} beside the checkpoints, or within Megatron-Bridge's {RUN_CONFIG} or NeMo 2's "
        f"{CONTEXT}/{MODEL_CONFIG}",
        fix="name a Hugging Face folder with --reference",
    )
