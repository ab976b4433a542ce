"""The attention of the CPU path.

On a GPU Transformer Engine computes attention over packed documents. Megatron's own `DotProductAttention` cannot
(it asserts that there are none), so the local layer spec gets this module where there is no GPU.
"""

from itertools import pairwise
from typing import Any

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn.functional import scaled_dot_product_attention


class DocumentAttention(MegatronModule):
    """Causal attention over each document of a pack, by torch's `scaled_dot_product_attention`."""

    def __init__(
        self, config: TransformerConfig, layer_number: int, attn_mask_type: Any, attention_type: str, **_: Any
    ):
        super().__init__(config=config)
        del layer_number, attn_mask_type
        assert attention_type == "self"

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        attn_mask_type: Any = None,
        attention_bias: torch.Tensor | None = None,
        packed_seq_params: PackedSeqParams | None = None,
    ) -> torch.Tensor:
        """Attend.

        Args:
            query: [tokens, heads, head_dim] with `packed_seq_params`, else [sequence, batch, heads, head_dim].
            key: as query, with the key/value heads.
            value: as key.
            attention_mask: unused: the mask is causal within each document.
            attn_mask_type: unused, as above.
            attention_bias: must be None.
            packed_seq_params: borders of the documents (`cu_seqlens_q`, [documents + 1]).

        Returns:
            [tokens, heads * head_dim], or [sequence, batch, heads * head_dim].
        """
        del attention_mask, attn_mask_type
        assert attention_bias is None
        if packed_seq_params is None:
            q, k, v = (tensor.permute(1, 2, 0, 3) for tensor in (query, key, value))
            output = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            return output.permute(2, 0, 1, 3).flatten(2)
        borders = packed_seq_params.cu_seqlens_q.tolist()
        return torch.cat([_attend(query[a:b], key[a:b], value[a:b]) for a, b in pairwise(borders) if b > a])


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """One document: [tokens, heads, head_dim] -> [tokens, heads * head_dim]."""
    q, k, v = (tensor.transpose(0, 1).unsqueeze(0) for tensor in (query, key, value))
    output = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return output[0].transpose(0, 1).flatten(1)
