"""Logits, loss and gradients of packs, from the model that the trainer builds: on the GPU where torch sees one.

`python measure.py JOB OUT.safetensors`, in one process. JOB: `{"arguments": [...], "packs": [[[id, ...], ...], ...]}`:
Megatron's command line, and each pack's documents. Tensors of pack N are `N.logits`, `N.loss` and `N.grad.<name>`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pdapt.core.files import read_json
from pdapt.training.megatron.parity import build, measure


def measure_pack(model: Any, documents: list[list[int]]) -> dict[str, torch.Tensor]:
    """The results of `megatron.parity.measure` on one pack, on the CPU, under the names of the bare model."""
    model.zero_grad(set_to_none=True)
    ids = torch.tensor([token for document in documents for token in document])
    found = measure(model, ids, [len(document) for document in documents])
    # With BF16 the model is inside Megatron's Float16Module.
    return {name.replace("grad.module.", "grad."): tensor.detach().cpu().clone() for name, tensor in found.items()}


def main() -> None:
    """Measure the job's packs."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1")
    job, out = read_json(Path(sys.argv[1])), sys.argv[2]
    model = build(job["arguments"])
    found = {}
    for number, documents in enumerate(job["packs"]):
        found |= {f"{number}.{name}": tensor for name, tensor in measure_pack(model, documents).items()}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, out)


if __name__ == "__main__":
    main()
