"""Writes docs/options.md: each option of a recipe beside the Megatron arguments it becomes.

`python -m pdapt.recipes.options > docs/options.md`. What an option decides is its comment in `schema.py`, where a
published value comes from is said in `h100.py`, and the arguments are found by changing the option. Only what no code
knows is written here: the names in NVIDIA's Megatron-Bridge, and who reads an option that is no Megatron argument.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args, get_origin

from ..core.qwen3 import END_OF_DOCUMENT_ID, Qwen3Config
from ..data_prep.layouts import CONCAT, PAPER
from . import schema
from .h100 import SOURCES
from .megatron_args import Places, megatron_args

COMMAND = "python -m pdapt.recipes.options > docs/options.md"
REQUIRED = "required"
BRIDGE_VERSION = "0.6.2"
"""The package megatron-bridge whose configuration classes were read."""

BRIDGE = {
    "model.size": "model",
    "model.shape.layers": "model.num_layers",
    "model.shape.hidden": "model.hidden_size",
    "model.shape.ffn": "model.ffn_hidden_size",
    "model.shape.heads": "model.num_attention_heads",
    "model.shape.kv_heads": "model.num_query_groups",
    "model.shape.head_dim": "model.kv_channels",
    "model.shape.vocab": "model.vocab_size tokenizer.vocab_size",
    "model.shape.tied": "model.share_embeddings_and_output_weights",
    "model.shape.max_positions": "model.seq_length",
    "model.shape.rope_base": "model.rotary_base",
    "model.shape.norm_eps": "model.layernorm_epsilon",
    "model.precision": "mixed_precision.bf16",
    "model.fp8": "mixed_precision.fp8 mixed_precision.fp8_recipe",
    "model.init_std": "model.init_method_std",
    "data.seq_length": "dataset.seq_length model.seq_length",
    "data.layout": "dataset.inter_document_masking dataset.eod_mask_loss",
    "data.document_masks": "dataset.inter_document_masking dataset.eod_mask_loss",
    "data.blend[].sources": "dataset.blend",
    "data.blend[].document_types": "",
    "data.blend[].edition": "",
    "data.blend[].weight": "dataset.blend",
    "data.blend[].max_epochs": "",
    "parallel.nodes": "ddp.overlap_grad_reduce ddp.overlap_param_gather",
    "parallel.ranks_per_node": "ddp.overlap_grad_reduce ddp.overlap_param_gather",
    "parallel.tp": "model.tensor_model_parallel_size model.sequence_parallel",
    "parallel.pp": "model.pipeline_model_parallel_size",
    "parallel.cp": "model.context_parallel_size",
    "parallel.sp": "model.sequence_parallel",
    "parallel.fsdp": "dist.use_megatron_fsdp ddp.use_megatron_fsdp ddp.data_parallel_sharding_strategy "
    "checkpoint.ckpt_format",
    "machine.gpu_gib": "",
    "machine.host_gib": "",
    "batch.global_size": "train.global_batch_size",
    "batch.micro_size": "train.micro_batch_size",
    "optimizer.grads": "mixed_precision.grad_reduce_in_fp32 ddp.grad_reduce_in_fp32",
    "optimizer.lr": "optimizer.lr optimizer.min_lr",
    "optimizer.warmup_steps": "scheduler.lr_warmup_iters",
    "optimizer.beta1": "optimizer.adam_beta1",
    "optimizer.beta2": "optimizer.adam_beta2",
    "optimizer.eps": "optimizer.adam_eps",
    "optimizer.weight_decay": "optimizer.weight_decay",
    "optimizer.clip": "optimizer.clip_grad",
    "checkpoint.every": "checkpoint.save_interval",
    "checkpoint.reshardable": "checkpoint.dist_ckpt_optim_fully_reshardable",
    "checkpoint.keep_every": "checkpoint.save_retain_interval",
    "checkpoint.keep_last": "checkpoint.most_recent_k",
    "checkpoint.asynchronous": "checkpoint.async_save checkpoint.async_strategy checkpoint.use_persistent_ckpt_worker",
    "validation.every": "validation.eval_interval",
    "validation.batches": "validation.eval_iters",
    "guard.nonfinite": "rerun_state_machine.check_for_nan_in_loss ddp.check_for_nan_in_grad",
    "guard.spike": "rerun_state_machine.check_for_spiky_loss",
    "guard.deviations": "rerun_state_machine.spiky_loss_factor",
    "guard.window": "",
    "guard.limit": "",
    "guard.straggler": "straggler.log_straggler nvrx_straggler.gpu_relative_perf_threshold",
    "guard.hang": "dist.distributed_timeout_minutes",
    "log.wandb": "logger.wandb_project logger.wandb_exp_name logger.wandb_save_dir",
    "log.mlflow": "logger.mlflow_tracking_uri",
    "log.profile": "profiling.use_pytorch_profiler profiling.profile_step_start profiling.profile_step_end "
    "profiling.profile_ranks",
    "log.profile_ranks": "profiling.profile_ranks",
    "job.time": "",
    "job.cpus_per_rank": "",
    "job.partition": "",
    "job.account": "",
    "job.qos": "",
    "job.constraint": "",
    "steps": "train.train_iters scheduler.lr_decay_iters",
    "seed": "rng.seed dataset.random_seed",
    "megatron": "",
}
"""Option -> fields of the Bridge's `ConfigContainer` that decide the same or the nearest to it; empty for none."""

