"""Seconds of a training step, from the operations, bytes and messages that it consists of.

The time of each operation follows from what limits it: arithmetic for matrix products and attention, the GPU's memory
for element-wise operations, NVLink inside a node and network cards between nodes for collectives. `Constants` says how
much of the data sheet's speeds is reached; all models and settings share them, and `fit.py` fits them.
"""

from dataclasses import dataclass, fields

import numpy as np

from ..core.gpus import H100
from .constants import Constants
from .work import Kernel, Numbers, Work

NVLINK_SHARE = 0.8
"""Share of an H100's NVLink speed that NCCL's rings reach on 8 H100s: 370 GB/s (nccl-tests issue 212)."""
POWER = 0.5
"""Exponent of the power limit in the speed of arithmetic: an assumption, between no influence (0) and proportionality
(1). Only one model has rows with another limit, so a fit would be a fit to that model."""
REFERENCE_YEAR = 2025.0
"""Year of the software for which the shares hold."""
PRODUCTS = 4
"""Number of matrix products in a layer's forward pass: queries, keys and values; attention's output; two in the MLP."""
LOGIT = 20
"""Bytes that are read and written for a logit, forward and backward: BF16 and FP32 copies, maximum, sum, gradient."""
ADAM = 30
"""Bytes that are read and written for a parameter's update: gradient, main weight and both moments in FP32, weight."""


@dataclass(frozen=True)
class Terms:
    """Seconds of a step, by what takes them; their sum is the step.

    Attributes:
        products: matrix products of the layers and of the output layer.
        attention: scores and their products.
        elementwise: norms, activations, rotations, casts, loss.
        tp, cp, pp, dp: communication that does not overlap with computation.
        bubble: waiting times of pipeline stages.
        optimizer: the update, and clearing the gradients.
        other: launches, and what a step does once.
    """

    products: Numbers
    attention: Numbers
    elementwise: Numbers
    tp: Numbers
    cp: Numbers
    pp: Numbers
    bubble: Numbers
    dp: Numbers
    optimizer: Numbers
    other: Numbers

    @property
    def total(self) -> Numbers:
        """Seconds of the whole step."""
        return sum(getattr(self, item.name) for item in fields(self))


def step_time(work: Work, constants: Constants) -> Terms:
    """Predict a step.

    Args:
        work: numbers, or arrays of one length.
        constants: constants from `fit.py`, or a site's.
    """
    stage, output = _stage(work, constants), _output_layer(work, constants)
    # In the steady state every stage waits for the one with most work: the last, which also has the output layer; or,
    # if the output layer counts as layers, any stage that has one layer more than others.
    units = (work.layers + work.vocab * work.hidden / work.layer_parameters) / work.pp
    fullest = np.where((work.balanced == 1) & (work.pp > 1), np.ceil(units) / units, 1)
    stage = {name: seconds * fullest for name, seconds in stage.items()}
    output = {name: seconds * fullest / np.where(work.balanced == 1, work.pp, 1) for name, seconds in output.items()}
    repeated = {name: work.accumulation * (seconds + output.get(name, 0)) for name, seconds in stage.items()}
    stage_seconds = sum(stage.values())
    bubble = (work.pp - 1) / work.chunks * stage_seconds
    dp = _data_parallel(work, constants, stage_seconds + sum(output.values()))
    return Terms(
        **{name: seconds for name, seconds in repeated.items() if name != "launches"},
        bubble=bubble,
        dp=dp,
        optimizer=_optimizer(work, constants),
        other=constants.step + repeated["launches"],
    )


def _stage(work: Work, constants: Constants) -> dict[str, Numbers]:
    """Seconds of a micro-batch in a stage, forward and backward, without the output layer."""
    layers, passes = work.layers / work.pp, 3 + work.recompute
    products = 2 * _tokens(work) * work.layer_parameters / work.tp / _product_speed(work, constants)
    products = products + _product_traffic(work) / (work.memory * constants.memory)
    attention = _attention(work, constants)
    return {
        "products": layers * passes * products,
        "attention": layers * attention,
        "elementwise": layers * _elementwise(work, constants) + _weight_traffic(work, constants),
        "tp": layers * _tensor_parallel(work, constants),
        "cp": layers * _context_parallel(work, attention, constants),
        "pp": _between_stages(work, constants),
        "launches": layers * passes * PRODUCTS * constants.kernel,
    }


