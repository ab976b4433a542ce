"""The parts of a training step, as numbers or as arrays of numbers with one element per setting.

The same code prices one recipe, a table of published rows and thousands of candidates of a search.
"""

from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np

from ..core.gpus import H100, NETWORK_CARD
from .model_shapes import Architecture

Numbers = Any
"""A float, or an array of floats with one element per setting."""


class Scaling(StrEnum):
    """Kinds of scaling with more ranks: the same number of sequences per rank (weak), or per step (strong)."""

    WEAK = "weak"
    STRONG = "strong"


class Kernel(IntEnum):
    """Kernels of attention, as `Work.attention` numbers them."""

    TRITON = 0
    FLASH_2 = 1
    FLASH_3 = 2


@dataclass(frozen=True)
class Work:
    """A setting: model, batch, how both are spread, and the hardware. Switches are 0 or 1.

    Attributes:
        layers: decoder layers of the whole model.
        hidden, ffn, q, kv, vocab, gated: as in `Architecture`.
        tied: whether the output layer is the embedding.
        tp, pp, cp, dp: ranks that share a layer, pipeline stages, ranks that share a sequence, copies of the model.
        chunks: number of parts into which each stage divides its layers (interleaving); 1 for none.
        balanced: whether the output layer counts as layers when layers are divided among stages; if not, the last stage
            has it in addition to its share of the layers.
        micro: sequences at once on a rank.
        accumulation: micro-batches of a copy of the model in a step.
        seq: slots of a sequence.
        attended: sum of the squared lengths of the pieces within which tokens attend to each other, divided by the
            number of slots; without masks, the slots of a sequence.
        fp8: whether matrices are multiplied in FP8.
        grad_bytes: bytes of a gradient in its reduction.
        gathers: how often weights are gathered in a micro-batch: 0 with replicated weights, 1 or 2 with FSDP.
        recompute: share of the forward pass that the backward pass repeats.
        dp_overlap: whether gradients and weights are exchanged while the GPU computes.
        tp_overlap: whether TP's communication overlaps with matrix products.
        fused: whether element-wise operations are fused kernels; else PyTorch's own, one after the other.
        attention: a `Kernel`: Triton's, with the linear biases of MPT; FlashAttention 2; cuDNN's or FlashAttention 3.
        year: year of the software.
        watts: power limit of a GPU.
        memory: bytes per second of a GPU's memory, by its data sheet.
        node: GPUs of a node.
        nics: network cards of a node.
        nic: bytes per second of a network card.
    """

    layers: Numbers
    hidden: Numbers
    ffn: Numbers
    q: Numbers
    kv: Numbers
    vocab: Numbers
    gated: Numbers
    tied: Numbers
    tp: Numbers
    pp: Numbers
    cp: Numbers
    dp: Numbers
    chunks: Numbers
    micro: Numbers
    accumulation: Numbers
    seq: Numbers
    attended: Numbers
    balanced: Numbers = 0
    fp8: Numbers = 0
    grad_bytes: Numbers = 4
    gathers: Numbers = 0
    recompute: Numbers = 0
    dp_overlap: Numbers = 1
    tp_overlap: Numbers = 0
    fused: Numbers = 1
    attention: Numbers = Kernel.FLASH_3
    year: Numbers = 2025.5
    watts: Numbers = H100.watts
    memory: Numbers = H100.bandwidth
    node: Numbers = H100.node
    nics: Numbers = H100.node
    nic: Numbers = NETWORK_CARD

    @property
    def gpus(self) -> Numbers:
        """GPUs of the whole run."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def slots(self) -> Numbers:
        """Slots of a step, over all GPUs."""
        return self.micro * self.seq * self.accumulation * self.dp

    @property
    def layer_parameters(self) -> Numbers:
        """Parameters of a layer's matrices."""
        return self.hidden * (2 * self.q + 2 * self.kv + (2 + self.gated) * self.ffn)

    @property
    def model_parameters(self) -> Numbers:
        """Parameters of the whole model's matrices."""
        return self.layers * self.layer_parameters + self.vocab * self.hidden * np.where(self.tied == 1, 1, 2)

    @property
    def parameters(self) -> Numbers:
        """Parameters of a rank in the stage that holds most."""
        tables = self.vocab * self.hidden * np.where((self.pp > 1) | (self.tied == 1), 1, 2)
        return (self.layers / self.pp * self.layer_parameters + tables) / self.tp

    @property
    def bytes(self) -> Numbers:
        """Least memory of a rank: BF16 weights, gradients, Adam's states, activations, logits.

        It is computed for a pipeline's first stage, which holds the activations of as many micro-batches as there are
        stages. Recomputed activations are not kept, except for the inputs of their layers.
        """
        sharded = np.where(self.gathers > 0, self.dp * self.cp, 1)
        states = self.parameters * ((2 + self.grad_bytes) / sharded + 12 / (self.dp * self.cp))
        split = 2 * (2 * self.q + 2 * self.kv) + 2 * (self.q + self.kv) + 2 * (1 + 2 * self.gated) * self.ffn
        tokens = self.micro * self.seq / self.cp
        kept = (1 - self.recompute) * (8 * self.hidden + split) + self.recompute * 2 * self.hidden
        activations = tokens * self.layers * kept / self.tp
        return states + activations + np.where(self.pp > 1, 0, 10 * tokens * self.vocab / self.tp)

    @property
    def flops(self) -> Numbers:
        """Operations of a step, forward and backward, causal attention counted half."""
        matrices = self.layers * self.layer_parameters + self.hidden * self.vocab
        return 6 * self.slots * (matrices + self.layers * self.q * self.attended)


def of_architecture(shape: Architecture) -> dict[str, float]:
    """The part of a `Work` that follows from the model's shape."""
    names = ("layers", "hidden", "ffn", "q", "kv", "vocab", "gated", "tied")
    return {name: float(getattr(shape, name)) for name in names}


def stack(works: list[Work]) -> Work:
    """Combine settings into one `Work` of arrays."""
    return Work(**{item.name: np.array([getattr(w, item.name) for w in works], dtype=float) for item in fields(Work)})
