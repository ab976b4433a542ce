"""Prediction of the memory that training takes on a GPU, and on the host while a checkpoint is saved.

Adam with FP32 main weights in Megatron's distributed optimizer, Transformer Engine's layers with flash attention, and
the native fused cross-entropy. The states are those that `state_layout` counts, which is what Megatron allocates. None
of this has been measured with Qwen3 on a GPU. It has been compared with the logs of two published runs
(NVIDIA/dgxc-benchmarking v25.04: Llama 3.1 8B, Nemotron-4 15B): the states are within 1 %, and the peaks are 3 and 5 %
above the formula, which `PEAK` covers. A GB is 10^9 bytes.
"""

from dataclasses import dataclass

from .gpus import GIB, H100
from .qwen3 import Qwen3Config
from .state_layout import layer_parameters, states

WEIGHT, MOMENTS = 2, 12
"""Bytes per parameter: of the BF16 weight; of the FP32 main weight with Adam's two moments."""
WHOLE_WEIGHT, WHOLE_MOMENTS = 4, 8
"""The same if training is in FP32 throughout, where the weight is the main weight."""
FP8_WEIGHT = 2
"""Bytes per parameter of a layer in FP8: the cast weight and its transpose, kept by Transformer Engine for a step."""
GRADIENT = {"fp32": 4, "bf16": 2}
"""`optimizer.grads` -> bytes per parameter."""
LOGIT = 10
"""Bytes per logit at the peak: BF16, the FP32 copy, and the gradient in both."""
CONTEXT = 3.5e9
"""CUDA's context, NCCL's buffers and other memory that PyTorch's allocator does not count: 3 to 4 GB were logged."""
PEAK = 1.07
"""Ratio of the allocated peak to the formula: 1.026 and 1.048 in the two published runs, rounded up."""
HEADROOM = 0.1
"""Share of a GPU that is kept free for the allocator's fragmentation and for prediction errors: pdapt's choice."""
PCIE = 25e9
"""Bytes per second from a GPU to host memory: an assumption, 40 % of the speed of PCIe 5.0 x16 (63 GB/s)."""
FILE_SYSTEM = 2e9
"""Bytes per second that a node writes to the shared file system: an assumption, to be replaced by a measurement."""


