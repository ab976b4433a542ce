"""The settings with which Megatron's own estimates are asked."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.core.qwen3 import Qwen3Config


@pytest.fixture(scope="session")
def megatron_args() -> Callable[..., SimpleNamespace]:
    """Those of Megatron's arguments that its estimates read: `megatron_args(shape, **further)`."""

    def make(shape: Qwen3Config, **further: Any) -> SimpleNamespace:
        absent = ("num_experts", "mtp_num_layers", "moe_ffn_hidden_size", "moe_latent_size", "hybrid_layer_pattern")
        absent += ("moe_shared_expert_intermediate_size", "experimental_attention_variant")
        return SimpleNamespace(
            num_layers=shape.layers,
            hidden_size=shape.hidden,
            ffn_hidden_size=shape.ffn,
            num_attention_heads=shape.heads,
            num_query_groups=shape.kv_heads,
            group_query_attention=True,
            kv_channels=shape.head_dim,
            padded_vocab_size=shape.vocab,
            swiglu=True,
            multi_latent_attention=False,
            **dict.fromkeys(absent),
            **further,
        )

    return make
