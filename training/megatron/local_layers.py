"""Megatron's local layers, on a CPU and on a GPU, without Transformer Engine, Apex or any compilation beforehand.

Call `hide_others` before megatron is imported, and `replace_in_megatron` after.
"""

import sys


def hide_others() -> None:
    """Keep Megatron from using norms, kernels and optimizers of packages that happen to be installed.

    These need a GPU, so they fail on a CPU. On a GPU, `local` is then the same on every machine.
    """
    sys.modules.update({"transformer_engine": None, "apex": None})  # type: ignore[dict-item]


def replace_in_megatron() -> None:
    """Rotate whole packs at once, and give the trainer an optimizer whose state it can save and load."""
    from megatron.core import optimizer
    from megatron.core.optimizer import distrib_optimizer
    from megatron.core.transformer import attention

    from .adam import GroupStepAdam
    from .attention import whole_pack

    attention.apply_rotary_pos_emb = whole_pack(attention.apply_rotary_pos_emb)
    optimizer.Adam = distrib_optimizer.Adam = GroupStepAdam
    # With these flags the checkpoint code expects `step` in the param group, where GroupStepAdam keeps it.
    optimizer.USING_PYTORCH_OPTIMIZER = False
    distrib_optimizer.HAVE_APEX_OR_TE = distrib_optimizer.USING_APEX_OPTIMIZER = True
