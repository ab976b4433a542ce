"""A recipe as Megatron arguments: the one place that maps pdapt's names to Megatron's."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from .schedule import schedule_args
from .schema import (
    Layers,
    Recipe,
    data_parallel,
    masked,
    saves_asynchronously,
    sequence_parallel,
    shape_of,
    transformer_impl,
)

# Kernels that only exist on a GPU. Each is Megatron's default, so each has to be switched off on a CPU.
CPU_ARGUMENTS = [
    "--distributed-backend", "gloo",
    "--use-cpu-initialization",
    "--no-bias-swiglu-fusion",
    "--no-bias-dropout-fusion",
    "--num-workers", "0",
]  # fmt: skip
# Kernels of Transformer Engine and Apex, which are Megatron's defaults, too.
LOCAL_ARGUMENTS = [
    "--no-gradient-accumulation-fusion",
    "--no-rope-fusion",
    "--no-persist-layer-norm",
]
GPU_ARGUMENTS = [
    "--distributed-backend", "nccl",
    "--manual-gc",
    "--manual-gc-interval", "100",
    "--num-workers", "2",
]  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes.

    Attributes:
        checkpoints: folder of `iter_*` checkpoints; a run resumes from the newest one there.
        base: checkpoint the weights start from, or None for random weights.
        tensorboard: folder of event files.
        cache: folder of the data sets' index caches.
        achieved: file of the tokens read from each data set.
        eod: id that ends a document.
        valid_batches: global batches of a validation; None for the recipe's own number.
    """

    checkpoints: Path
    base: Path | None
    tensorboard: Path
    cache: Path
    achieved: Path
    eod: int
    valid_batches: int | None = None


def megatron_args(recipe: Recipe, places: Places, *, gpu: bool) -> list[str]:
    """Megatron's command line for a recipe, flag and value as separate strings."""
    return [*_ours(recipe, places, gpu=gpu), *_further(recipe)]


def check_further(recipe: Recipe, *, gpu: bool) -> None:
    """Check the further Megatron arguments: names must be valid, and must not be set by the recipe's own keys.

    Raises:
        UserError: one is not valid.
    """
    if not recipe.megatron:
        return
    nowhere = Path("nowhere")
    ours = _ours(recipe, Places(nowhere, nowhere, tensorboard=nowhere, cache=nowhere, achieved=nowhere, eod=0), gpu=gpu)
    for name, value in recipe.megatron.items():
        where = f"megatron.{name}"
        if f"--{name}" in ours:
            raise UserError(
                f"{where} sets an argument that the recipe's own keys set",
                where=where,
                fix="set the recipe's key instead: docs/options.md shows it beside this argument",
            )
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise UserError(f"{name!r} is not an argument's name", where=where, allowed="a name without leading dashes")
        if value is False or value is None or isinstance(value, dict):
            raise UserError(f"{where} is {value}", where=where, allowed="true for a switch, else its value, or values")


def _ours(recipe: Recipe, places: Places, *, gpu: bool) -> list[str]:
    parts = [
        _model(recipe, gpu=gpu),
        _data(recipe, places),
        _parallel(recipe, gpu=gpu),
        _training(recipe, places),
        _checkpoints(recipe, places, gpu=gpu),
        _logging(recipe, places),
        GPU_ARGUMENTS if gpu else CPU_ARGUMENTS,
        LOCAL_ARGUMENTS if transformer_impl(recipe, gpu=gpu) == Layers.LOCAL else [],
    ]
    return [text for part in parts for text in part]


def _model(recipe: Recipe, *, gpu: bool) -> list[str]:
    shape = shape_of(recipe)
    flags = [
        "--num-layers", shape.layers,
        "--hidden-size", shape.hidden,
        "--ffn-hidden-size", shape.ffn,
        "--num-attention-heads", shape.heads,
        "--group-query-attention",
        "--num-query-groups", shape.kv_heads,
        "--kv-channels", shape.head_dim,
        "--max-position-embeddings", shape.max_positions,
        "--transformer-impl", transformer_impl(recipe, gpu=gpu),
        "--normalization", "RMSNorm",
        "--norm-epsilon", shape.norm_eps,
        "--qk-layernorm",
        "--swiglu",
        "--disable-bias-linear",
        "--position-embedding-type", "rope",
        "--rotary-base", int(shape.rope_base),
        "--attention-dropout", 0,
        "--hidden-dropout", 0,
        "--init-method-std", recipe.model.init_std,
        # The number of rows in the weights: from the tokenizer's size Megatron would derive another number.
        "--padded-vocab-size", shape.vocab,
    ]  # fmt: skip
    if not shape.tied:
        flags.append("--untie-embeddings-and-output-weights")
    if recipe.model.precision == "bf16":
        flags.append("--bf16")
        if gpu:  # it casts the logits' gradient to BF16, whatever the model's precision
            flags += ["--cross-entropy-loss-fusion", "--cross-entropy-fusion-impl", "native"]
    if recipe.model.fp8:
        # `tensorwise` scales each tensor by its present maximum, `delayed`, the default, by that of earlier steps.
        flags += ["--fp8-format", "hybrid", "--fp8-recipe", "tensorwise"]
    return [str(flag) for flag in flags]


