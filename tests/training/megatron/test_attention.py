"""The local layers' attention and rotary embedding, over packs of documents."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from megatron.core.models.common.embeddings import rope_utils
from megatron.core.packed_seq_params import PackedSeqParams

from pdapt.core.errors import UserError
from pdapt.training.megatron import attention
from pdapt.training.megatron.attention import DocumentAttention, adapted, attend, by_document, kernel, whole_pack

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


Handed = dict[str, Any]


def stand_ins(handed: Handed) -> dict[str, Callable[..., torch.Tensor]]:
    """`varlen_attn` as versions of torch have it, on a CPU: each does what its arguments say, and notes them."""

    def compute(given: Handed, *, causal: bool, grouped: bool) -> torch.Tensor:
        handed.update(given)
        query, key, value, borders = (given[name] for name in ("query", "key", "value", "cu_seq_q"))
        assert grouped or query.shape[1] == key.shape[1], "this version wants as many key/value heads as query heads"
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], 1) for tensor in (key, value))
        number = torch.arange(len(borders) - 1).repeat_interleave(borders.diff().long())
        allowed = number[:, None] == number[None]
        scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[2] ** 0.5
        weights = scores.masked_fill(~(allowed.tril() if causal else allowed), -torch.inf).softmax(-1)
        return torch.einsum("hqk,khd->qhd", weights, value)

    def by_flag(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
        return compute({**locals()}, causal=is_causal, grouped=False)

    def by_window(
        query,
        key,
        value,
        cu_seq_q,
        cu_seq_k,
        max_q,
        max_k,
        *,
        scale=None,
        window_size=(-1, -1),
    ) -> torch.Tensor:
        return compute({**locals()}, causal=window_size == (-1, 0), grouped=False)

    def by_window_grouped(
        query,
        key,
        value,
        cu_seq_q,
        cu_seq_k,
        max_q,
        max_k,
        *,
        window_size=(-1, -1),
        enable_gqa=False,
        num_splits=None,
    ) -> torch.Tensor:
        return compute({**locals()}, causal=window_size == (-1, 0), grouped=enable_gqa)

    return {"is_causal": by_flag, "window_size": by_window, "enable_gqa": by_window_grouped}


@pytest.mark.parametrize("version", ["is_causal", "window_size", "enable_gqa"])
def test_torchs_kernel_is_handed_what_makes_it_the_same(version: str) -> None:
    """The same arguments mean the same attention as the other body's, forward and backward."""
    torch.manual_seed(0)
    handed: Handed = {}
    given = [torch.randn(15, heads, 16, requires_grad=True) for heads in (4, 2, 2)]
    found = adapted(stand_ins(handed)[version])(*given, BORDERS, 9)
    expected = by_document(*given, BORDERS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert handed["cu_seq_q"] is handed["cu_seq_k"] is BORDERS
    assert (handed["max_q"], handed["max_k"]) == (9, 9)
    assert handed["query"] is given[0]
    assert handed["key"].shape[1] == handed["value"].shape[1] == (2 if version == "enable_gqa" else 4)
    weights = torch.randn_like(found)
    gradients = torch.autograd.grad((expected * weights).sum(), given)
    for ours, theirs in zip(torch.autograd.grad((found * weights).sum(), given), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_kernel_of_unknown_parameters_is_refused_by_name() -> None:
    def needing(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, page_table, window_size=(-1, -1)) -> None: ...

    def acausal(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, mask=None) -> None: ...

    for unknown, name in ((needing, "page_table"), (acausal, "mask")):
        with pytest.raises(UserError, match=rf"varlen_attn with unknown parameters: .*{name}"):
            adapted(unknown)


def test_the_installed_torchs_kernel_is_known() -> None:
    kernel.cache_clear()
    assert kernel() is not None


@pytest.mark.parametrize(
    ("cuda", "dtype", "fused"),
    [
        (True, torch.bfloat16, True),
        (True, torch.float16, True),
        (True, torch.float32, False),
        (False, torch.bfloat16, False),
    ],
)
def test_the_kernel_is_for_half_precision_on_gpus(
    cuda: bool, dtype: torch.dtype, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "kernel", lambda: lambda *_, **__: "fused")
    monkeypatch.setattr(attention, "by_document", lambda *_: "by document")
    query: Any = SimpleNamespace(is_cuda=cuda, dtype=dtype)
    found: Any = attend(query, query, query, BORDERS, 9)
    assert found == ("fused" if fused else "by document")
    monkeypatch.setattr(attention, "kernel", lambda: None)  # a torch that has none
    found = attend(query, query, query, BORDERS, 9)
    assert found == "by document"
