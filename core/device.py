"""Whether this machine has a GPU, told without loading torch."""

import os
from pathlib import Path

DRIVER = Path("/dev/nvidiactl")
"""Is there where NVIDIA's driver is loaded."""


def has_gpu() -> bool:
    """Whether NVIDIA's driver is there, and its GPUs are not hidden."""
    return DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") != ""
