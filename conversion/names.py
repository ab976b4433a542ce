"""Where each Qwen3 tensor of Hugging Face lives in a Megatron checkpoint, and how it is folded there.

Megatron's `torch_dist` names are Transformer Engine's whatever layer spec was trained: the norms before attention and
MLP belong to the linear layers that follow them. Layers are stacked in the first dimension.
"""

from collections.abc import Mapping

import torch

from ..core.qwen3 import Qwen3Config

EMBEDDING = "embedding.word_embeddings.weight"
HEAD = "output_layer.weight"
FINAL_NORM = "decoder.final_layernorm.weight"

QKV = "self_attention.linear_qkv.weight"
FC1 = "mlp.linear_fc1.weight"
# Megatron's name under `decoder.layers.` -> Hugging Face's under `model.layers.N.`, for tensors that are alike.
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
# Modules that save an (empty) extra state a layer, in the local spec or in Transformer Engine's.
EXTRA_STATES = (
    "self_attention.q_layernorm",
    "self_attention.k_layernorm",
    "self_attention.linear_qkv",
    "self_attention.linear_proj",
    "self_attention.core_attention",
    "mlp.linear_fc1",
    "mlp.linear_fc2",
)


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


def hf_shapes(shape: Qwen3Config) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of the Hugging Face model, by its name there."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    inner = layer_shapes(shape)
    layer = {hf: inner[mcore] for mcore, hf in PLAIN.items()}
    layer |= dict(zip(PROJECTIONS, ((q, shape.hidden), (kv, shape.hidden), (kv, shape.hidden)), strict=True))
    layer |= dict.fromkeys(GATED, (shape.ffn, shape.hidden))
    shapes = {f"model.layers.{n}.{name}": size for n in range(shape.layers) for name, size in layer.items()}
    return shapes | {OUTER[name]: size for name, size in outer_shapes(shape).items()}


OUTER = {EMBEDDING: "model.embed_tokens.weight", FINAL_NORM: "model.norm.weight", HEAD: "lm_head.weight"}


def fold_layer(tensors: Mapping[str, torch.Tensor], shape: Qwen3Config) -> dict[str, torch.Tensor]:
    """One layer from Hugging Face's names to Megatron's.

    `linear_qkv` holds, for each key/value head in turn, its query heads, then the key, then the value;
    `linear_fc1` holds the gate above the up projection.
    """
    q, k, v = (tensors[name].view(shape.kv_heads, -1, shape.hidden) for name in PROJECTIONS)
    folded = {mcore: tensors[hf] for mcore, hf in PLAIN.items()}
    folded[QKV] = torch.cat([q, k, v], dim=1).reshape(-1, shape.hidden)
    folded[FC1] = torch.cat([tensors[name] for name in GATED])
    return folded


def unfold_layer(tensors: Mapping[str, torch.Tensor], shape: Qwen3Config) -> dict[str, torch.Tensor]:
    """One layer from Megatron's names to Hugging Face's: `fold_layer` undone."""
    group = shape.heads // shape.kv_heads * shape.head_dim
    qkv = tensors[QKV].view(shape.kv_heads, -1, shape.hidden)
    parts = qkv.split([group, shape.head_dim, shape.head_dim], dim=1)
    unfolded = {hf: tensors[mcore] for mcore, hf in PLAIN.items()}
    unfolded |= {name: part.reshape(-1, shape.hidden) for name, part in zip(PROJECTIONS, parts, strict=True)}
    unfolded |= dict(zip(GATED, tensors[FC1].chunk(2), strict=True))
    return unfolded
