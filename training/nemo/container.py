"""Megatron-Bridge's `ConfigContainer` of a recipe: Megatron's own configuration, carried over field by field.

Bridge's classes are Megatron's with fields of their own: whatever a recipe becomes under Megatron it becomes here, too.
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
"""Section of Megatron's configuration -> Bridge's class of it. The model's is Megatron's own."""


def carry_over(megatron: Any, rows: Rows, seq_length: int) -> config.ConfigContainer:
    """Make Bridge's container.

    Args:
        megatron: the `PretrainConfigContainer`, of arguments that Megatron has checked.
        rows: what is read.
        seq_length: slots of a row.
    """
    sections = {name: _as(kind, getattr(megatron, name)) for name, kind in CLASSES.items()}
    container = config.ConfigContainer(model=megatron.model, dataset=rows, **sections)
    # Megatron's one switch is Bridge's two.
    container.profiling.use_nsys_profiler &= not container.profiling.use_pytorch_profiler
    # To Megatron this is the longest sequence there may be, to Bridge the one that pipeline stages exchange. It looks
    # for it in the layers' configuration, too, where only its own classes have it.
    container.model.seq_length = container.model.transformer.seq_length = seq_length
    return container


def _as(kind: type, section: Any) -> Any:
    """A section as Bridge's class: what both have is the same, what Bridge adds has its default."""
    shared = {item.name for item in fields(kind) if item.init} & {item.name for item in fields(section)}
    return kind(**{name: getattr(section, name) for name in sorted(shared)})
