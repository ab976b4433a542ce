"""Floating-point operations of a training step, counted as Megatron counts them."""

from .gpus import H100
from .qwen3 import Qwen3Config


def flops_per_step(shape: Qwen3Config, tokens: float, squared_lengths: float) -> float:
    """Operations of one step, forward and backward, as `megatron.training` counts them from core 0.12 on.

    An m x n matrix times an n x k matrix takes 2mnk operations, and there are three such products: one forward, two
    backward.
    Causal attention is counted half, since half of its scores are masked. Sources before core 0.12 count it in full.

    Args:
        shape: shape of the model.
        tokens: real tokens of the step, over all ranks.
        squared_lengths: sum of the squared lengths within which tokens attend to each other: of the documents' pieces
            if masks separate them, else of the sequences.
    """
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer = shape.hidden * (q + 2 * kv) + q * shape.hidden + 3 * shape.hidden * shape.ffn
    products = 6 * tokens * (shape.layers * layer + shape.hidden * shape.vocab)
    return products + 6 * shape.layers * q * squared_lengths


def mfu(flops: float, seconds: float, gpus: int, peak: float = H100.bf16) -> float:
    """Share of the GPUs' peak that a step reaches (model FLOP/s utilization), from 0 to 1.

    Args:
        flops: operations of the step, over all GPUs.
        seconds: time of the step.
        gpus: number of GPUs.
        peak: operations per second of one GPU.
    """
    return flops / (seconds * gpus * peak)
