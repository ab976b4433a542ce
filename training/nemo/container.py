"""Megatron-Bridge's `ConfigContainer` of a recipe: Megatron's own configuration, copied field by field.

Bridge's classes are Megatron's with additional fields, so a recipe becomes the same here as under Megatron.
"""

from dataclasses import fields
from typing import Any

from megatron.bridge.training import config
from megatron.bridge.training.tokenizers.config import TokenizerConfig

from .bridge_rows import Rows

CLASSES: dict[str, type] = {
    "train": config.TrainingConfig,
    "validation": config.ValidationConfig,
    "optimizer": config.OptimizerConfig,
    "scheduler": config.SchedulerConfig,
    "ddp": config.DistributedDataParallelConfig,
    "dist": config.DistributedInitConfig,
    "rng": config.RNGConfig,
    "logger": config.LoggerConfig,
    "checkpoint": config.CheckpointConfig,
    "profiling": config.ProfilingConfig,
    "tokenizer": TokenizerConfig,
    "rerun_state_machine": config.RerunStateMachineConfig,
}
"""Section of Megatron's configuration -> Bridge's class for it. For the model, Megatron's own class is used."""


def carry_over(megatron: Any, rows: Rows, seq_length: int) -> config.ConfigContainer:
    """Make Bridge's container.

    Args:
        megatron: the `PretrainConfigContainer`, from arguments that Megatron has checked.
        rows: the rows to read.
        seq_length: slots of a row.
    """
    sections = {name: _as(kind, getattr(megatron, name)) for name, kind in CLASSES.items()}
    container = config.ConfigContainer(model=megatron.model, dataset=rows, **sections)
    # One switch of Megatron corresponds to two of Bridge.
    container.profiling.use_nsys_profiler &= not container.profiling.use_pytorch_profiler
    # For Megatron this is the longest possible sequence, for Bridge the one that pipeline stages exchange. Bridge also
    # looks for it in the layers' configuration, where only its own classes have it.
    container.model.seq_length = container.model.transformer.seq_length = seq_length
    return container


def _as(kind: type, section: Any) -> Any:
    """Convert a section to Bridge's class: common fields are copied, fields that Bridge adds get their defaults."""
    shared = {item.name for item in fields(kind) if item.init} & {item.name for item in fields(section)}
    return kind(**{name: getattr(section, name) for name in sorted(shared)})
