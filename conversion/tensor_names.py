"""The place of each of Hugging Face's Qwen3 tensors in a Megatron checkpoint.

Megatron's `torch_dist` names are Transformer Engine's, whatever layer spec was trained: the norms before attention and
MLP belong to the linear layers after them. Layers are stacked in the first dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..core.hf.weights import OUTPUT_LAYER
from ..core.qwen3 import EMBEDDING as HF_EMBEDDING
from ..core.qwen3 import Qwen3Config, hf_shapes

LAYERS = "decoder.layers."
EMBEDDING = "embedding.word_embeddings.weight"
HEAD = "output_layer.weight"
FINAL_NORM = "decoder.final_layernorm.weight"
OUTER = {EMBEDDING: HF_EMBEDDING, FINAL_NORM: "model.norm.weight", HEAD: OUTPUT_LAYER}

QKV = "self_attention.linear_qkv.weight"
FC1 = "mlp.linear_fc1.weight"
# Megatron's name under `decoder.layers.` -> Hugging Face's under `model.layers.N.`, for tensors that are equal.
PLAIN = {
    "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "self_attention.q_layernorm.weight": "self_attn.q_norm.weight",
    "self_attention.k_layernorm.weight": "self_attn.k_norm.weight",
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm.weight",
    "mlp.linear_fc2.weight": "mlp.down_proj.weight",
}
PROJECTIONS = tuple(f"self_attn.{name}_proj.weight" for name in "qkv")
GATED = ("mlp.gate_proj.weight", "mlp.up_proj.weight")
# Modules that save an (empty) extra state per layer, in the local spec or in Transformer Engine's.
EXTRA_STATES = (
    "self_attention.q_layernorm",
    "self_attention.k_layernorm",
    "self_attention.linear_qkv",
    "self_attention.linear_proj",
    "self_attention.core_attention",
    "mlp.linear_fc1",
    "mlp.linear_fc2",
)

Rows = tuple[tuple[int, int], ...]
"""First row and number of rows of each part, in order."""


@dataclass(frozen=True)
class Place:
    """The place of one of Hugging Face's tensors.

    Attributes:
        name: Megatron's tensor.
        layer: index in its first dimension; None if it belongs to no layer.
        rows: rows of the tensor (of that layer), in Hugging Face's order.
    """

    name: str
    layer: int | None
    rows: Rows


def places(shape: Qwen3Config) -> dict[str, Place]:
    """Map Hugging Face's names to places, in the order of Hugging Face's files."""
    inner = _layer_rows(shape)
    layers = {
        f"model.layers.{layer}.{hf}": Place(LAYERS + name, layer, rows)
        for layer in range(shape.layers)
        for hf, (name, rows) in inner.items()
    }
    embedding, norm, head = (
        {OUTER[name]: Place(name, None, ((0, size[0]),))} if name in outer_shapes(shape) else {}
        for name, size in {EMBEDDING: (shape.vocab,), FINAL_NORM: (shape.hidden,), HEAD: (shape.vocab,)}.items()
    )
    return embedding | layers | norm | head


def _layer_rows(shape: Qwen3Config) -> dict[str, tuple[str, Rows]]:
    """Map Hugging Face's tensors of one layer to Megatron's name there, and the rows.

    `linear_qkv` holds, for each key/value head in turn, its query heads, then the key, then the value;
    `linear_fc1` holds the gate above the up projection.
    """
    sizes = layer_shapes(shape)
    head, queries = shape.head_dim, shape.heads // shape.kv_heads * shape.head_dim
    parts = ((0, queries), (queries, head), (queries + head, head))
    groups = [group * (queries + 2 * head) for group in range(shape.kv_heads)]
    rows: dict[str, tuple[str, Rows]] = {
        hf: (QKV, tuple((group + begin, count) for group in groups))
        for hf, (begin, count) in zip(PROJECTIONS, parts, strict=True)
    }
    rows |= {hf: (FC1, ((n * shape.ffn, shape.ffn),)) for n, hf in enumerate(GATED)}
    return rows | {hf: (name, ((0, sizes[name][0]),)) for name, hf in PLAIN.items()}


def layer_shapes(shape: Qwen3Config) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of one layer, by Megatron's name under `decoder.layers.`."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return {
        QKV: (q + 2 * kv, shape.hidden),
        FC1: (2 * shape.ffn, shape.hidden),
        "self_attention.linear_proj.weight": (shape.hidden, q),
        "self_attention.q_layernorm.weight": (shape.head_dim,),
        "self_attention.k_layernorm.weight": (shape.head_dim,),
        "self_attention.linear_qkv.layer_norm_weight": (shape.hidden,),
        "mlp.linear_fc1.layer_norm_weight": (shape.hidden,),
        "mlp.linear_fc2.weight": (shape.hidden, shape.ffn),
    }


def outer_shapes(shape: Qwen3Config) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor that belongs to no layer, by Megatron's name."""
    outer: dict[str, tuple[int, ...]] = {EMBEDDING: (shape.vocab, shape.hidden), FINAL_NORM: (shape.hidden,)}
    return outer if shape.tied else outer | {HEAD: (shape.vocab, shape.hidden)}


def megatron_shapes(shape: Qwen3Config) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a checkpoint's weights, layers stacked."""
    inner = {LAYERS + name: (shape.layers, *size) for name, size in layer_shapes(shape).items()}
    return outer_shapes(shape) | inner


@dataclass(frozen=True)
class Folded:
    """A part of a Megatron tensor, made from Hugging Face's tensors.

    Attributes:
        name: Megatron's tensor.
        layer: layer as in `Place`.
        begin: the part's first row in the tensor (of that layer).
        shape: shape of the part, without the dimension of layers.
        parts: Hugging Face's names, and the rows of the part that each of them fills.
    """

    name: str
    layer: int | None
    begin: int
    shape: tuple[int, ...]
    parts: dict[str, Rows]

    def make(self, get: Callable[[str], torch.Tensor]) -> torch.Tensor:
        """Put the part together; if one tensor is the whole part, it is not copied."""
        if len(self.parts) == 1:
            return get(next(iter(self.parts)))
        tensors = {name: get(name) for name in self.parts}
        whole = torch.empty(self.shape, dtype=next(iter(tensors.values())).dtype)
        for name, rows in self.parts.items():
            for part, (begin, count) in zip(tensors[name].split([n for _, n in rows]), rows, strict=True):
                whole[begin : begin + count] = part
        return whole


def folded(shape: Qwen3Config) -> list[Folded]:
    """List the parts in which a checkpoint's weights are written: as large as possible without copying, else whole."""
    groups: dict[tuple[str, int | None], dict[str, Rows]] = {}
    for hf, place in places(shape).items():
        groups.setdefault((place.name, place.layer), {})[hf] = place.rows
    sizes = hf_shapes(shape)
    written: list[Folded] = []
    for (name, layer), parts in groups.items():
        if all(len(rows) == 1 for rows in parts.values()):
            for hf, rows in parts.items():
                written.append(Folded(name, layer, begin=rows[0][0], shape=sizes[hf], parts={hf: rows}))
        else:
            rows = sum(sizes[hf][0] for hf in parts)
            size = (rows, *sizes[next(iter(parts))][1:])
            written.append(Folded(name, layer, begin=0, shape=size, parts=parts))
    return written
