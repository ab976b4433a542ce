"""Texts of docs/options.md that the code does not contain: names in Megatron-Bridge, what reads an option, and why.

`options_page.py` makes the page from them.
"""

COMMAND = "python -m pdapt.training.options_page > docs/options.md"
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
    "model.precision": "mixed_precision.bf16 model.cross_entropy_loss_fusion model.cross_entropy_fusion_impl",
    "model.fp8": "mixed_precision.fp8 mixed_precision.fp8_recipe",
    "model.init_std": "model.init_method_std",
    "model.transformer_impl": "model.transformer_impl model.gradient_accumulation_fusion model.apply_rope_fusion "
    "model.persist_layer_norm",
    "data.seq_length": "dataset.seq_length model.seq_length",
    "data.layout": "dataset.inter_document_masking dataset.eod_mask_loss",
    "data.document_masks": "dataset.inter_document_masking dataset.eod_mask_loss",
    "data.blend[].sources": "dataset.blend",
    "data.blend[].document_types": "",
    "data.blend[].topics": "",
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
    "optimizer.schedule": "scheduler.lr_decay_style scheduler.lr_wsd_decay_style scheduler.lr_decay_iters "
    "scheduler.lr_wsd_decay_iters optimizer.min_lr",
    "optimizer.min_lr": "optimizer.min_lr",
    "optimizer.decay_steps": "scheduler.lr_decay_iters scheduler.lr_wsd_decay_iters",
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
    "engine": "",
    "steps": "train.train_iters scheduler.lr_decay_iters",
    "seed": "rng.seed dataset.random_seed",
    "megatron": "",
}
"""Option -> fields of Bridge's `ConfigContainer` that decide the same, or the nearest ones; empty for none."""

BLEND = "the blend (`training/blend.py`)"
MEMORY = "the prediction of memory (`recipes/memory.py`), before anything starts"
HASHING = "the hashing process (`training/run/hashes.py`), which removes the other checkpoints"
GUARD = "the guard (`training/run/listeners/guard.py`)"
TRACKERS = "the trackers (`training/run/listeners/trackers.py`)"
SLURM = "the Slurm script (`launch/recipe_job.py`)"
RANKS = "torchrun (`training/run/spawn.py`) and the Slurm script; if DP > 1 on GPUs:"
READ_BY = {
    "data.layout": "the data sets (`training/megatron/datasets.py`); if documents are masked:",
    "data.blend[].sources": BLEND,
    "data.blend[].document_types": BLEND,
    "data.blend[].topics": BLEND,
    "data.blend[].edition": BLEND,
    "data.blend[].weight": BLEND,
    "data.blend[].max_epochs": BLEND,
    "parallel.nodes": RANKS,
    "parallel.ranks_per_node": RANKS,
    "machine.gpu_gib": MEMORY,
    "machine.host_gib": MEMORY,
    "checkpoint.keep_every": HASHING,
    "checkpoint.keep_last": HASHING,
    "guard.nonfinite": GUARD,
    "guard.spike": GUARD,
    "guard.deviations": GUARD,
    "guard.window": GUARD,
    "guard.limit": GUARD,
    "guard.straggler": "the report of slow ranks (`training/run/listeners/straggler.py`)",
    "guard.hang": "the watch (`training/run/listeners/watch.py`); the timeout of collectives is 10 minutes longer:",
    "log.wandb": TRACKERS,
    "log.mlflow": TRACKERS,
    "job.time": SLURM,
    "job.cpus_per_rank": SLURM,
    "job.partition": SLURM,
    "job.account": SLURM,
    "job.qos": SLURM,
    "job.constraint": SLURM,
    "engine": "the ranks (`training/rank.py`)",
    "megatron": "each name with two dashes before it, then its value",
}
"""Option -> what reads it beside Megatron, or instead of it."""

DECIDES = {
    "model.shape.rope_base": "base of the rotary positions' angles",
    "model.shape.norm_eps": "epsilon of RMSNorm, added to the mean square",
}
"""Meanings of the options on which neither `schema.py` nor `core/qwen3.py` has a comment."""

NOT_RUN = {"model.fp8", "parallel.cp", "parallel.sp", "parallel.fsdp", "model.transformer_impl"}
"""Options that need a GPU's own kernels, and that no GPU has run yet."""

