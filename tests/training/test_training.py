"""Thirty steps of AdamW against transformers and torch, over every kind of parallelism; and the start from weights."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen3ForCausalLM

from pdapt.conversion.convert import import_hf
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.core.checkpoint import CHECKPOINTS, newest
from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.recipes.schema import Recipe
from pdapt.training.megatron.sequences import Sequence, read_of_recipe
from pdapt.training.run.folder import checkpoints
from pdapt.training.run.journal import JOURNAL_FILE, Event, kept, read
from pdapt.training.train import train

pytestmark = pytest.mark.slow
Maker = Callable[..., Path]
STEPS = 30
THIRTY = [f"steps={STEPS}", "model.precision=fp32", "checkpoint.every=1000", "validation.every=1000"]
TWO = "parallel.ranks_per_node=2"


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in kept(read(out / JOURNAL_FILE), Event.STEP).values()]


def batch_loss(model: Qwen3ForCausalLM, batch: list[Sequence]) -> torch.Tensor:
    """transformers' mean loss of a global batch, each document's piece by itself."""
    total, count = torch.zeros(()), 0
    for found in batch:
        sample = {name: torch.from_numpy(np.array(value)) for name, value in found.sample.items()}
        for start, stop in pairwise(sample["cu_seqlens"].unique().tolist()):
            counted = sample["loss_mask"][start:stop].bool()
            if counted.any():
                logits = model(sample["tokens"][None, start:stop]).logits[0][counted]
                total = total + cross_entropy(logits, sample["labels"][start:stop][counted], reduction="sum")
                count += int(counted.sum())
    return total / count


def curve_of_transformers(source: Path, recipe: Recipe, tokens: Path) -> list[float]:
    """Losses of torch's AdamW; as usual, and as in Megatron, norms do not decay."""
    model = Qwen3ForCausalLM.from_pretrained(source, dtype=torch.float32)
    chosen = recipe.optimizer
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    norms = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": chosen.weight_decay}, {"params": norms, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=chosen.lr, betas=(chosen.beta1, chosen.beta2), eps=chosen.eps)
    curve, size = [], recipe.batch.global_size
    sequences = list(read_of_recipe(tokens, recipe, "train", range(recipe.steps * size)))
    for step in range(recipe.steps):
        loss = batch_loss(model, sequences[step * size : (step + 1) * size])
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), chosen.clip)
        adam.step()
        curve.append(loss.item())
    return curve