def _data(recipe: Recipe, places: Places) -> list[str]:
    flags = [
        "--seq-length", str(recipe.data.seq_length),
        # The trainer never sees text. Padding is -1, because an id that also ends documents would hide their ends.
        "--tokenizer-type", "NullTokenizer",
        "--vocab-size", str(shape_of(recipe).vocab),
        "--null-tokenizer-eod-id", str(places.eod),
        "--null-tokenizer-pad-id", "-1",
        "--data-cache-path", str(places.cache),
        "--no-create-attention-mask-in-dataloader",
    ]  # fmt: skip
    if masked(recipe.data):
        # In Megatron's own stream the label of a document's last token is the next document's first: it does not count.
        flags += ["--dataloader-inter-document-masking", "--eod-mask-loss"]
    return flags


def _parallel(recipe: Recipe, *, gpu: bool) -> list[str]:
    parallel = recipe.parallel
    flags = [
        "--tensor-model-parallel-size", str(parallel.tp),
        "--pipeline-model-parallel-size", str(parallel.pp),
        "--context-parallel-size", str(parallel.cp),
        "--use-distributed-optimizer",
        # The watch names a rank that hangs; collectives time out after that.
        "--distributed-timeout-minutes", str(math.ceil(recipe.guard.hang) + 10),
    ]  # fmt: skip
    if gpu and data_parallel(recipe) > 1:
        flags += ["--overlap-grad-reduce", "--overlap-param-gather"]
    if sequence_parallel(recipe, gpu=gpu):
        flags.append("--sequence-parallel")
    if parallel.fsdp:
        flags += ["--use-megatron-fsdp", "--data-parallel-sharding-strategy", "optim_grads_params"]
    if recipe.optimizer.grads == "bf16":
        flags.append("--grad-reduce-in-bf16")
    return flags


def _training(recipe: Recipe, places: Places) -> list[str]:
    optimizer = recipe.optimizer
    flags = [
        "--global-batch-size", recipe.batch.global_size,
        "--micro-batch-size", recipe.batch.micro_size,
        "--train-iters", recipe.steps,
        "--seed", seed_of(recipe.seed),
        "--optimizer", "adam",
        *schedule_args(recipe),
        "--adam-beta1", optimizer.beta1,
        "--adam-beta2", optimizer.beta2,
        "--adam-eps", optimizer.eps,
        "--weight-decay", optimizer.weight_decay,
        "--clip-grad", optimizer.clip,
        # The mean over the real tokens of the whole batch, however the batch is spread over micro-batches and ranks.
        "--calculate-per-token-loss",
        # The guard checks the gradient's norm, which is NaN if any part is: once per step, not once per bucket.
        "--no-check-for-nan-in-loss-and-grad",
        "--rerun-mode", "disabled",
        "--eval-interval", recipe.validation.every,
        "--eval-iters", places.valid_batches or recipe.validation.batches,
    ]  # fmt: skip
    return [str(flag) for flag in flags]


def _checkpoints(recipe: Recipe, places: Places, *, gpu: bool) -> list[str]:
    flags = [
        "--ckpt-format", "fsdp_dtensor" if recipe.parallel.fsdp else "torch_dist",
        "--save", str(places.checkpoints),
        "--load", str(places.checkpoints),
        "--save-interval", str(recipe.checkpoint.every),
    ]  # fmt: skip
    if places.base is not None:
        flags += ["--pretrained-checkpoint", str(places.base)]
    if recipe.checkpoint.reshardable:
        flags.append("--dist-ckpt-optim-fully-reshardable")
    if saves_asynchronously(recipe, gpu=gpu):
        # Without a persistent process Megatron saves synchronously.
        flags += ["--async-save", "--async-strategy", "mcore", "--use-persistent-ckpt-worker"]
    return flags


def _logging(recipe: Recipe, places: Places) -> list[str]:
    flags = [
        "--log-interval", "1",
        "--tensorboard-dir", str(places.tensorboard),
        "--tensorboard-log-interval", "1",
    ]  # fmt: skip
    log = recipe.log
    if log.profile:
        first, last = log.profile
        flags += ["--profile", "--use-pytorch-profiler"]
        flags += ["--profile-step-start", str(first), "--profile-step-end", str(last + 1)]
        flags += ["--profile-ranks", *map(str, log.profile_ranks)]
    return flags


def _further(recipe: Recipe) -> list[str]:
    flags: list[str] = []
    for name, value in recipe.megatron.items():
        flags.append(f"--{name}")
        if value is not True:
            flags += [str(item) for item in (value if isinstance(value, list) else [value])]
    return flags


def seed_of(seed: int) -> int:
    """Megatron's seed for a recipe's: it refuses 0."""
    return seed + 1
