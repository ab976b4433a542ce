"""A recipe as NeMo 2's `run.Partial(llm.pretrain, …)`: NeMo's own recipe of that size, with this recipe's values in it.

Nothing of NeMo is replaced: its trainer, data module, schedulers and checkpoints are those that its users know.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import nemo_run as run
import torch
from nemo import lightning as nl
from nemo.collections import llm
from nemo.collections.common.tokenizers.huggingface.auto_tokenizer import AutoTokenizer
from nemo.collections.llm.gpt.model.base import local_layer_spec
from nemo.lightning.pytorch.optim import CosineAnnealingScheduler
from nemo.lightning.pytorch.optim.lr_scheduler import WarmupPolicyScheduler

from ...recipes.megatron_args import seed_of
from ...recipes.schema import (
    Layers,
    Recipe,
    Schedule,
    saves_asynchronously,
    sequence_parallel,
    shape_of,
    transformer_impl,
)
from ..blend import Blend, as_megatron, train_blend, valid_batches, valid_blend, valid_sequences

RECIPES: dict[str, ModuleType] = {
    "0p6b": llm.recipes.qwen3_600m,
    "1p7b": llm.recipes.qwen3_1p7b,
    "4b": llm.recipes.qwen3_4b,
    "8b": llm.recipes.qwen3_8b,
}
"""Size -> NeMo's module of that model's recipes."""
PADDING = "<|im_start|>"
"""Token that no document holds. Qwen3's tokenizer pads with the one that ends a document, and Megatron-Core replaces
what pads by id 0 and does not learn it: no model would be told where a document ends, nor learn to end one."""


def pretrain_partial(recipe: Recipe, *, tokens: Path, base: str | None, dir: str, name: str) -> Any:
    """Make the `run.Partial` of a recipe.

    Args:
        recipe: has no option that `check_options` refuses.
        tokens: the tokens stage's folder.
        base: NeMo 2 checkpoint that the weights start from; None for random ones.
        dir, name: NeMo's: folder of all experiments, and name of this one.
    """
    partial = _nemos_own(recipe, dir, name)
    partial.model.config = _model(recipe, partial.model.config)
    partial.data = _data(recipe, tokens, Path(dir) / name / "cache")
    _set_optimizer(recipe, partial.optim)
    _set_strategy(recipe, partial.trainer)
    _set_checkpoints(recipe, partial.log.ckpt)
    partial.trainer.limit_val_batches = valid_batches(recipe, valid_sequences(tokens, recipe.data))
    if base is not None:
        partial.resume.restore_config = run.Config(nl.RestoreConfig, path=base, load_artifacts=False)
    return partial


def _nemos_own(recipe: Recipe, dir: str, name: str) -> Any:
    """NeMo's recipe, with what its own parameters take."""
    parallel = recipe.parallel
    return RECIPES[recipe.model.size or "0p6b"].pretrain_recipe(
        dir=dir,
        name=name,
        tensor_parallelism=parallel.tp,
        pipeline_parallelism=parallel.pp,
        pipeline_parallelism_type=_dtype(recipe) if parallel.pp > 1 else None,
        context_parallelism=parallel.cp,
        sequence_parallelism=sequence_parallel(recipe, gpu=True),
        num_nodes=parallel.nodes,
        num_gpus_per_node=parallel.ranks_per_node,
        max_steps=recipe.steps,
        precision="bf16-mixed" if recipe.model.precision == "bf16" else "32",
        gradient_clip_val=recipe.optimizer.clip,
        limit_test_batches=0,
        log_every_n_steps=1,
        val_check_interval=recipe.validation.every,
    )


def _dtype(recipe: Recipe) -> torch.dtype:
    return torch.bfloat16 if recipe.model.precision == "bf16" else torch.float32