@pytest.fixture(scope="session")
def weights(recipe_file: Path, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights that the compared runs start from: random ones are drawn otherwise where a model is split."""
    out = tmp_path_factory.mktemp("weights") / "run"
    train(load(str(recipe_file), [*THIRTY, "steps=1", "optimizer.lr=1e-12"]), tokens, out)
    return out / CHECKPOINTS


@pytest.fixture(scope="session")
def one_rank(recipe_file: Path, tokens: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Losses of thirty steps in FP32 on one rank."""
    out = tmp_path_factory.mktemp("one") / "run"
    train(load(str(recipe_file), THIRTY), tokens, out, base=weights)
    return losses(out)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_thirty_steps_are_those_of_transformers_and_adamw(
    tied: bool, tiny_qwen3: Maker, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    source = tiny_qwen3(tied=tied)
    import_hf(source, tmp_path / "base")
    recipe = load(str(recipe_file), [*THIRTY, f"model.shape.tied={str(tied).lower()}"])
    train(recipe, tokens, tmp_path / "run", base=tmp_path / "base")
    found, expected = losses(tmp_path / "run"), curve_of_transformers(source, recipe, tokens)
    assert len(found) == STEPS
    assert found[-1] < found[0] - 0.5, "something is learnt"
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "overrides",
    [[], ["parallel.tp=2"], ["parallel.pp=2", "batch.micro_size=1"]],
    ids=["dp2", "tp2", "pp2"],
)
def test_in_fp32_every_parallelism_learns_alike(
    overrides: list[str], one_rank: list[float], weights: Path, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    train(load(str(recipe_file), [*THIRTY, TWO, *overrides]), tokens, tmp_path / "run", base=weights)
    assert losses(tmp_path / "run") == pytest.approx(one_rank, abs=1e-4)


def test_a_run_from_a_runs_weights_starts_with_the_recipes_rate_and_no_moments(
    tokens: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the source held: a step count, moments, another learning rate at the end of its schedule."""
    source = tmp_path / "source"
    schedule = [
        "optimizer.schedule=wsd",
        "optimizer.warmup_steps=4",
        "optimizer.decay_steps=4",
        "optimizer.min_lr=1e-3",
    ]
    train(load(str(recipe_file), [*schedule, "optimizer.lr=1e-2"]), tokens, source)
    rates = [row["learning_rate"] for row in kept(read(source / JOURNAL_FILE), Event.STEP).values()]
    falling = [1e-2 - 9e-3 * done / 4 for done in range(4)]
    assert rates == pytest.approx([0, 2.5e-3, 5e-3, 7.5e-3, 1e-2, 1e-2, *falling]), "each step's own"
    (source / CHECKPOINTS / "iter_0000010" / "__0_0.distcp").unlink()
    capsys.readouterr()
    once = load(str(recipe_file), ["steps=1", "checkpoint.every=1", "optimizer.lr=3e-4", "optimizer.clip=1000"])
    train(once, tokens, tmp_path / "run", base=source)
    said = capsys.readouterr().err
    assert "iter_0000010 is damaged (__0_0.distcp is missing): using the checkpoint before it" in said
    assert f"weights of {source / CHECKPOINTS / 'iter_0000008'}" in said
    assert (
        "have already been trained on the same sequences in the same order, for 8 steps: seed=1 gives another order"
        in said
    )
    (first,) = kept(read(tmp_path / "run" / JOURNAL_FILE), Event.STEP).values()
    assert (first["step"], first["learning_rate"]) == (1, 3e-4)
    before, after = (Checkpoint(newest(run) or run) for run in (source, tmp_path / "run"))
    names = [name for name in before.entries if name.startswith("optimizer.state.exp_avg.")]
    assert len(names) > 5
    for name in names:
        square_name = name.replace("exp_avg.", "exp_avg_sq.")
        held, moments = before.read([name])[name], after.read([name, square_name])
        mean, square = moments[name], moments[square_name]
        assert held.abs().max() > 0
        # After one step from zero: mean = 0.1 g and square = 0.001 g^2, so that mean^2 = 10 square.
        torch.testing.assert_close(mean.square(), 10 * square, rtol=1e-4, atol=1e-30)
        assert square.abs().max() > 0


def test_a_checkpoint_for_another_dp_goes_on_there_and_nowhere_else(
    one_rank: list[float], weights: Path, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """As 48 GPUs save: from two ranks to one; to TP only after one more save, which the refusal names."""

    def go_on(stop_at: int | None, *overrides: str) -> None:
        recipe = load(str(recipe_file), [*THIRTY, *overrides])
        train(recipe, tokens, tmp_path / "run", base=weights, stop_at=stop_at)

    plain = "checkpoint.reshardable=false"
    go_on(4, plain, TWO)
    go_on(8, plain)
    wanted = r"train one more step as before, with checkpoint\.reshardable=true and --stop-at"
    with pytest.raises(UserError, match=wanted):
        go_on(None, plain, TWO, "parallel.tp=2")
    go_on(9, "checkpoint.reshardable=true")
    go_on(None, plain, TWO, "parallel.tp=2")
    assert losses(tmp_path / "run") == pytest.approx(one_rank, abs=1e-4)


def test_an_asynchronous_save_is_the_same_checkpoint(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    runs = {}
    for chosen in ("true", "false"):
        runs[chosen] = tmp_path / chosen
        train(load(str(recipe_file), [f"checkpoint.asynchronous={chosen}", TWO]), tokens, runs[chosen])
    ours, theirs = (Checkpoint(checkpoints(run)[-1]) for run in runs.values())
    names = list(ours.entries)
    assert names == list(theirs.entries)
    first, second = ours.read(names), theirs.read(names)
    assert all(torch.equal(first[name], second[name]) for name in names)
    saves = [row for row in read(runs["true"] / JOURNAL_FILE) if row["event"] == "save"]
    assert [row["step"] for row in saves] == [2, 4, 6, 8, 10]
    assert all(row["asynchronous"] and 0 < row["stall_seconds"] <= row["seconds"] for row in saves)
