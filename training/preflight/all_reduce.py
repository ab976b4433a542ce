"""One all-reduce among all ranks: its correctness and its speed."""

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

PATIENCE = 30.0
"""Seconds for the ranks to connect and for each all-reduce; a thousand NCCL ranks connect in about ten."""
REPEATS = 3
"""All-reduces, of which the fastest counts: the first makes connections, and a busy core can delay any of them."""


@dataclass(frozen=True)
class Bound:
    """The all-reduce that is expected.

    Attributes:
        backend: the backend of torch.distributed.
        size: bytes that are reduced: so many that the bandwidth decides, not the latency.
        least: bytes per second below which no run begins; NCCL's "bus bandwidth", 2 (n - 1) / n of the size per round.
        reason: what a lower value means.
    """

    backend: str
    size: int
    least: float
    reason: str


NCCL = Bound("nccl", 64 * 2**20, 1e9, "slower than 10 Gbit/s Ethernet: NCCL does not use the training network")
GLOO = Bound("gloo", 4 * 2**20, 5e6, "slower than 100 Mbit/s Ethernet: steps would wait for their gradients")


def bound() -> Bound:
    """The bound for this machine."""
    import torch

    return NCCL if torch.cuda.is_available() else GLOO


def measure(store: Any, expected: Bound) -> float:
    """Perform the all-reduce over all ranks, and return the seconds of the fastest round.

    Args:
        store: the store in which the ranks find each other.
        expected: size and backend of the all-reduce.

    Raises:
        RuntimeError: the sum is wrong, or a rank does not answer.
    """
    import torch
    import torch.distributed as dist

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = torch.device("cpu")
    if expected.backend == "nccl":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    patience = timedelta(seconds=PATIENCE)
    dist.init_process_group(expected.backend, store=store, rank=rank, world_size=size, timeout=patience)
    try:
        rounds = []
        for _ in range(REPEATS):
            values = torch.full((expected.size // 4,), rank + 1, dtype=torch.float32, device=device)
            begin = time.perf_counter()
            dist.all_reduce(values)
            ends = values[0].item(), values[-1].item()  # on a GPU, this waits for the result
            rounds.append(time.perf_counter() - begin)
            if ends != (size * (size + 1) / 2,) * 2:
                raise RuntimeError(f"the sum of 1 to {size} is wrong: {ends[0]:g}")
    finally:
        dist.destroy_process_group()
    return min(rounds)


def bandwidth(expected: Bound, seconds: float, ranks: int) -> float:
    """Bytes a second of an all-reduce among `ranks`, of which there are two or more."""
    return 2 * (ranks - 1) / ranks * expected.size / seconds
