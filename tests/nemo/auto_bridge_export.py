"""AutoBridge's own export of a checkpoint: `REFERENCE CHECKPOINT OUT`, the first of them a Hugging Face folder."""

import sys
from pathlib import Path
from typing import Any

import torch

from pdapt.training.nemo import bridge


def layers(config: Any, **_: Any) -> Any:
    """Megatron's local layers of a Qwen3: AutoBridge's model asks for Transformer Engine's."""
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec

    return get_gpt_layer_local_spec(qk_layernorm=config.qk_layernorm, normalization=config.normalization)


def main(reference: str, checkpoint: str, out: str) -> None:
    """Load the checkpoint into AutoBridge's model, and have AutoBridge write it as Hugging Face's."""
    bridge.prepare()
    from megatron.bridge import AutoBridge
    from megatron.bridge.training.model_load_save import build_and_load_model, temporary_distributed_context

    auto = AutoBridge.from_hf_pretrained(reference)
    model: Any = auto.to_megatron_provider(load_weights=False)
    model.transformer_impl, model.transformer_layer_spec = "local", layers
    model.use_cpu_initialization, model.perform_initialization = True, False
    model.cross_entropy_fusion_impl = "native"
    for name in ("gradient_accumulation", "masked_softmax", "bias_activation", "bias_dropout", "cross_entropy_loss"):
        setattr(model, f"{name}_fusion", False)
    model.apply_rope_fusion = model.persist_layer_norm = False
    model.bf16, model.params_dtype, model.pipeline_dtype = False, torch.float32, torch.float32
    with temporary_distributed_context(backend="gloo"):
        built: Any = build_and_load_model(checkpoint, model, use_cpu_init=True, skip_temp_dist_context=True)
        auto.save_hf_pretrained(built if isinstance(built, list) else [built], out, show_progress=False)


if __name__ == "__main__":
    main(*map(str, map(Path, sys.argv[1:])))
