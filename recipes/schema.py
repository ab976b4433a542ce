"""The keys of a recipe. Every field is used; its comment says what it decides, and in which unit."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

from ..core.gpus import H100
from ..core.log import counted
from ..core.qwen3 import SIZES, Qwen3Config
from ..core.slurm import SlurmOptions
from ..core.system.device import has_gpu, has_transformer_engine
from ..data_prep.tokens.layouts import Layout

SAVED = {"bf16": "bfloat16", "fp32": "float32"}
"""model.precision -> type of the weights that training saves."""


class Layers(StrEnum):
    """Implementations of the model's layers, by Megatron's names; `auto` chooses by what is installed."""

    AUTO = "auto"
    TRANSFORMER_ENGINE = "transformer_engine"
    LOCAL = "local"


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
    precision: str = "bf16"  # bf16 (weights and activations; main weights in FP32) or fp32
    fp8: bool = False  # matrix products in FP8, current scaling; on a GPU, with bf16
    init_std: float = 0.02  # standard deviation of random weights, if training starts from them
    # layers on GPUs: transformer_engine; local: Megatron's with torch's attention; auto: the first if installed
    transformer_impl: str = Layers.AUTO


class Engine(StrEnum):
    """Trainers that run a recipe."""

    MEGATRON = "megatron"
    NEMO = "nemo"


class BlendEdition(StrEnum):
    """The data that may be used commercially, and all of it."""

    COMMERCIAL = "commercial"
    RESEARCH = "research"


@dataclass
class Part:
    """A part of the blend: the data sets that match all its patterns, and no part before it."""

    sources: list[str] = field(default_factory=lambda: ["*"])  # names of sources, as glob patterns
    document_types: list[str] = field(default_factory=lambda: ["*"])  # as glob patterns
    topics: list[str] = field(default_factory=lambda: ["*"])  # as glob patterns; of tokens that are built by topic
    edition: str | None = None  # commercial: only documents that may be used commercially; research or none: all
    weight: float | None = None  # share of the real tokens, relative to the other weights; for all parts, or for none
    max_epochs: float | None = None  # limit on how often each of its data sets is read; other sets make up for it


@dataclass
class Data:
    """How tokens become batches."""

    seq_length: int = 2048  # slots of a sequence
    layout: str = Layout.PACKED  # packed, concat or paper: see data_prep/tokens/layouts.py
    document_masks: bool | None = None  # attention and positions stop at a document's border; only concat has a choice
    blend: list[Part] = field(default_factory=lambda: [Part()])  # without weights, all are read equally often


@dataclass
class Parallel:
    """How the model and the batch are spread. DP is what is left: ranks / (TP x PP x CP)."""

    nodes: int = 1  # machines
    ranks_per_node: int = 1  # GPUs of a node; without GPUs, gloo processes
    tp: int = 1  # tensor parallelism: number of ranks that share each layer
    pp: int = 1  # pipeline parallelism: number of groups of ranks among which the layers are divided
    cp: int = 1  # context parallelism: number of GPUs that share each sequence; only with layout concat without masks
    sp: bool | None = None  # sequence parallelism: TP splits the other activations, too; none: on GPUs where TP > 1
    fsdp: bool = False  # Megatron-FSDP: weights and gradients are sharded, too; on GPUs


@dataclass
class Machine:
    """The memory that a recipe has to fit into, by prediction."""

    gpu_gib: float = H100.usable_gib  # memory of one GPU: what PyTorch can use of an H100 of 80 GB
    host_gib: float = 480.0  # memory of one node


@dataclass
class Batch:
    """How a step's sequences are divided."""

    global_size: int = MISSING  # sequences a step, over all ranks
    micro_size: int = 1  # sequences at once on one rank