BLEND = "the blend (`recipes/blend.py`)"
MEMORY = "the prediction of memory (`recipes/memory.py`), before anything starts"
SEAL = "the seal (`recipes/seal.py`), which removes the others"
GUARD = "the guard (`recipes/guard.py`)"
SLURM = "the Slurm script (`cli/slurm.py`)"
RANKS = "torchrun (`recipes/spawn.py`) and the Slurm script; where DP > 1 on GPUs:"
READ_BY = {
    "data.layout": "the data sets (`recipes/datasets.py`); where documents are masked:",
    "data.blend[].sources": BLEND,
    "data.blend[].document_types": BLEND,
    "data.blend[].edition": BLEND,
    "data.blend[].weight": BLEND,
    "data.blend[].max_epochs": BLEND,
    "parallel.nodes": RANKS,
    "parallel.ranks_per_node": RANKS,
    "machine.gpu_gib": MEMORY,
    "machine.host_gib": MEMORY,
    "checkpoint.keep_every": SEAL,
    "checkpoint.keep_last": SEAL,
    "guard.nonfinite": GUARD,
    "guard.spike": GUARD,
    "guard.deviations": GUARD,
    "guard.window": GUARD,
    "guard.limit": GUARD,
    "guard.straggler": "the monitor (`recipes/monitor.py`)",
    "guard.hang": "the watch (`recipes/watch.py`); 10 minutes later collectives give up, too:",
    "log.mlflow": "the trackers (`recipes/trackers.py`)",
    "job.time": SLURM,
    "job.cpus_per_rank": SLURM,
    "job.partition": SLURM,
    "job.account": SLURM,
    "job.qos": SLURM,
    "job.constraint": SLURM,
    "megatron": "each name with two dashes before it, then its value",
}
"""Option -> who reads it beside Megatron, or instead."""

DECIDES = {
    "model.shape.rope_base": "base of the rotary positions' angles",
    "model.shape.norm_eps": "what RMSNorm adds to the mean square",
}
"""What an option decides, where neither `schema.py` nor `core/qwen3.py` has a comment on it."""

NOT_RUN = {"model.fp8", "parallel.cp", "parallel.sp", "parallel.fsdp", "--transformer-impl"}
"""What needs a GPU's own kernels, and no GPU has run yet."""

