"""The machine's hardware for training: GPUs and their memory, cores, host memory."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import psutil

from ..core.errors import UserError
from ..core.gpus import GIB
from ..core.log import counted
from ..core.system.device import has_gpu

# Run in a process of its own: otherwise torch would stay loaded in this one, beside the ranks that train.
_ASK = (
    "import json, torch; "
    "print(json.dumps([torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count())]))"
)


@dataclass(frozen=True)
class Hardware:
    """One machine.

    Attributes:
        gpus: number of GPUs that can be used; if 0, ranks run on the CPU.
        gpu_gib: memory of the smallest GPU, as PyTorch counts it.
        cores: number of cores that this process may use.
        host_gib: memory of the host.
    """

    gpus: int
    gpu_gib: float
    cores: int
    host_gib: float

    def __str__(self) -> str:
        """The hardware in words for messages."""
        if not self.gpus:
            return f"no GPU, {counted(self.cores, 'CPU core')}, {self.host_gib:.0f} GiB"
        return f"{counted(self.gpus, 'GPU')} of {self.gpu_gib:.0f} GiB"


def this_machine() -> Hardware:
    """Find out what this machine has.

    Raises:
        UserError: NVIDIA's driver is installed, but PyTorch cannot use a GPU.
    """
    memory = _gpu_bytes() if has_gpu() else []
    return Hardware(
        gpus=len(memory),
        gpu_gib=min(memory, default=0) / GIB,
        cores=len(os.sched_getaffinity(0)),
        host_gib=psutil.virtual_memory().total / GIB,
    )


def _gpu_bytes() -> list[int]:
    """Memory of each GPU that PyTorch sees."""
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    sizes = json.loads(done.stdout) if not done.returncode else []
    if not sizes:
        raise UserError(
            "NVIDIA's driver is installed, but PyTorch finds no GPU",
            where=done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "torch.cuda",
            fix="run nvidia-smi to see why, or train on the CPU: CUDA_VISIBLE_DEVICES=''",
        )
    return sizes
