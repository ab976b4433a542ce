"""Numbers of elements of a rank's weights, gradients and optimizer state in Megatron, padding included.

From the code of megatron-core 0.19.2 (`DistributedOptimizer._compute_per_buffer_param_layout`,
`resolve_ddp_bucket_size`), and compared with what it allocates. Each pipeline chunk has its own buffer. In it the
parameters stand in reverse order, each beginning at a multiple of 64 elements, in buckets whose ends are multiples of
128 and of the number of shards; a rank's shards are an equal part of each bucket. Only the first stage's first chunk is
divided into buckets; every other chunk is a single bucket.
"""

import math
from dataclasses import dataclass
from functools import cache

from .qwen3 import Qwen3Config

START, END = 64, 128
"""Parameters begin, and buckets end, at multiples of this number of elements."""


@dataclass(frozen=True)
class States:
    """Numbers of elements of a rank.

    Attributes:
        parameters: elements of its weights.
        buffer: elements of its buffers of weights and gradients, with padding.
        shard: elements of the optimizer state that it keeps.
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
        shape: shape of the model.
        tp: ranks that share each layer.
        pp: pipeline stages; layers are divided evenly.
        stage: the rank's stage, from 0.
        chunks: number of parts into which a stage divides its layers.
        shards: ranks that share the optimizer state: DP x CP.
        rank: the rank's number among those, from 0.
        bucketed: whether gradients are reduced during the backward pass (`--overlap-grad-reduce`); if not, every chunk
            has one bucket.
    """
    bucket = max(40_000_000, 1_000_000 * shards) if bucketed else None
    parameters = buffer = shard = 0
    for chunk in range(chunks):
        first, last = stage == 0 and chunk == 0, stage == pp - 1 and chunk == chunks - 1
        sizes = _chunk(shape, tp, shape.layers // (pp * chunks), first=first, last=last)
        # An output layer that is a copy of the embedding on another stage has its own bucket; so has that embedding.
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
    """Compute the length of the buffer for parameters of these sizes, and how many elements are in a rank's shards.

    Args:
        sizes: elements of each parameter.
        apart: indices of the parameters with a bucket of their own.
        bucket: number of elements at which a bucket is full; None for a single bucket.
        shards: ranks that share each bucket.
        rank: the rank's number among those.
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
