"""The CPU path's attention and rotary embedding, over packs of documents."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from megatron.core.models.common.embeddings import rope_utils
from megatron.core.packed_seq_params import PackedSeqParams

from pdapt.recipes.attention import DocumentAttention, whole_pack

LENGTHS = [5, 1, 0, 9]  # a row may end in borders that enclose nothing
BORDERS = torch.tensor([0, *LENGTHS], dtype=torch.int32).cumsum(0, dtype=torch.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotating_a_whole_pack_is_rotating_each_document(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tensor = torch.randn(15, 4, 16, dtype=dtype)
    freqs = torch.randn(9, 1, 1, 16)  # of as many positions as the longest has
    config: Any = SimpleNamespace(apply_rope_fusion=False, rotary_interleaved=False, multi_latent_attention=False)
    group: Any = SimpleNamespace(size=lambda: 1, rank=lambda: 0)
    expected = rope_utils.apply_rotary_pos_emb(tensor, freqs, config, cu_seqlens=BORDERS, cp_group=group)
    found = whole_pack(rope_utils.apply_rotary_pos_emb)(tensor, freqs, config, cu_seqlens=BORDERS, cp_group=group)
    assert torch.equal(found, expected)
    batch = tensor[:9].unsqueeze(1)
    assert torch.equal(
        whole_pack(rope_utils.apply_rotary_pos_emb)(batch, freqs, config, cp_group=group),
        rope_utils.apply_rotary_pos_emb(batch, freqs, config, cp_group=group),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_stops_at_documents_borders(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(15, heads, 16, dtype=dtype, requires_grad=True) for heads in (4, 2, 2))
    packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=BORDERS, cu_seqlens_kv=BORDERS)
    forward: Any = DocumentAttention.forward
    found = forward(SimpleNamespace(), query, key, value, None, packed_seq_params=packed)
    assert (found.shape, found.dtype) == ((15, 64), dtype)
    document = torch.arange(4).repeat_interleave(torch.tensor(LENGTHS))
    allowed = (document[:, None] == document[None]).tril()
    scores = torch.einsum("qhd,khd->hqk", query.float(), key.float().repeat_interleave(2, 1)) / 4
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    expected = torch.einsum("hqk,khd->qhd", weights, value.float().repeat_interleave(2, 1)).flatten(1)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-2)
    found.sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in (query, key, value))
