"""FP32 master weights of a checkpoint that was saved with `checkpoint.reshardable=false`.

Such a checkpoint stores the distributed optimizer's state as it lies in memory: for each model-parallel rank, buckets
of all its parameters, the last one first, each at a multiple of 64 values. Where a tensor begins follows from the order
of the model's parameters, which depends on the layer spec. The values read are compared with the parameters that
training computed with, which are the rounded master weights: weights from a wrong place cannot pass.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch

from ..core.errors import UserError, check_known
from ..core.jsonio import JsonObject
from ..core.qwen3 import Qwen3Config
from .distcp_read import Checkpoint
from .tensor_names import EMBEDDING, FC1, FINAL_NORM, HEAD, LAYERS, QKV, layer_shapes, outer_shapes

BUCKETS = "optimizer.distributed."
"""Prefix of the optimizer's state if it was saved by bucket."""
ALIGNED = 64
"""A parameter begins in its bucket at a multiple of this (`pad_param_start` in Megatron's param_layout)."""
_ATTENTION = (QKV, "self_attention.q_layernorm.weight", "self_attention.k_layernorm.weight")
_INPUT_NORM, _MLP_NORM = "self_attention.linear_qkv.layer_norm_weight", "mlp.linear_fc1.layer_norm_weight"
_PROJECTION, _FC2 = "self_attention.linear_proj.weight", "mlp.linear_fc2.weight"
ORDER = {
    "cpu": (_INPUT_NORM, _PROJECTION, *_ATTENTION, _MLP_NORM, FC1, _FC2),
    "gpu": (_PROJECTION, _INPUT_NORM, *_ATTENTION, _MLP_NORM, FC1, _FC2),
}
"""Device of the training -> order of a layer's parameters: the local layer spec's, or Transformer Engine's."""
MOST_RANKS = 2**16
"""Largest TP or PP over which a model may be split."""
_BY_COLUMN = (_PROJECTION, _FC2)
"""Tensors that TP splits along the input; it splits the others, except for norms, along the output."""