QWEN3 = "Qwen3's architecture"
KERNEL = "Megatron's default is a kernel for GPUs"
FASTER = "faster"
GUARDED = "the guard looks at the gradient's norm instead, once a step"
FOLDER = "the run's folder"
SET = {
    "--group-query-attention": (QWEN3, "model.num_query_groups"),
    "--normalization": (QWEN3, "model.normalization"),
    "--qk-layernorm": (QWEN3, "model.qk_layernorm"),
    "--swiglu": (QWEN3, "model.gated_linear_unit model.activation_func"),
    "--disable-bias-linear": (QWEN3, "model.add_bias_linear"),
    "--position-embedding-type": (QWEN3, "model.position_embedding_type"),
    "--attention-dropout": (QWEN3, "model.attention_dropout"),
    "--hidden-dropout": (QWEN3, "model.hidden_dropout"),
    "--tokenizer-type": ("the trainer never sees text", "tokenizer.tokenizer_type"),
    "--null-tokenizer-eod-id": ("ends a document, as the tokens stage says", "tokenizer.null_tokenizer_eod_id"),
    "--null-tokenizer-pad-id": ("an id that ends documents would hide their ends", "tokenizer.null_tokenizer_pad_id"),
    "--data-cache-path": (FOLDER, "dataset.path_to_cache"),
    "--no-create-attention-mask-in-dataloader": (
        "masks are made from documents' lengths",
        "dataset.create_attention_mask dataset.skip_getting_attention_mask_from_dataset",
    ),
    "--use-distributed-optimizer": (
        "each rank keeps its share of the optimizer's state",
        "ddp.use_distributed_optimizer optimizer.use_distributed_optimizer",
    ),
    "--optimizer": ("paper: AdamW", "optimizer.optimizer"),
    "--lr-decay-style": ("paper: constant", "scheduler.lr_decay_style"),
    "--calculate-per-token-loss": (
        "mean over the real tokens of the whole batch, whatever the micro-batches and ranks",
        "model.calculate_per_token_loss",
    ),
    "--no-check-for-nan-in-loss-and-grad": (
        GUARDED,
        "rerun_state_machine.check_for_nan_in_loss ddp.check_for_nan_in_grad",
    ),
    "--rerun-mode": (GUARDED, "rerun_state_machine.rerun_mode"),
    "--save": (FOLDER, "checkpoint.save"),
    "--load": ("the run's folder: a run goes on from its newest checkpoint", "checkpoint.load"),
    "--pretrained-checkpoint": ("weights to start from, where there are any", "checkpoint.pretrained_checkpoint"),
    "--log-interval": ("every step is written down", "logger.log_interval"),
    "--tensorboard-dir": (FOLDER, "logger.tensorboard_dir"),
    "--tensorboard-log-interval": ("every step is written down", "logger.tensorboard_log_interval"),
    "--distributed-backend": ("what the machine has", "dist.distributed_backend"),
    "--transformer-impl": ("Transformer Engine's kernels are for GPUs", "model.transformer_impl"),
    "--use-cpu-initialization": ("there is no GPU", "model.use_cpu_initialization"),
    "--no-gradient-accumulation-fusion": (KERNEL, "model.gradient_accumulation_fusion"),
    "--no-bias-swiglu-fusion": (KERNEL, "model.bias_activation_fusion"),
    "--no-bias-dropout-fusion": (KERNEL, "model.bias_dropout_fusion"),
    "--no-rope-fusion": (KERNEL, "model.apply_rope_fusion"),
    "--no-persist-layer-norm": (KERNEL, "model.persist_layer_norm"),
    "--num-workers": ("processes that read ahead; ranks on a CPU share its cores", "dataset.num_workers"),
    "--cross-entropy-loss-fusion": (FASTER, "model.cross_entropy_loss_fusion"),
    "--cross-entropy-fusion-impl": ("Megatron's own", "model.cross_entropy_fusion_impl"),
    "--manual-gc": ("Python collects garbage on all ranks at the same step", "train.manual_gc"),
    "--manual-gc-interval": ("steps", "train.manual_gc_interval"),
    "--dist-ckpt-strictness": (
        "a checkpoint from a CPU lacks empty states that Transformer Engine's norms ask for",
        "checkpoint.dist_ckpt_strictness",
    ),
    "--exit-interval": ("where `pdapt train` is asked to stop at a step", "train.exit_interval"),
    "--iterations-to-skip": ("steps whose batches the guard went back from", "train.iterations_to_skip"),
}  # fmt: skip
"""Argument that no option becomes -> why it is set, and the Bridge's fields."""
STARTED = ("--exit-interval", "--iterations-to-skip", "--dist-ckpt-strictness")
"""Those that `engine.start` adds, and only when they are needed."""

