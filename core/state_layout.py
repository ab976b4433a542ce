"""Where Megatron keeps a rank's weights, gradients and optimizer state: how many elements, padding included.

As read in megatron-core 0.19.2 (`DistributedOptimizer._compute_per_buffer_param_layout`, `resolve_ddp_bucket_size`) and
compared with what it allocates. Each pipeline chunk has a buffer of its own. In it parameters stand in reverse order,
each beginning at a multiple of 64 elements, in buckets whose ends are multiples of 128 and of the number of shards; the
shards of a rank are an equal part of each bucket. Only the first stage's first chunk is divided into buckets: what all
other chunks have is a single one.
"""

import math
from dataclasses import dataclass
from functools import cache

from .qwen3 import Qwen3Config

START, END = 64, 128
"""Parameters begin, and buckets end, at multiples of so many elements."""


@dataclass(frozen=True)
class States:
    """Elements of a rank.

    Attributes:
        parameters: of its weights.
        buffer: of its buffers of weights and gradients, with padding.
        shard: of the optimizer state that it keeps.
    """

    parameters: int
    buffer: int
    shard: int


@cache
def states(
    shape: Qwen3Config, *, tp: int, pp: int, stage: int, chunks: int = 1, shards: int = 1, rank: int = 0, bucketed: bool
) -> States:
    """Count a rank's elements.

    Args:
        shape: of the model.
        tp: ranks that share each layer.
        pp: pipeline stages; layers are spread evenly.
        stage: of the rank, from 0.
        chunks: parts in which a stage holds its layers.
        shards: ranks that share the optimizer state: DP x CP.
        rank: of the rank among those, from 0.
        bucketed: whether gradients are reduced while the backward pass goes on (`--overlap-grad-reduce`); else every
            chunk has one bucket.
    """
    bucket = max(40_000_000, 1_000_000 * shards) if bucketed else None
    parameters = buffer = shard = 0
    for chunk in range(chunks):
        first, last = stage == 0 and chunk == 0, stage == pp - 1 and chunk == chunks - 1
        sizes = _chunk(shape, tp, shape.layers // (pp * chunks), first=first, last=last)
        # The output layer that is a copy of the embedding, on another stage, has a bucket of its own; so has that one.
        apart = {index for index, here in ((0, first), (len(sizes) - 1, last)) if here and shape.tied and pp > 1}
        length, part = _laid_out(sizes, apart, bucket if first else None, shards=shards, rank=rank)
        parameters, buffer, shard = parameters + sum(sizes), buffer + length, shard + part
    return States(parameters, buffer, shard)


def layer_parameters(shape: Qwen3Config, tp: int) -> int:
    """Elements of a layer on a TP rank."""
    return sum(_layer(shape, tp))


def _layer(shape: Qwen3Config, tp: int) -> list[int]:
    """Elements of each of a layer's parameters on a TP rank. TP splits matrices and repeats norms."""
    q, kv, hidden = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.hidden
    attention = [hidden * q // tp, hidden * (q + 2 * kv) // tp, shape.head_dim, shape.head_dim]
    return [hidden, *attention, hidden, 2 * hidden * shape.ffn // tp, hidden * shape.ffn // tp]


def _chunk(shape: Qwen3Config, tp: int, layers: int, *, first: bool, last: bool) -> list[int]:
    """Elements of a chunk's parameters on a TP rank, in the model's order."""
    table = shape.vocab * shape.hidden // tp
    output = [] if shape.tied and first else [table]  # in one chunk a tied output layer is the embedding itself
    return [
        *([table] if first else []),
        *_layer(shape, tp) * layers,
        *([shape.hidden, *output] if last else []),
    ]


def _laid_out(sizes: list[int], apart: set[int], bucket: int | None, *, shards: int, rank: int) -> tuple[int, int]:
    """Length of the buffer of parameters of such sizes, and how many elements of them are in a rank's shards.

    Args:
        sizes: elements of each parameter.
        apart: indices of those with a bucket of their own.
        bucket: elements at which a bucket is full; None: there is one bucket.
        shards: ranks that share each bucket.
        rank: of the rank among those.
    """
    divisor = math.lcm(shards, END)
    begin = position = part = 0
    inside: list[tuple[int, int]] = []

    def close(end: int) -> int:
        nonlocal part, inside
        length = math.ceil(end / divisor) * divisor - begin
        low = begin + rank * length // shards
        high = begin + (rank + 1) * length // shards
        part += sum(max(0, min(stop, high) - max(start, low)) for start, stop in inside)
        inside = []
        return begin + length

    for index in reversed(range(len(sizes))):
        position = math.ceil(position / START) * START
        if index in apart and inside:
            begin = position = close(position)
        inside.append((position, position + sizes[index]))
        position += sizes[index]
        if index in apart or (bucket is not None and position - begin >= bucket):
            begin = position = close(position)
    if inside:
        begin = close(position)
    return begin, part