def _output_layer(work: Work, constants: Constants) -> dict[str, Numbers]:
    """Seconds of a micro-batch's logits and loss, which are always computed in BF16."""
    logits = _tokens(work) * work.vocab / work.tp
    speed = constants.bf16 * H100.bf16 * _pace(work, constants)
    return {
        "products": 6 * logits * work.hidden / speed,
        "elementwise": LOGIT * logits / _memory_speed(work, constants),
    }


def _tokens(work: Work) -> Numbers:
    """Slots of a micro-batch on a rank."""
    return work.micro * work.seq / work.cp


def _pace(work: Work, constants: Constants) -> Numbers:
    """Speed of arithmetic relative to an H100 at its power limit with software of the reference year."""
    return (work.watts / H100.watts) ** POWER * np.exp(constants.progress * (work.year - REFERENCE_YEAR))


def _product_speed(work: Work, constants: Constants) -> Numbers:
    """Operations a second of matrix products."""
    return np.where(work.fp8 == 1, constants.fp8 * H100.fp8, constants.bf16 * H100.bf16) * _pace(work, constants)


def _product_traffic(work: Work) -> Numbers:
    """Bytes that a layer's products read and write in each of their three passes, in addition to their arithmetic."""
    inputs, outputs = _widths(work)
    size = np.where(work.fp8 == 1, 1.5, 2.0)  # FP8 products write BF16
    return size * (_tokens(work) * (inputs + outputs) + work.layer_parameters) / work.tp


def _widths(work: Work) -> tuple[Numbers, Numbers]:
    """Numbers per token that a layer's products read, and that they write."""
    inputs = 2 * work.hidden + work.q + work.ffn
    outputs = 2 * work.hidden + work.q + 2 * work.kv + (1 + work.gated) * work.ffn
    return inputs, outputs


def _memory_speed(work: Work, constants: Constants) -> Numbers:
    """Bytes per second of element-wise operations; bytes are counted as if fused, so unfused operations are slower."""
    return work.memory * constants.memory / np.where(work.fused == 1, 1.0, constants.unfused)


def _attention(work: Work, constants: Constants) -> Numbers:
    """Seconds of a layer's attention: two products forward, five backward, since the scores are recomputed."""
    operations = 2 * _tokens(work) * work.attended * work.q / work.tp * (3.5 + work.recompute)
    share = np.where(work.attention == Kernel.FLASH_2, constants.attention_2, constants.attention)
    share = np.where(work.attention == Kernel.TRITON, constants.attention_triton, share)
    length = work.attended / work.cp  # CP attends piece by piece
    share = share * length / (length + constants.half_length)
    return operations / (share * H100.bf16 * _pace(work, constants))


def _elementwise(work: Work, constants: Constants) -> Numbers:
    """Seconds of a layer's element-wise operations, by the bytes they read and write, forward and backward.

    In BF16, two norms and two residuals pass 20 times over the hidden state, an activation 8 times over the MLP's width
    if it is gated and else 5 times, and the rotation 4 times over queries and keys. For FP8, each product's inputs and
    gradients are also cast, and cast again transposed.
    """
    size = 2 * (20 * work.hidden + (5 + 3 * work.gated) * work.ffn + 4 * (work.q + work.kv))
    inputs, outputs = _widths(work)
    size = size * (1 + work.recompute / 3) + work.fp8 * 4 * (inputs + outputs)
    return _tokens(work) * size / work.tp / _memory_speed(work, constants)


def _weight_traffic(work: Work, constants: Constants) -> Numbers:
    """Seconds to read and write weights and gradients in a micro-batch, whatever its number of tokens.

    Megatron reads the buffer to which it adds each gradient. FSDP writes each weight when it is gathered and copies it
    into place, and copies each gradient before it is scattered.
    """
    size = np.where(work.gathers > 0, 6 * (work.gathers + 1), work.grad_bytes)
    return size * work.parameters / (work.memory * constants.memory)


