"""Attention over packed documents for Megatron's local layers, on a CPU and on a GPU.

Transformer Engine's layers bring their own. Megatron's `DotProductAttention` asserts that there are no packs.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn.functional import scaled_dot_product_attention

from ...core.errors import UserError

FUSED = (torch.bfloat16, torch.float16)
"""Data types of torch's kernel for packs, which runs only on GPUs."""
BORDERS = ("query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k")
"""The kernel's parameters in every version of torch."""
CAUSAL: dict[str, Any] = {"window_size": (-1, 0), "is_causal": True}
"""Parameter -> value that makes it causal: the name depends on torch's version."""
GROUPED = "enable_gqa"
"""Its parameter for fewer key/value heads than query heads, where it has one."""


class DocumentAttention(MegatronModule):
    """Causal attention over each document of a pack."""

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
        borders, longest = packed_seq_params.cu_seqlens_q, packed_seq_params.max_seqlen_q
        return attend(query, key, value, cu_seqlens=borders, max_seqlen=longest).flatten(1)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, max_seqlen: int
) -> torch.Tensor:
    """Attend causally within each document, in one kernel if torch has one for this type and device.

    Args:
        query: [tokens, heads, head_dim].
        key: [tokens, key/value heads, head_dim].
        value: as key.
        cu_seqlens: int32 [documents + 1], the documents' borders, from 0.
        max_seqlen: tokens of the longest document.

    Returns:
        As query.
    """
    fused = kernel() if query.is_cuda and query.dtype in FUSED else None
    if fused is None:
        return by_document(query, key, value, cu_seqlens)
    return fused(query, key, value, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen)


def by_document(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Compute `attend` by torch's `scaled_dot_product_attention`, one document after the other."""
    lengths = cu_seqlens.diff().tolist()
    # Split, not sliced: the gradient of a slice is as large as the whole pack.
    documents = zip(*(tensor.split(lengths) for tensor in (query, key, value)), strict=True)
    return torch.cat([_one(*document) for document in documents if len(document[0])])


def _one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend within one document, as in `attend`; on a CPU in FP32, which is faster there than BF16."""
    given = (query, key, value) if query.is_cuda else (query.float(), key.float(), value.float())
    q, k, v = (tensor.transpose(0, 1).unsqueeze(0) for tensor in given)
    output = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return output[0].transpose(0, 1).to(query.dtype)


@cache
def kernel() -> Callable[..., torch.Tensor] | None:
    """torch's kernel for packs, with the signature of `attend`; None if torch has none (before 2.10).

    Raises:
        UserError: its parameters are unknown.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return adapted(varlen_attn)


def adapted(varlen: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    """Adapt any version of torch's `varlen_attn` to the signature of `attend`.

    Raises:
        UserError: its parameters are unknown.
    """
    parameters = inspect.signature(varlen).parameters
    causal = next((name for name in CAUSAL if name in parameters), None)
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    if causal is None or required != list(BORDERS):
        raise UserError(
            f"torch {torch.__version__} has a torch.nn.attention.varlen.varlen_attn with unknown parameters: "
            f"({', '.join(parameters)})",
            where="model.transformer_impl=local",
            allowed=f"{', '.join(BORDERS)}, then {' or '.join(CAUSAL)}",
            fix="install the torch that pyproject.toml names, or Transformer Engine, which replaces this kernel",
        )
    further = {causal: CAUSAL[causal]} | ({GROUPED: True} if GROUPED in parameters else {})

    def fused(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, max_seqlen: int
    ) -> torch.Tensor:
        if GROUPED not in parameters:
            times = query.shape[1] // key.shape[1]
            key, value = (tensor.repeat_interleave(times, 1) for tensor in (key, value))
        return varlen(query, key, value, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **further)

    return fused


def whole_pack(rotary: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Apply Megatron's rotary embedding to a whole pack at once; without Transformer Engine it goes by document.

    Args:
        rotary: `megatron.core.transformer.attention.apply_rotary_pos_emb`.
    """

    def apply(
        t: torch.Tensor, freqs: torch.Tensor, config: Any, cu_seqlens: Any = None, **options: Any
    ) -> torch.Tensor:
        if cu_seqlens is None:
            return rotary(t, freqs, config, **options)
        return rotary(t.unsqueeze(1), freqs[_positions(cu_seqlens, len(t))], config, **options).squeeze(1)

    return apply


def _positions(cu_seqlens: torch.Tensor, tokens: int) -> torch.Tensor:
    """Compute the position of each token in its document, int64 [tokens], without waiting for a GPU."""
    starts = torch.repeat_interleave(cu_seqlens[:-1], cu_seqlens.diff(), output_size=tokens)
    return torch.arange(tokens, device=cu_seqlens.device) - starts