QWEN3 = "Qwen3's architecture"
KERNEL = "Megatron's default is a kernel for GPUs"
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
    "--null-tokenizer-pad-id": ("the id that ends documents would hide their ends", "tokenizer.null_tokenizer_pad_id"),
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
    "--load": ("the run's folder: a run continues from its newest checkpoint", "checkpoint.load"),
    "--pretrained-checkpoint": ("weights to start from, where there are any", "checkpoint.pretrained_checkpoint"),
    "--log-interval": ("every step is logged", "logger.log_interval"),
    "--tensorboard-dir": (FOLDER, "logger.tensorboard_dir"),
    "--tensorboard-log-interval": ("every step is logged", "logger.tensorboard_log_interval"),
    "--distributed-backend": ("NCCL for GPUs, gloo for CPUs", "dist.distributed_backend"),
    "--use-cpu-initialization": ("there is no GPU", "model.use_cpu_initialization"),
    "--no-bias-swiglu-fusion": (KERNEL, "model.bias_activation_fusion"),
    "--no-bias-dropout-fusion": (KERNEL, "model.bias_dropout_fusion"),
    "--num-workers": ("processes that read ahead; ranks on a CPU share its cores", "dataset.num_workers"),
    "--manual-gc": ("Python collects garbage on all ranks at the same step", "train.manual_gc"),
    "--manual-gc-interval": ("steps", "train.manual_gc_interval"),
    "--dist-ckpt-strictness": (
        "a checkpoint of local layers lacks empty states that Transformer Engine's norms ask for",
        "checkpoint.dist_ckpt_strictness",
    ),
    "--exit-interval": ("when `pdapt train` is asked to stop at a step", "train.exit_interval"),
    "--override-opt_param-scheduler": ("when a run is extended", "scheduler.override_opt_param_scheduler"),
    "--ckpt-step": ("the checkpoint of a base that is a run", "checkpoint.ckpt_step"),
    "--iterations-to-skip": ("steps whose batches are left out when the guard goes back", "train.iterations_to_skip"),
}  # fmt: skip
"""Argument that no option becomes -> why it is set, and Bridge's fields."""
STARTED = (
    "--exit-interval",
    "--override-opt_param-scheduler",
    "--ckpt-step",
    "--iterations-to-skip",
    "--dist-ckpt-strictness",
)
"""Those that `engine.start` adds, and only when they are needed."""

INTRO = f"""# Options of a recipe

<!-- Written by `{COMMAND}`. -->

A recipe is a YAML file, and each option can be set on the command line, too: `pdapt train RECIPE optimizer.lr=1e-5`.
For each option this page says what it decides, which Megatron-LM arguments it becomes, and which fields of NVIDIA's
Megatron-Bridge correspond to it (the `ConfigContainer` of megatron-bridge {BRIDGE_VERSION}; the nearest ones if none is
the same). An argument that begins with `no-` sets its field to false. "Published" is the source of the value in the
recipes named `qwen3_*_cpt_*`. *Not run*: it needs a GPU's own kernels, and has not run on a GPU yet.
"""
SET_INTRO = """
## What is always set

Megatron arguments that no option sets, on GPUs and on a CPU. `OUT` is the run's folder, `BASE` the
checkpoint to start from. Those with nothing in either column are set only when needed.
"""
PASSED_ON = """
## What is passed through

pdapt checks these options against each other and against the predicted memory, and passes them to Megatron, whose own
code does the work.

- **Pipeline parallelism** (`parallel.pp`). With document masks it needs `batch.micro_size=1`.
- **Sequence parallelism** (`parallel.sp`): *not run*. On by default on GPUs where TP > 1.
- **Context parallelism** (`parallel.cp`): *not run*. Only with `data.layout=concat data.document_masks=false`:
  it splits each sequence evenly, and the pieces of documents or padded rows cannot be split that way.
- **FP8** (`model.fp8`): *not run*. Current scaling: each tensor is scaled by its present maximum. Only
  with `model.precision=bf16`.
- **Megatron-FSDP** (`parallel.fsdp`): *not run*. It saves in a format of its own, `fsdp_dtensor`.
  `pdapt convert export` refuses that format by name, a run without FSDP cannot continue from it, and
  `checkpoint.reshardable` does not apply to it.
- **Transformer Engine** (`model.transformer_impl=transformer_engine`): *not run*. Installing it
  compiles its PyTorch extension. `auto` uses it if it is installed. FP8, SP, CP and Megatron-FSDP need it, and are
  refused without it.
- **Local layers** (`model.transformer_impl=local`): *not run* on a GPU; CPUs train with them. They are Megatron's own
  layers and fused operations, and need no compilation beforehand. Attention over documents is torch's `varlen_attn`
  (BF16 on GPUs; in FP32, and on a CPU, one document after the other). Gradients are added up outside the matrix
  products. torch compiles some operations if a C compiler and Python's headers are there; otherwise it runs them one by
  one, and a warning says so. A run may change from one kind of layers to the other if its last checkpoint is
  reshardable.

Any other Megatron argument goes under `megatron`, by its name without the leading dashes:

```yaml
megatron: {log-params-norm: true, recompute-granularity: selective}
```

`true` sets an argument that takes no value; a list gives several values. pdapt refuses an argument that one of its own
options sets.
"""
NEMO_INTRO = """
## What `engine=nemo` refuses

With `engine=nemo` Megatron-Bridge's trainer runs the recipe ([nemo.md](nemo.md)): pdapt copies Megatron's configuration
of the recipe to the `ConfigContainer` field by field. It refuses the following options before anything starts.
"""
