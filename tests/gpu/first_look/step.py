"""The inputs of a step of a first look, and the machine."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from one_run import Training, write_tokens

from pdapt.core.gpus import GIB
from pdapt.recipes.schema import Recipe

GPU = torch.cuda.is_available()
SLACK = 1 if GPU else 8
"""Times each bound in seconds without a GPU: cores differ, and a rehearsal's seconds say nothing."""
VOCABULARY = 4096


@dataclass(frozen=True)
class Step:
    """The inputs of a step.

    Attributes:
        work: folder of all steps.
        end: `time.monotonic()` until which it may take.
        note: writes down what is known so far.
    """

    work: Path
    end: float
    note: Callable[[Any], None]

    def left(self, most: float) -> float:
        """Seconds that one of the step's parts may take, of which a GPU needs at most `most`."""
        return max(1.0, min(most * SLACK, self.end - time.monotonic()))

    def tokens(self) -> Path:
        """The tokens that everything is trained on."""
        folder = self.work / "tokens"
        if not (folder / "tokens.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            write_tokens(folder, VOCABULARY, 4000 if GPU else 200)
        return folder

    def training(self, name: str, recipe: Recipe, *, deterministic: bool = False) -> Training:
        """A run of its own."""
        return Training(recipe, self.tokens(), self.work / name, deterministic)


def gpu_gib() -> float | None:
    """Memory of the GPU, as torch counts it."""
    return torch.cuda.get_device_properties(0).total_memory / GIB if GPU else None
