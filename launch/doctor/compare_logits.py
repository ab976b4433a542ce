"""Compare what transformers and the trainer's model compute from the same weights."""

import tempfile
from pathlib import Path
from typing import Any

from ...conversion.convert import import_hf
from ...core import log
from ...core.qwen3 import read_config
from ...data_prep.tokens.tokenizer import load_tokenizer
from ...training.megatron.parity import measure_checkpoint

TOLERANCE = 1e-5
"""Largest difference of two logits, relative to the largest logit where that is above 1: rounding of FP32."""


def compare(base: Path, text: str) -> dict[str, Any]:
    """Compare logits in FP32 on one text.

    Args:
        base: Hugging Face Qwen3 folder, with its tokenizer.
        text: what both models read.

    Returns:
        `agree`, `max_abs_difference`, `max_abs_logit`, `same_argmax` (fraction of the positions) and `positions`.
    """
    import torch
    from transformers import Qwen3ForCausalLM

    shape = read_config(base)
    ids = next(load_tokenizer(base, shape.vocab).encode([text])).tolist()
    with tempfile.TemporaryDirectory() as folder:
        import_hf(base, Path(folder) / "base")
        log.info("doctor: Megatron's logits")
        ours = measure_checkpoint(Path(folder) / "base", shape, [ids])["logits"]
    log.info("doctor: transformers' logits")
    with torch.no_grad():
        theirs = Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32)(torch.tensor([ids])).logits[0]
    difference, largest = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    return {
        "agree": difference <= TOLERANCE * max(1.0, largest),
        "max_abs_difference": difference,
        "max_abs_logit": largest,
        "same_argmax": (ours.argmax(-1) == theirs.argmax(-1)).float().mean().item(),
        "positions": len(ids),
    }
