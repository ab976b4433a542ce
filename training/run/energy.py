"""Energy use of this rank's GPU, as NVIDIA's management library (NVML) measures it."""

import os
from functools import cache
from typing import Any


@cache
def _device() -> Any:
    """NVML's handle of this rank's GPU; None if there is no NVML or no GPU."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]  # comes with the GPU requirements
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        name = visible[local] if local < len(visible) and visible[local] else str(local)
        if name.isdecimal():
            return pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(name))
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(name)
    except pynvml.NVMLError:
        return None


def joules() -> float | None:
    """Energy that the GPU has used since its driver was loaded; None if it cannot be measured."""
    device = _device()
    if device is None:
        return None
    library, handle = device
    return library.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