INTRO = f"""# Options of a recipe

<!-- Written by `{COMMAND}`. -->

A recipe is a YAML file, and each option can be set on the command line, too: `pdapt train RECIPE optimizer.lr=1e-5`.
For each option this page says what it decides, which Megatron-LM arguments it becomes, and what NVIDIA's
Megatron-Bridge calls it: the fields of the `ConfigContainer` of megatron-bridge {BRIDGE_VERSION} that decide the same,
or the nearest to it. An argument that begins with `no-` sets its field to false. "Published" is where the recipes
named `qwen3_*_cpt_*` have their value from. *Not run*: it needs a GPU's own kernels, and no GPU has run it yet.
"""
SET_INTRO = """
## What is always set

Megatron arguments that no option becomes, as they are on GPUs and on a CPU. `OUT` is the run's folder, `BASE` the
checkpoint to start from. Those with nothing in either column are given only when they are needed.
"""
PASSED_ON = """
## What is passed through

These options are checked against each other and against the predicted memory, then handed to Megatron, whose own code
does the work.

- **Pipeline parallelism** (`parallel.pp`). With document masks it wants `batch.micro_size=1`.
- **Sequence parallelism** (`parallel.sp`): *not run*. On by default on GPUs where TP > 1.
- **Context parallelism** (`parallel.cp`): *not run*. Only with `data.layout=concat data.document_masks=false`: it
  splits each sequence evenly, and documents' pieces or padded rows do not split so.
- **FP8** (`model.fp8`): *not run*. Current scaling: each tensor is scaled by its present maximum. With
  `model.precision=bf16`.
- **Megatron-FSDP** (`parallel.fsdp`): *not run*. It saves in a format of its own, `fsdp_dtensor`, which
  `pdapt convert export` names and refuses, and which a run without it does not go on from. `checkpoint.reshardable` is
  for the other format.
- **Transformer Engine**: *not run*. Every recipe asks for it on GPUs; on a CPU its place is taken by Megatron's local
  layers and our attention.

Any further Megatron argument goes under `megatron`, its name without dashes:

```yaml
megatron: {log-params-norm: true, exit-duration-in-mins: 55}
```

`true` gives an argument without a value. They come after the others on Megatron's command line, so that they also
override what an option became; nothing of ours checks them.
"""


SECTIONS = {item.name: inspect.getdoc(item.type) or "" for item in fields(schema.Recipe) if is_dataclass(item.type)}
"""Section of a recipe -> what it is about, in its class' own words."""


@dataclass(frozen=True)
class Option:
    """A leaf of the schema.

    Attributes:
        name: dotted; `[]` where it is repeated.
        kind: its type.
        default: as a recipe would say it.
        decides: the comment on it.
    """

    name: str
    kind: Any
    default: str
    decides: str


def options(parent: type = schema.Recipe, prefix: str = "") -> Iterator[Option]:
    """Every leaf of the schema, in its order."""
    comments = _comments(parent)
    for item in fields(parent):
        name = prefix + item.name
        kinds = (item.type, *get_args(item.type))
        inner = next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)
        if inner is not None:
            yield from options(inner, name + ("[]." if get_origin(item.type) is list else "."))
            continue
        default = item.default if item.default_factory is MISSING else item.default_factory()
        decides = comments.get(item.name) or DECIDES.get(name, "")
        yield Option(name, item.type, _shown(default), decides)


