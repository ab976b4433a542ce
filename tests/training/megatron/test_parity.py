"""The trainer's model against transformers' Qwen3, and documents in a pack against themselves alone."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen3ForCausalLM

from pdapt.conversion.convert import import_hf
from pdapt.conversion.tensor_names import LAYERS, folded
from pdapt.core.qwen3 import Qwen3Config, read_config
from pdapt.recipes.megatron_args import Places, megatron_args
from pdapt.recipes.schema import Batch, Data, Model, Recipe, Shape
from pdapt.training.megatron.parity import measure_checkpoint, measure_job, predictions

Maker = Callable[..., Path]

# A document of one token has nothing to predict and still takes its place in the pack.
LENGTHS = (40, 24, 1, 50)


def documents(*lengths: int, seed: int = 0) -> list[list[int]]:
    torch.manual_seed(seed)
    return [torch.randint(0, 1000, (length,)).tolist() for length in lengths]


def folded_gradients(model: Qwen3ForCausalLM, shape: Qwen3Config) -> dict[str, torch.Tensor]:
    """transformers' gradients under the names of Megatron's local spec."""
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    local = {
        "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
        "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
    }
    found: dict[str, list[Any]] = {}
    for part in folded(shape):
        name = part.name.removeprefix(LAYERS)
        prefix = "" if part.layer is None else f"{LAYERS}{part.layer}."
        found.setdefault(f"{prefix}{local.get(name, name)}", []).append(part.make(grads.__getitem__))
    return {name: torch.cat(parts) for name, parts in found.items()}


def test_no_document_s_last_token_predicts_the_next_document_s_first() -> None:
    assert predictions([3, 1, 2]).tolist() == [1, 1, 0, 0, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_logits_loss_and_every_gradient_are_transformers(tiny_qwen3: Maker, tmp_path: Path, tied: bool) -> None:
    source = tiny_qwen3(tied=tied)
    shape = read_config(source)
    import_hf(source, tmp_path / "mcore")
    pack = documents(*LENGTHS)
    ours = measure_checkpoint(tmp_path / "mcore", shape, pack)

    model = Qwen3ForCausalLM.from_pretrained(source, dtype=torch.float32)
    logits = [model(torch.tensor([document])).logits[0] for document in pack]
    losses = [
        cross_entropy(row[:-1], torch.tensor(document[1:]), reduction="sum")
        for row, document in zip(logits, pack, strict=True)
        if len(document) > 1
    ]
    loss = torch.stack(losses).sum() / sum(length - 1 for length in LENGTHS)
    loss.backward()

    assert (ours["logits"] - torch.cat(logits)).abs().max() <= 1e-5
    torch.testing.assert_close(ours["loss"], loss.detach(), rtol=1e-6, atol=0)
    theirs = folded_gradients(model, shape)
    assert {name.removeprefix("grad.") for name in ours if name.startswith("grad.")} == theirs.keys()
    for name, expected in theirs.items():
        assert (ours[f"grad.{name}"] - expected).norm() <= 1e-5 * expected.norm(), name


@pytest.mark.slow
def test_local_layers_with_a_gpus_arguments_compute_the_same(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """Megatron's own fused operations, here run one after the other, against the CPU's arguments without them."""
    source = tiny_qwen3()
    shape, pack = read_config(source), documents(*LENGTHS)
    import_hf(source, tmp_path / "mcore")
    model = Model(shape=Shape(**asdict(shape)), precision="fp32", transformer_impl="local")
    recipe = Recipe(model=model, data=Data(seq_length=64), batch=Batch(global_size=1), steps=1)
    places = Places(
        tmp_path / "none", tmp_path / "mcore", *(tmp_path / name for name in ("tb", "cache", "read")), eod=0
    )
    arguments = [*megatron_args(recipe, places, gpu=True), "--use-cpu-initialization"]
    arguments[arguments.index("nccl")] = "gloo"
    assert not {"--no-bias-swiglu-fusion", "--no-bias-dropout-fusion"} & set(arguments)
    found, expected = measure_job(arguments, pack), measure_checkpoint(tmp_path / "mcore", shape, pack)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name] - tensor).norm() <= 1e-5 * tensor.norm(), name


@pytest.mark.slow
def test_a_documents_logits_do_not_change_with_its_neighbours(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    import_hf(source, tmp_path / "mcore")
    first, second, other = documents(40, 24, 24)

    def logits(*pack: list[int]) -> Any:
        return measure_checkpoint(tmp_path / "mcore", read_config(source), list(pack))["logits"]

    both, changed = logits(first, second), logits(first, other)
    assert torch.equal(both[:40], changed[:40])
    assert not torch.equal(both[40:], changed[40:])
    # Behind another document of the same length, to the bit; alone, the matrices have other sizes: to rounding.
    behind = logits(second, first)
    torch.testing.assert_close(behind[24:], both[:40], rtol=0, atol=1e-6)