class Schedule(StrEnum):
    """Courses of the learning rate after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"
    WSD = "wsd"


@dataclass
class Optimizer:
    """AdamW, and the schedule of its learning rate: by default constant, as in the paper."""

    grads: str = "fp32"  # type in which gradients are summed and reduced if precision is bf16: fp32 or bf16
    lr: float = 2e-5  # learning rate after the warm-up, and the highest
    schedule: str = Schedule.CONSTANT  # after the warm-up: constant; linear or cosine: falls; wsd: constant, then falls
    min_lr: float = 0.0  # learning rate at the end of linear, cosine and wsd
    # linear, cosine: step at which the rate has fallen (none: the last); wsd: number of last steps over which it falls
    decay_steps: int | None = None
    warmup_steps: int = 0  # steps of the warm-up, in which the learning rate rises linearly from 0
    beta1: float = 0.9  # decay rate of the running mean of gradients
    beta2: float = 0.999  # decay rate of the running mean of their squares
    eps: float = 1e-8  # epsilon of AdamW, added to the root of the mean of squares
    weight_decay: float = 0.05  # decoupled, times the learning rate; not on norms
    clip: float = 1.0  # largest norm of the whole gradient


@dataclass
class Checkpoint:
    """When and how the state is saved."""

    every: int = 720  # steps between checkpoints
    # false: another DP may resume. true: another TP or PP too, for 12 bytes a parameter of host memory at each save.
    reshardable: bool = False
    keep_every: int | None = None  # checkpoints at multiples of this step are kept, and the last; none: all are kept
    keep_last: int = 2  # how many of the other checkpoints are kept, the newest ones
    asynchronous: bool | None = None  # training continues while another process writes; none: only on GPUs


ALL = "all"
"""validation.batches: every sequence there is."""


@dataclass
class Validation:
    """Loss on held-out sequences during training: the same sequences every time, each read once."""

    every: int = 180  # steps between validations
    batches: int | str = 4  # global batches, of all data sets in proportion to their sequences; or all


class GuardAction(StrEnum):
    """Actions of the guard on a bad step."""

    WARN = "warn"
    STOP = "stop"
    SKIP = "skip"
    REWIND = "rewind"


LEAST_STEPS = 16
"""Steps that have to be known before a step can count as far above them."""


@dataclass
class Guard:
    """Limits that each step is checked against, and the action on a step that exceeds one."""

    nonfinite: str = "stop"  # if loss or gradient norm is NaN or infinite: stop, skip (no update), or rewind
    spike: str | None = None  # if either is far above the last steps: warn, stop, skip or rewind; none: not checked
    deviations: float = 6.0  # limit of a spike, in standard deviations above the mean
    window: int = 128  # number of last steps over which the mean is taken
    limit: int = 10  # number of skipped updates or rewinds in a run; the next one stops it
    straggler: float | None = 1.2  # ratio of a rank's compute time to the median rank's from which it is reported
    hang: float = 30.0  # timeout: minutes without progress, after which the run ends and names the rank


@dataclass
class Log:
    """Records beside metrics.jsonl and TensorBoard's files."""

    wandb: str | None = None  # project; needs the package wandb
    mlflow: str | None = None  # tracking URI; needs the package mlflow
    profile: list[int] = field(default_factory=list)  # first and last step of a start that torch's profiler records
    profile_ranks: list[int] = field(default_factory=lambda: [0])  # ranks that are recorded


@dataclass
class Recipe:
    """One training run in full."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    parallel: Parallel = field(default_factory=Parallel)
    machine: Machine = field(default_factory=Machine)
    batch: Batch = field(default_factory=Batch)
    optimizer: Optimizer = field(default_factory=Optimizer)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    validation: Validation = field(default_factory=Validation)
    guard: Guard = field(default_factory=Guard)
    log: Log = field(default_factory=Log)
    job: SlurmOptions = field(default_factory=SlurmOptions)
    engine: str = Engine.MEGATRON  # trainer: megatron (Megatron-LM) or nemo (NVIDIA's Megatron-Bridge)
    steps: int = MISSING  # steps of the whole run
    seed: int = 0  # seed of the data's order and of random weights; Megatron, which refuses 0, gets seed + 1
    megatron: dict[str, Any] = field(default_factory=dict)  # further Megatron arguments, name without dashes: value


def shape_of(recipe: Recipe) -> Qwen3Config:
    """The model's shape: a published size or the recipe's own."""
    if recipe.model.shape is not None:
        return Qwen3Config(**vars(recipe.model.shape))
    assert recipe.model.size is not None
    return SIZES[recipe.model.size]


def masked(data: Data) -> bool:
    """Whether masks separate a sequence's documents: always if packed, never in the paper's layout."""
    return data.layout == Layout.PACKED or (data.layout == Layout.CONCAT and data.document_masks is not False)


def world_size(recipe: Recipe) -> int:
    """Number of ranks of the whole run."""
    return recipe.parallel.nodes * recipe.parallel.ranks_per_node


def data_parallel(recipe: Recipe) -> int:
    """Number of copies of the model, each of which takes a share of the batch (DP)."""
    return world_size(recipe) // model_parallel(recipe)


def model_parallel(recipe: Recipe) -> int:
    """Number of ranks that share one sequence: TP x PP x CP."""
    return recipe.parallel.tp * recipe.parallel.pp * recipe.parallel.cp


def transformer_impl(recipe: Recipe, *, gpu: bool) -> Layers:
    """The layers that compute. On a machine without a GPU, `auto` plans for GPUs with Transformer Engine."""
    chosen = Layers(recipe.model.transformer_impl)
    if not gpu:
        return Layers.LOCAL
    if chosen != Layers.AUTO:
        return chosen
    return Layers.LOCAL if has_gpu() and not has_transformer_engine() else Layers.TRANSFORMER_ENGINE


def sequence_parallel(recipe: Recipe, *, gpu: bool) -> bool:
    """Whether sequence parallelism is on: as set, else if there is TP with Transformer Engine, hence on GPUs."""
    chosen = recipe.parallel.sp
    if chosen is not None:
        return chosen
    return recipe.parallel.tp > 1 and transformer_impl(recipe, gpu=gpu) == Layers.TRANSFORMER_ENGINE


def saves_asynchronously(recipe: Recipe, *, gpu: bool) -> bool:
    """Whether training continues while a checkpoint is written: by default on GPUs."""
    chosen = recipe.checkpoint.asynchronous
    return gpu if chosen is None else chosen


def describe_run(recipe: Recipe) -> str:
    """Describe in one line how the run is spread and what a step holds."""
    shape, parallel, batch = shape_of(recipe), recipe.parallel, recipe.batch
    return (
        f"{shape.parameters / 1e6:.1f} M parameters, {counted(world_size(recipe), 'rank')} = TP {parallel.tp} x "
        f"PP {parallel.pp} x DP {data_parallel(recipe)}, {batch.global_size} x {recipe.data.seq_length} tokens a step, "
        f"{counted(recipe.steps, 'step')}"
    )