@dataclass(frozen=True)
class Block:
    """Rows and columns of a tensor that lie in one piece.

    Attributes:
        rows, columns: the first one, and their number.
        bucket: the flat tensor that holds them.
        begin: index of their first value in it.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    bucket: str
    begin: int


class Masters:
    """Reader of regions of master weights in buckets, under Megatron's names of the parameters."""

    def __init__(self, checkpoint: Checkpoint, shape: Qwen3Config, provenance: JsonObject) -> None:
        """Find where every tensor lies.

        Args:
            checkpoint: a checkpoint that was saved with `checkpoint.reshardable=false`.
            shape: shape of the model.
            provenance: from the checkpoint's record of hashes: how the model was split, and where it was trained.

        Raises:
            UserError: the buckets do not fit such a model, or that record is damaged.
        """
        self.checkpoint, parallel = checkpoint, provenance.object("recipe").object("parallel")
        tp, pp = (parallel.integer(name, minimum=1, maximum=MOST_RANKS) for name in ("tp", "pp"))
        check_known(provenance.text("device"), ORDER, "device", provenance.where)
        order = ORDER[provenance.text("device")]
        self._blocks: dict[tuple[str, int | None], list[Block]] = {}
        for rank in range(tp * pp):
            stage, part = divmod(rank, tp)
            local = list(_parameters(shape, order, stage, pp))
            sizes = [_local_size(shape, name, tp) for name, _ in local]
            for (name, layer), size, (bucket, begin) in zip(local, sizes, self._walk(rank, sizes), strict=True):
                # A norm is whole on every TP rank: its blocks are copies of each other.
                blocks = _blocks(name, size, part=part, tp=tp, bucket=bucket, begin=begin)
                self._blocks.setdefault((name, layer), []).extend(blocks)

    def region(self, name: str, layer: int | None, begin: int, count: int) -> torch.Tensor:
        """Read rows of a tensor (of that layer) in FP32, as whole rows in Megatron's order without TP."""
        blocks = self._blocks[name, layer]
        width = max(block.columns[0] + block.columns[1] for block in blocks)
        whole = torch.empty(count, width)
        for block in blocks:
            low, high = max(begin, block.rows[0]), min(begin + count, block.rows[0] + block.rows[1])
            if low < high:
                columns = block.columns[1]
                first = block.begin + (low - block.rows[0]) * columns
                values = self.checkpoint.region(block.bucket, (first,), ((high - low) * columns,))
                place = whole[low - begin : high - begin, block.columns[0] : block.columns[0] + columns]
                place.copy_(values.view(high - low, columns))
        return whole

    def _walk(self, rank: int, sizes: list[tuple[int, ...]]) -> list[tuple[str, int]]:
        """List bucket and first value of each of a rank's parameters."""
        buckets, number, end = self._of_rank(rank), 0, 0
        places: list[tuple[str, int]] = []
        for size in reversed(sizes):
            if number < len(buckets) and end == self._length(buckets[number]):
                number, end = number + 1, 0
            begin = -(-end // ALIGNED) * ALIGNED
            end = begin + prod(size)
            if number >= len(buckets) or end > self._length(buckets[number]):
                raise self._strange(f"rank {rank}'s buckets are too short")
            places.append((buckets[number], begin))
        if number != len(buckets) - 1 or end != self._length(buckets[-1]):
            raise self._strange(f"rank {rank}'s buckets are too long")
        return places[::-1]

    def _of_rank(self, rank: int) -> list[str]:
        prefix = f"{BUCKETS}dp_group_idx_{rank}.gbuf_idx_0."
        pattern = re.compile(re.escape(prefix) + r".*bucket_idx_(\d{1,9})\.param", re.ASCII)
        flat = (pattern.fullmatch(name) for name, entry in self.checkpoint.entries.items() if len(entry.size) == 1)
        return [match[0] for match in sorted(filter(None, flat), key=lambda match: int(match[1]))]

    def _length(self, bucket: str) -> int:
        return self.checkpoint.entries[bucket].size[0]

    def _strange(self, what: str) -> UserError:
        return UserError(
            f"the order of {self.checkpoint.folder.name}'s master weights is unknown: {what}",
            where=str(self.checkpoint.folder),
            allowed="--from parameters, which are the master weights rounded to the model's precision",
            fix="train one more step with checkpoint.reshardable=true and --stop-at, and export that checkpoint",
        )

    def check(self, masters: torch.Tensor, parameters: torch.Tensor) -> None:
        """Check that master weights, when rounded, are the parameters.

        Raises:
            UserError: they differ: the master weights lie elsewhere.
        """
        if not torch.equal(masters.to(parameters.dtype), parameters):
            raise self._strange("when rounded, they do not equal the parameters")


def _parameters(shape: Qwen3Config, order: tuple[str, ...], stage: int, pp: int) -> Iterator[tuple[str, int | None]]:
    """Yield names and layers of a pipeline stage's parameters, in the model's order."""
    if stage == 0:
        yield EMBEDDING, None
    each = shape.layers // pp
    for layer in range(stage * each, (stage + 1) * each):
        yield from ((LAYERS + name, layer) for name in order)
    if stage == pp - 1:
        yield FINAL_NORM, None
        if not shape.tied or pp > 1:
            yield HEAD, None


def _local_size(shape: Qwen3Config, name: str, tp: int) -> tuple[int, ...]:
    """Shape of a parameter on a TP rank."""
    inner = name.removeprefix(LAYERS)
    whole = {**outer_shapes(shape), HEAD: (shape.vocab, shape.hidden), **layer_shapes(shape)}[inner]
    if len(whole) == 1:
        return whole
    return (whole[0], whole[1] // tp) if inner in _BY_COLUMN else (whole[0] // tp, whole[1])


def _blocks(name: str, size: tuple[int, ...], part: int, tp: int, bucket: str, begin: int) -> Iterator[Block]:
    """Yield the blocks of a TP rank's parameter, with their places in the whole tensor."""
    rows, columns = (size[0], size[1]) if len(size) == 2 else (size[0], 1)
    inner = name.removeprefix(LAYERS)
    if inner in _BY_COLUMN:
        yield Block((0, rows), (part * columns, columns), bucket, begin)
    elif inner == FC1:  # each rank has its rows of the gate, then those of the up projection
        half = rows // 2
        for number in range(2):
            first = number * half * tp + part * half
            yield Block((first, half), (0, columns), bucket, begin + number * half * columns)
    elif len(size) == 1:
        yield Block((0, rows), (0, 1), bucket, begin)
    else:
        yield Block((part * rows, rows), (0, columns), bucket, begin)
