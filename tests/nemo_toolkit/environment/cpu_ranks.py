"""Stand-ins with which NeMo 2 trains on CPU ranks. For tests: they refuse to load where a GPU is.

Beside what our own engine replaces without a GPU (`training/megatron/cpu_backend.py`).
"""

from typing import Any

import torch

if torch.cuda.is_available():
    raise ImportError("these stand-ins are for tests without a GPU: NeMo 2 itself needs none of them")

FUSIONS = (
    *("gradient_accumulation_fusion", "masked_softmax_fusion", "bias_activation_fusion", "bias_dropout_fusion"),
    *("cross_entropy_loss_fusion", "apply_rope_fusion", "persist_layer_norm"),
)
"""Kernels of Apex, Transformer Engine and CUDA, by the fields that switch them on."""


def before_nemo() -> None:
    """Replace what is asked for, or taken by name, while NeMo is imported."""
    from pdapt.training.megatron import cpu_backend

    cpu_backend.replace_cuda()
    torch.cuda.get_rng_state = torch.cuda.random.get_rng_state = lambda *_, **__: torch.get_rng_state()
    torch.cuda.set_rng_state = torch.cuda.random.set_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    _make_without_pinning()
    _leave_kernels_uncompiled()


def _make_without_pinning() -> None:
    """NeMo pins the numbers that it logs."""
    make = torch.tensor

    def unpinned(*values: Any, **options: Any) -> torch.Tensor:
        options.pop("pin_memory", None)
        return make(*values, **options)

    torch.tensor = unpinned


def _leave_kernels_uncompiled() -> None:
    """Model Optimizer compiles CUDA kernels when it is imported."""
    from torch.utils import cpp_extension

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("there is no compiler for CUDA")

    cpp_extension.load_inline = refuse


def before_training() -> None:
    """Replace what NeMo and Megatron-Core do while they train and save."""
    import nemo.lightning.io.pl as checkpoints
    from megatron.core import optimizer
    from megatron.core.datasets import utils
    from megatron.core.optimizer import distrib_optimizer
    from nemo.lightning.pytorch.callbacks import ProgressPrinter

    from pdapt.training.megatron import cpu_backend
    from pdapt.training.megatron.adam import GroupStepAdam

    optimizer.Adam = distrib_optimizer.Adam = GroupStepAdam
    optimizer.USING_PYTORCH_OPTIMIZER = False
    distrib_optimizer.HAVE_APEX_OR_TE = distrib_optimizer.USING_APEX_OPTIMIZER = True
    cpu_backend.save_in_this_process()
    utils.compile_helpers = lambda: None  # the wheel has them compiled
    # Rank 0 alone asks for the timers, which is a gathering over all ranks: two ranks never come to the save.
    ProgressPrinter.log_megatron_timers = lambda *_: None
    checkpoints._fix_tensors_device = lambda state: state  # it asks a tensor's device for its number


def fit_to_cpu(recipe: Any) -> None:
    """Take from a recipe what only GPUs have: kernels, NCCL's averages, processes that read and save."""
    from nemo.collections.llm.gpt.model.base import local_layer_spec

    recipe.trainer.accelerator = "cpu"
    config, strategy = recipe.model.config, recipe.trainer.strategy
    config.transformer_layer_spec = local_layer_spec
    for fusion in FUSIONS:
        setattr(config, fusion, False)
    config.use_cpu_initialization = config.attention_softmax_in_fp32 = True
    strategy.ddp.overlap_grad_reduce = strategy.ddp.overlap_param_gather = False
    strategy.ddp.average_in_collective = False
    strategy.ckpt_async_save = False
    recipe.data.num_workers, recipe.data.pin_memory = 0, False