def _comments(parent: type) -> dict[str, str]:
    """Field -> comment behind or above it; for a model's shape, what `core/qwen3.py` says of its attributes."""
    if parent is schema.Shape:
        return dict(re.findall(r"^ +(\w+): (.+)\.$", inspect.getdoc(Qwen3Config) or "", re.MULTILINE))
    lines = inspect.getsource(parent).splitlines()
    body = ast.parse("\n".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above, line = lines[node.lineno - 2].strip(), lines[node.lineno - 1]
            found[node.target.id] = line.partition("  # ")[2] or (above[2:] if above.startswith("# ") else "")
    return found


def _shown(value: Any) -> str:
    if value == schema.MISSING:
        return REQUIRED
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


SHAPE = schema.Shape(2, 96, 9, 14, 1, 2, 9, tied=True, max_positions=9, rope_base=9, norm_eps=9)
PLAIN = schema.Recipe(model=schema.Model(shape=SHAPE), batch=schema.Batch(global_size=4), steps=4)
STARTS = [PLAIN, replace(PLAIN, data=schema.Data(layout=CONCAT), log=schema.Log(profile=[1, 2]))]
"""Recipes in which one option is changed: some are only read beside another. No size of theirs is a published one."""
PLACES = Places(
    Path("OUT/checkpoints"),
    Path("BASE"),
    Path("OUT/tensorboard"),
    Path("OUT/cache"),
    Path("OUT/achieved.json"),
    END_OF_DOCUMENT_ID,
)
OTHER = {bool: [True, False], int: [7], float: [0.25], str: ["other"], list[int]: [[1, 3]], list[str]: [["other"]]}
"""Type -> values that an option of it is changed to."""
OTHER_OF: dict[str, list[Any]] = {
    "model.size": ["8b"],
    "model.precision": ["fp32"],
    "data.layout": [PAPER],
    "optimizer.grads": ["bf16"],
    "megatron": [],
}


def arguments(recipe: schema.Recipe, *, gpu: bool) -> dict[str, str]:
    """Megatron's arguments for a recipe: name -> value, empty for one without."""
    found: dict[str, list[str]] = {}
    for text in megatron_args(recipe, PLACES, gpu=gpu):
        if text.startswith("--"):
            found[text] = []
        else:
            found[next(reversed(found))].append(text)
    return {name: " ".join(texts) for name, texts in found.items()}


def becomes(option: Option) -> list[str]:
    """The Megatron arguments that are others when the option is another."""
    of_kind = [OTHER[kind] for kind in (option.kind, *get_args(option.kind)) if kind in OTHER]
    found: dict[str, None] = {}
    for start, gpu, value in product(STARTS, (False, True), OTHER_OF.get(option.name, of_kind[0] if of_kind else [])):
        before, after = arguments(start, gpu=gpu), arguments(_changed(start, option.name, value), gpu=gpu)
        found |= {name: None for name in before | after if before.get(name) != after.get(name)}
    return list(found)


def _changed(recipe: schema.Recipe, name: str, value: Any) -> schema.Recipe:
    changed = deepcopy(recipe)
    if name == "model.size":
        changed.model.shape = None
    target: Any = changed
    *parents, last = name.split(".")
    for parent in parents:
        target = getattr(target, parent.removesuffix("[]"))
        target = target[0] if parent.endswith("[]") else target
    setattr(target, last, value)
    return changed


def document() -> str:
    """docs/options.md."""
    every = list(options())
    became = {option.name: becomes(option) for option in every}
    parts = [INTRO.strip()]
    for section in dict.fromkeys(_section(option.name) for option in every):
        rows = [_row(option, became[option.name]) for option in every if _section(option.name) == section]
        heads = ["Option", "Type, default", "Megatron-LM", "Megatron-Bridge", "Decides", "Published"]
        parts += [f"## {section}", SECTIONS.get(section, ""), _table(heads, rows)]
    rows = _set_rows({name for names in became.values() for name in names})
    parts += [SET_INTRO.strip(), _table(["Argument", "GPUs", "CPU", "Why", "Megatron-Bridge"], rows)]
    return "\n\n".join(filter(None, [*parts, PASSED_ON.strip()])) + "\n"


def _section(name: str) -> str:
    return name.partition(".")[0] if "." in name else "top level"


def _row(option: Option, names: list[str]) -> list[str]:
    kind = inspect.formatannotation(option.kind).replace("typing.", "").replace(" | ", " or ").replace("None", "none")
    default = option.default if option.default == REQUIRED else _code([option.default])
    megatron = " ".join(filter(None, ["" if names else "—", READ_BY.get(option.name), _code(names)]))
    decides = option.decides + (" (*not run*)" if option.name in NOT_RUN else "")
    bridge = _code(BRIDGE[option.name].split()) or "none"
    return [f"`{option.name}`", f"{kind}, {default}", megatron, bridge, decides, SOURCES.get(option.name, "")]


def _set_rows(optional: set[str]) -> Iterator[list[str]]:
    """The arguments of a plain recipe that no option becomes, and those that a start adds."""
    gpu, cpu = (arguments(PLAIN, gpu=gpu) for gpu in (True, False))
    for name in dict.fromkeys([*gpu, *cpu, *STARTED]):
        if name not in optional:
            why, bridge = SET[name]
            why += " (*not run*)" if name in NOT_RUN else ""
            yield [f"`{name}`", *(_given(found, name) for found in (gpu, cpu)), why, _code(bridge.split())]


def _given(found: dict[str, str], name: str) -> str:
    return (f"`{found[name]}`" if found[name] else "set") if name in found else "—"


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(heads: list[str], rows: Iterator[list[str]] | list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    print(document(), end="")