@dataclass(frozen=True)
class GpuMemory:
    """Bytes on the GPU that needs most, at its peak; all but `context` as the formulas give them, without `PEAK`.

    Attributes:
        weights: weights, with the padding of Megatron's buffers.
        gradients: gradients, with the same padding.
        optimizer: main weights and moments of the GPU's shards.
        activations: activations that the forward pass keeps for the backward pass.
        logits: logits of the output layer.
        buffers: weights in FP8; with Megatron-FSDP the gathered layers; with recomputation the layer in progress.
        context: memory that PyTorch does not allocate.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    buffers: float = 0
    context: float = CONTEXT

    @property
    def states(self) -> float:
        """Bytes that stay from step to step."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """Bytes that the GPU is predicted to need."""
        return PEAK * (self.states + self.activations + self.logits + self.buffers) + self.context


def gpu_memory(
    shape: Qwen3Config,
    *,
    dp: int,
    tp: int,
    pp: int,
    cp: int,
    sp: bool,
    micro_batch: int,
    seq_length: int,
    grads: str,
    fsdp: bool = False,
    chunks: int = 1,
    recompute: bool = False,
    fp8: bool = False,
    precision: str = "bf16",
) -> GpuMemory:
    """Predict the memory of the GPU that needs most: one of the first pipeline stage or one of the last.

    In the 1F1B schedule the first stage holds the activations of `pp` micro-batches, and with interleaving some more
    (Narayanan et al. 2021, arXiv:2104.04473); the last stage holds those of one micro-batch, and the logits.

    Args:
        shape: shape of the model.
        dp: copies of the model.
        tp: GPUs that share each layer.
        pp: pipeline stages; layers are spread evenly.
        cp: GPUs that share a sequence; the states are sharded over DP x CP.
        sp: sequence parallelism: what TP does not split is split along the sequence.
        micro_batch: sequences at once.
        seq_length: slots of a sequence.
        grads: `fp32` or `bf16`.
        fsdp: Megatron-FSDP: weights and gradients are sharded as well; two layers and the vocabulary are gathered.
        chunks: number of parts into which each stage divides its layers (interleaving); 1 for none.
        recompute: each layer keeps only its input, and the backward pass recomputes the rest.
        fp8: matrix products in FP8.
        precision: precision of weights and activations: `bf16` or `fp32`.
    """
    tokens, width = micro_batch * seq_length / cp, 1 if precision == "bf16" else 2
    layer = width * tokens * _layer_activations(shape, tp, sp)
    kept = width * tokens * 2 * shape.hidden / (tp if sp else 1) if recompute else layer
    buffers = layer if recompute else 0.0
    if fp8:
        buffers += FP8_WEIGHT * shape.layers / pp * layer_parameters(shape, tp)
    if fsdp and dp * cp > 1:
        buffers += (WEIGHT + GRADIENT[grads]) * (2 * layer_parameters(shape, tp) + shape.vocab * shape.hidden / tp)

    def of_stage(stage: int, activations: float, logits: float) -> GpuMemory:
        elements = states(shape, tp=tp, pp=pp, stage=stage, chunks=chunks, shards=dp * cp, bucketed=dp > 1)
        held = elements.parameters / (dp * cp) if fsdp else elements.buffer
        weight, moments = (WEIGHT, MOMENTS) if precision == "bf16" else (WHOLE_WEIGHT, WHOLE_MOMENTS)
        return GpuMemory(
            weights=weight * held,
            gradients=GRADIENT[grads] * held,
            optimizer=moments * elements.shard,
            activations=activations,
            logits=logits,
            buffers=buffers,
        )

    activations = kept * shape.layers / pp
    last = of_stage(pp - 1, activations, LOGIT * tokens * shape.vocab / tp)
    if pp == 1:
        return last
    in_flight = pp * (1 + (pp - 1) / (pp * chunks)) if chunks > 1 else pp
    return max(last, of_stage(0, in_flight * activations, 0.0), key=lambda memory: memory.total)


def fits(memory: GpuMemory, capacity: float = H100.usable_gib * GIB) -> bool:
    """Whether a GPU with `capacity` bytes has enough memory, with `HEADROOM` left free."""
    return memory.total <= (1 - HEADROOM) * capacity


@dataclass(frozen=True)
class HostMemory:
    """Bytes that a save holds in host memory in addition to training's own.

    Attributes:
        gathered: bytes in each rank: the optimizer state of its whole model-parallel shard, if it is gathered.
        share: bytes in each rank: the part of the checkpoint that it writes.
        ranks_per_node: ranks of a node.
    """

    gathered: float
    share: float
    ranks_per_node: int

    @property
    def rank(self) -> float:
        """Bytes for each rank."""
        return self.gathered + self.share

    @property
    def node(self) -> float:
        """Bytes for each node."""
        return self.ranks_per_node * self.rank


def host_memory(shape: Qwen3Config, *, dp: int, tp: int, pp: int, ranks_per_node: int, reshardable: bool) -> HostMemory:
    """Predict what a save of `torch_dist` holds in host memory, from the code of megatron-core 0.19.2.

    The copies of the model write disjoint parts. Each rank copies its whole part to the host before it writes, in a
    synchronous save (`AsyncRequest.execute_sync`) as in an asynchronous one, where the writing process holds it. For a
    fully reshardable save, each rank first gathers the optimizer state of its whole model-parallel shard, and clones
    the part that it writes.

    Args:
        shape: shape of the model.
        dp: copies of the model, times CP.
        tp: GPUs that share each layer.
        pp: pipeline stages.
        ranks_per_node: ranks of a node.
        reshardable: `checkpoint.reshardable`.
    """
    parameters = states(shape, tp=tp, pp=pp, stage=pp - 1, bucketed=False).parameters
    return HostMemory(
        gathered=MOMENTS * parameters if reshardable else 0,
        share=(WEIGHT + MOMENTS) * parameters / dp,
        ranks_per_node=ranks_per_node,
    )


def save_stall_seconds(
    memory: HostMemory, *, asynchronous: bool, pcie: float = PCIE, file_system: float = FILE_SYSTEM
) -> float:
    """Predict the seconds for which a save stalls training: the copies to the host and, if synchronous, the writing.

    Args:
        memory: memory from `host_memory`.
        asynchronous: `checkpoint.asynchronous`: training continues as soon as the copy is made.
        pcie: bytes per second from a GPU to the host; each GPU has its own link.
        file_system: bytes per second that a node writes; its ranks share this.
    """
    copied = memory.rank / pcie
    return copied if asynchronous else copied + memory.ranks_per_node * memory.share / file_system


def _layer_activations(shape: Qwen3Config, tp: int, sp: bool) -> float:
    """Bytes per token and layer that the forward pass keeps for the backward pass, in BF16.

    TP does not split the inputs and outputs of both norms (8h). It splits queries, keys and values as projected
    (q + 2 kv), queries and keys as rotated (q + kv), attention's output (q), the MLP's halves and their product (3f).
    """
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    split = 2 * (q + 2 * kv) + 2 * (q + kv) + 2 * q + 6 * shape.ffn
    return 8 * shape.hidden / (tp if sp else 1) + split / tp
