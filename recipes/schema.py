"""What a recipe may say. Every field is read; its comment says what it decides and in which unit."""

from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import MISSING

from ..core.qwen3 import SIZES, Qwen3Config
from ..data_prep.layouts import CONCAT, PACKED

SAVED = {"bf16": "bfloat16", "fp32": "float32"}
"""model.precision -> type of the weights that training saves."""


@dataclass
class Shape:
    """A Qwen3 of any size, for models that are not one of the published four (see `core.qwen3.Qwen3Config`)."""

    layers: int = MISSING
    hidden: int = MISSING
    ffn: int = MISSING
    heads: int = MISSING
    kv_heads: int = MISSING
    head_dim: int = MISSING
    vocab: int = MISSING
    tied: bool = MISSING
    max_positions: int = 32_768
    rope_base: float = 1_000_000
    norm_eps: float = 1e-6


@dataclass
class Model:
    """Which model: one of the published sizes, or a shape."""

    size: str | None = None  # 0p6b, 1p7b, 4b, 8b
    shape: Shape | None = None
    precision: str = "bf16"  # bf16 (weights and activations; main weights and gradients in FP32) or fp32
    init_std: float = 0.02  # only where training starts from random weights


COMMERCIAL, RESEARCH = "commercial", "research"
EDITIONS = (COMMERCIAL, RESEARCH)
"""What may be used commercially, and everything."""


@dataclass
class Part:
    """A part of the blend: the data sets that match all of this and no part before it."""

    sources: list[str] = field(default_factory=lambda: ["*"])  # names of sources, as glob patterns
    document_types: list[str] = field(default_factory=lambda: ["*"])  # as glob patterns
    edition: str | None = None  # commercial: of these only what may be used commercially; research: all, as without
    weight: float | None = None  # share of the real tokens, to the other parts' weights; all parts have one, or none
    max_epochs: float | None = None  # none of its data sets is read more often; the others fill up


@dataclass
class Data:
    """How tokens become batches."""

    seq_length: int = 2048  # slots of a sequence
    layout: str = PACKED  # packed, concat or paper: see data_prep/layouts.py
    document_masks: bool | None = None  # attention and positions stop at a document's border; only concat has a choice
    blend: list[Part] = field(default_factory=lambda: [Part()])  # without weights, all are read equally often


@dataclass
class Parallel:
    """How the model and the batch are spread. DP is what is left: ranks / (TP x PP)."""

    nodes: int = 1
    ranks_per_node: int = 1  # GPUs of a node, or gloo processes where there is none
    tp: int = 1
    pp: int = 1


@dataclass
class Batch:
    """Sequences a step, over all ranks, and at once on one rank."""

    global_size: int = MISSING
    micro_size: int = 1


@dataclass
class Optimizer:
    """AdamW at a constant learning rate, as in the paper."""

    lr: float = 2e-5
    warmup_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip: float = 1.0  # norm of the whole gradient


@dataclass
class Checkpoint:
    """When and how the state is saved."""

    every: int = 720  # steps
    # false: another DP may resume. true: another TP or PP too, for 12 bytes a parameter of host memory at each save.
    reshardable: bool = False


@dataclass
class Validation:
    """Loss on held-out sequences during training: the same ones every time."""

    every: int = 180  # steps
    batches: int = 4  # global batches


@dataclass
class Job:
    """What Slurm is asked for."""

    time: str = "20:00:00"  # hours:minutes:seconds
    cpus_per_rank: int = 16
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None


@dataclass
class Recipe:
    """One training run, whole."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    parallel: Parallel = field(default_factory=Parallel)
    batch: Batch = field(default_factory=Batch)
    optimizer: Optimizer = field(default_factory=Optimizer)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    validation: Validation = field(default_factory=Validation)
    job: Job = field(default_factory=Job)
    steps: int = MISSING
    seed: int = 0
    megatron: dict[str, Any] = field(default_factory=dict)  # further Megatron arguments, name without dashes: value


def shape_of(recipe: Recipe) -> Qwen3Config:
    """The model's shape: a published size or the recipe's own."""
    if recipe.model.shape is not None:
        return Qwen3Config(**asdict(recipe.model.shape))
    assert recipe.model.size is not None
    return SIZES[recipe.model.size]


def masked(data: Data) -> bool:
    """Whether documents of one sequence are told apart by masks: always if packed, never in the paper's layout."""
    return data.layout == PACKED or (data.layout == CONCAT and data.document_masks is not False)


def world_size(recipe: Recipe) -> int:
    """Number of ranks of the whole run."""
    return recipe.parallel.nodes * recipe.parallel.ranks_per_node


def data_parallel(recipe: Recipe) -> int:
    """Number of copies of the model (DP)."""
    return world_size(recipe) // (recipe.parallel.tp * recipe.parallel.pp)
