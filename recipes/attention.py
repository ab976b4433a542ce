"""The attention of the CPU path.

On a GPU Transformer Engine computes attention over packed documents. Megatron's own `DotProductAttention` cannot
(it asserts that there are none), so the local layer spec gets this module where there is no GPU.
"""

from collections.abc import Callable
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
        lengths = packed_seq_params.cu_seqlens_q.diff().tolist()
        # Split, not sliced: the gradient of a slice is as large as the whole pack.
        documents = zip(*(tensor.split(lengths) for tensor in (query, key, value)), strict=True)
        return torch.cat([_attend(*document) for document in documents if len(document[0])])


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """One document: [tokens, heads, head_dim] -> [tokens, heads * head_dim]. In FP32: faster here than in BF16."""
    q, k, v = (tensor.float().transpose(0, 1).unsqueeze(0) for tensor in (query, key, value))
    output = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return output[0].transpose(0, 1).flatten(1).to(query.dtype)


def whole_pack(rotary: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Megatron's rotary embedding for a pack in one go: without Transformer Engine it takes document by document.

    Args:
        rotary: `megatron.core.transformer.attention.apply_rotary_pos_emb`.
    """

    def apply(
        t: torch.Tensor, freqs: torch.Tensor, config: Any, cu_seqlens: Any = None, **options: Any
    ) -> torch.Tensor:
        if cu_seqlens is None:
            return rotary(t, freqs, config, **options)
        positions = torch.cat([torch.arange(length) for length in cu_seqlens.diff().tolist()])
        return rotary(t.unsqueeze(1), freqs[positions], config, **options).squeeze(1)

    return apply