def _model(recipe: Recipe, config: Any) -> Any:
    """NeMo's configuration of that size, or of the recipe's own shape."""
    shape = shape_of(recipe)
    if recipe.model.size is None:
        config = run.Config(
            llm.Qwen3Config,
            num_layers=shape.layers,
            hidden_size=shape.hidden,
            ffn_hidden_size=shape.ffn,
            num_attention_heads=shape.heads,
            num_query_groups=shape.kv_heads,
            kv_channels=shape.head_dim,
            vocab_size=shape.vocab,
            share_embeddings_and_output_weights=shape.tied,
            max_position_embeddings=shape.max_positions,
            rotary_base=shape.rope_base,
            layernorm_epsilon=shape.norm_eps,
        )
    config.seq_length = recipe.data.seq_length
    config.init_method_std = recipe.model.init_std
    if transformer_impl(recipe, gpu=True) == Layers.LOCAL:
        config.transformer_layer_spec = local_layer_spec
    return config


def _data(recipe: Recipe, tokens: Path, cache: Path) -> Any:
    """The tokens' files as NeMo's data module: the data sets and shares that `pdapt train` would read."""
    batch = recipe.batch
    members = train_blend(tokens, recipe.data, recipe.steps * batch.global_size)
    valid = _paths(valid_blend(tokens, recipe.data))
    return run.Config(
        llm.PreTrainingDataModule,
        paths={"train": _paths(as_megatron(members)), "validation": valid, "test": valid},
        split=None,
        seq_length=recipe.data.seq_length,
        micro_batch_size=batch.micro_size,
        global_batch_size=batch.global_size,
        seed=seed_of(recipe.seed),
        index_mapping_dir=str(cache),
        tokenizer=run.Config(AutoTokenizer, pretrained_model_name=str(tokens / "tokenizer"), pad_token=PADDING),
    )


def _paths(blend: Blend) -> list[str]:
    """A blend as NeMo takes it: shares and prefixes in turn, or prefixes alone."""
    prefixes, shares = blend
    if shares is None:
        return prefixes
    return [text for share, prefix in zip(shares, prefixes, strict=True) for text in (repr(share), prefix)]


def _set_optimizer(recipe: Recipe, optim: Any) -> None:
    ours, config = recipe.optimizer, optim.config
    config.lr, config.weight_decay = ours.lr, ours.weight_decay
    config.adam_beta1, config.adam_beta2, config.adam_eps = ours.beta1, ours.beta2, ours.eps
    if ours.schedule == Schedule.CONSTANT:
        optim.lr_scheduler = run.Config(
            WarmupPolicyScheduler, warmup_steps=ours.warmup_steps, max_steps=recipe.steps, min_lr=ours.lr
        )
        return
    optim.lr_scheduler = run.Config(
        CosineAnnealingScheduler,
        warmup_steps=ours.warmup_steps,
        constant_steps=0,
        max_steps=ours.decay_steps or recipe.steps,
        min_lr=ours.min_lr,
    )


def _set_strategy(recipe: Recipe, trainer: Any) -> None:
    """Set what NeMo's recipe has no parameter for: gradients' type, and how checkpoints are saved."""
    summed_in_fp32 = recipe.optimizer.grads == "fp32" or recipe.model.precision == "fp32"
    trainer.strategy.ddp.grad_reduce_in_fp32 = summed_in_fp32
    if trainer.plugins is not None:
        trainer.plugins.grad_reduce_in_fp32 = summed_in_fp32
    trainer.strategy.ckpt_async_save = saves_asynchronously(recipe, gpu=True)
    trainer.strategy.ckpt_optim_fully_reshardable = recipe.checkpoint.reshardable


def _set_checkpoints(recipe: Recipe, callback: Any) -> None:
    """Save every so many steps, and keep all. `save_last`, on which resuming depends, is NeMo's default."""
    callback.every_n_train_steps = recipe.checkpoint.every
    callback.train_time_interval = None
    callback.save_top_k, callback.monitor = -1, None
