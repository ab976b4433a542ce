"""A recipe as Megatron's command line, read by Megatron's own parser."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from megatron_parser import megatron_parser

from pdapt.recipes.load import load, names
from pdapt.recipes.megatron_args import Places, megatron_args
from pdapt.recipes.schema import masked, shape_of

PLACES = Places(Path("ckpt"), Path("base"), Path("tb"), Path("cache"), Path("achieved"), eod=7)


def parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    from megatron.training import arguments as megatron_arguments

    parser = megatron_parser()
    monkeypatch.setattr(megatron_arguments, "add_megatron_arguments", lambda _: parser)
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    return megatron_arguments.parse_args()


def test_megatron_reads_every_recipe(monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests) -> None:
    for name, gpu in [*((name, True) for name in names()), *((name, False) for name in names() if "cpu" in name)]:
        with subtests.test(recipe=name, gpu=gpu):
            recipe = load(name)
            shape = shape_of(recipe)
            args = parse(megatron_args(recipe, PLACES, gpu=gpu), monkeypatch)
            read = (
                args.num_layers,
                args.hidden_size,
                args.ffn_hidden_size,
                args.num_attention_heads,
                args.num_query_groups,
            )
            assert read == (shape.layers, shape.hidden, shape.ffn, shape.heads, shape.kv_heads)
            assert (args.kv_channels, args.padded_vocab_size, args.rotary_base) == (
                shape.head_dim,
                shape.vocab,
                1_000_000,
            )
            assert (args.layernorm_epsilon, args.normalization, args.qk_layernorm) == (1e-6, "RMSNorm", True)
            assert args.untie_embeddings_and_output_weights is not shape.tied
            assert args.add_bias_linear is False
            assert args.swiglu is True
            lr = recipe.optimizer.lr
            schedule = (lr, 0.0, "linear") if "_sft_" in name else (lr, lr, "constant")
            assert (args.lr, args.min_lr, args.lr_decay_style) == schedule
            assert args.distributed_backend == ("nccl" if gpu else "gloo")
            assert args.transformer_impl == ("transformer_engine" if gpu else "local")
            assert (args.null_tokenizer_eod_id, args.null_tokenizer_pad_id) == (7, -1)
            assert args.dataloader_inter_document_masking is masked(recipe.data)
            assert args.bf16 is True


def test_qwen3s_own_vocabulary_is_passed_for_the_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    args = parse(megatron_args(load("qwen3_8b_cpt_48xh100_packed"), PLACES, gpu=True), monkeypatch)
    assert args.padded_vocab_size == 151_936


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [48, False]),
        (["parallel.tp=2"], [24, True]),
        (["parallel.tp=2", "model.transformer_impl=local"], [24, False]),
    ],
)
def test_megatron_accepts_the_gpu_arguments_and_keeps_what_they_ask_for(
    overrides: list[str], expected: list[object], tmp_path: Path
) -> None:
    """Megatron's own validation switches off, with a warning, what does not go together: nothing of ours may be."""
    script = f"""
import json, sys
from pathlib import Path
from pdapt.training.megatron.engine import prepare
from pdapt.recipes.load import load
from pdapt.recipes.megatron_args import Places, megatron_args
prepare()
folder = Path({str(tmp_path)!r})
recipe = load("qwen3_8b_cpt_48xh100_packed", {overrides!r})
places = Places(folder / "ckpt", folder / "base", folder / "tb", folder / "cache", folder / "achieved", 7)
sys.argv = ["train", *megatron_args(recipe, places, gpu=True)]
from megatron.training.arguments import parse_args, validate_args
args = parse_args()
validate_args(args)
kept = [args.async_save, args.overlap_grad_reduce, args.overlap_param_gather, args.use_distributed_optimizer]
kept += [args.dataloader_inter_document_masking, args.cross_entropy_loss_fusion, args.calculate_per_token_loss]
print(json.dumps([args.data_parallel_size, args.sequence_parallel, kept]))
"""
    environment = os.environ | {"WORLD_SIZE": "48", "RANK": "0", "LOCAL_RANK": "0", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [*expected, [True] * 7]


def test_the_fused_loss_is_not_for_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Megatron's casts the logits' gradient to BF16, whatever the model is."""
    for precision, fused in (("bf16", True), ("fp32", False)):
        recipe = load("qwen3_tiny_cpt_2xcpu", [f"model.precision={precision}"])
        assert parse(megatron_args(recipe, PLACES, gpu=True), monkeypatch).cross_entropy_loss_fusion is fused
        assert parse(megatron_args(recipe, PLACES, gpu=False), monkeypatch).cross_entropy_loss_fusion is False


@pytest.mark.parametrize(
    ("gpu", "layers", "fused"), [(True, "transformer_engine", True), (True, "local", False), (False, "auto", False)]
)
def test_megatrons_own_layers_ask_for_no_kernel_of_transformer_engine(
    gpu: bool, layers: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load("qwen3_tiny_cpt_2xcpu", [f"model.transformer_impl={layers}"])
    args = parse(megatron_args(recipe, PLACES, gpu=gpu), monkeypatch)
    assert [args.gradient_accumulation_fusion, args.apply_rope_fusion, not args.no_persist_layer_norm] == [fused] * 3


def test_further_arguments_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    further = "megatron={log-params-norm: true, exit-duration-in-mins: 5, profile-ranks: [0, 3]}"
    args = parse(megatron_args(load("qwen3_8b_cpt_48xh100_packed", [further]), PLACES, gpu=True), monkeypatch)
    assert (args.log_params_norm, args.exit_duration_in_mins, args.profile_ranks) == (True, 5, [0, 3])