def _tensor_parallel(work: Work, constants: Constants) -> Numbers:
    """Seconds of a layer's TP communication that does not overlap: four gathers and four scatters."""
    count = 8 + 4 * work.recompute
    size = 2 * _tokens(work) * work.hidden
    inside = np.minimum(work.tp, work.node)
    seconds = count * (
        _moving(work, constants, size, inside=inside, nodes=work.tp / inside) + constants.kernel * (work.tp > 1)
    )
    return seconds * np.where(work.tp_overlap == 1, constants.tp_exposed, 1.0)


def _context_parallel(work: Work, attention: Numbers, constants: Constants) -> Numbers:
    """Seconds of a layer's exchange of keys and values beyond attention's time: once forward, twice backward."""
    size = 3 * 2 * 2 * work.kv / work.tp * _tokens(work) * (work.cp - 1)
    inside = work.tp * work.cp <= work.node
    speed = np.where(inside, H100.nvlink * NVLINK_SHARE, _own_card(work) * constants.network)
    return np.maximum(0.0, size / speed - attention)


def _own_card(work: Work) -> Numbers:
    """Bytes per second between nodes for each GPU of a node."""
    return work.nics * work.nic / work.node


def _between_stages(work: Work, constants: Constants) -> Numbers:
    """Seconds of a micro-batch's transfers to the next stage and back that do not overlap."""
    size = 2 * 2 * _tokens(work) * work.hidden / work.tp * work.chunks * (work.pp > 1)
    exposed = np.where(work.chunks > 1, constants.pp_exposed, 1.0)
    return exposed * size / (_own_card(work) * constants.network)


def _data_parallel(work: Work, constants: Constants, computing: Numbers) -> Numbers:
    """Seconds to exchange a step's gradients and weights that do not overlap with computation.

    With a distributed optimizer, gradients are scattered during the last micro-batch and weights gathered during the
    first. With FSDP both happen in each micro-batch.
    """
    group = work.dp * work.cp
    sharded = work.gathers > 0
    size = work.parameters * (work.grad_bytes + 2 * np.where(sharded, work.gathers, 1))
    times = np.where(sharded, work.accumulation, 1)
    collectives = work.layers / work.pp * np.where(sharded, work.gathers + 1, 2)
    inside = np.clip(work.node / work.tp, 1, group)  # TP fills a node first
    moving = _moving(work, constants, size, inside=inside, nodes=group / inside)
    exposed = np.where(sharded, constants.fsdp_exposed, constants.dp_exposed)
    exposed = np.where(work.dp_overlap == 1, exposed, 1.0)
    rest = np.maximum(0.0, (1 - exposed) * moving - computing)
    return times * (exposed * moving + rest + collectives * constants.hop * (group - 1))


def _moving(work: Work, constants: Constants, size: Numbers, *, inside: Numbers, nodes: Numbers) -> Numbers:
    """Seconds to gather or scatter `size` bytes among `inside` GPUs of each of `nodes` nodes."""
    between = size * (nodes - 1) / nodes / (inside * _own_card(work) * constants.network)
    within = size * (inside * nodes - 1) / (inside * nodes) / (H100.nvlink * NVLINK_SHARE)
    return np.maximum(between, within)


def _optimizer(work: Work, constants: Constants) -> Numbers:
    """Seconds of the update: Adam reads and writes its states; gradients are cleared, and their norm is computed."""
    shards = work.dp * work.cp
    gradients = np.where(work.gathers > 0, work.parameters / shards, work.parameters)
    size = ADAM * work.parameters / shards + 2 * work.grad_bytes * gradients
    return size / (work.memory * constants.memory)


def speed(work: Work, constants: Constants) -> Numbers:
    """Predict the slots per second per GPU; if sequences are full, these are tokens."""
    return work.slots / work.gpus / step_time(work, constants).total
