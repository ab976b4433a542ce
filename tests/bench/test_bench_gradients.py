"""`pdapt bench gradients`: runs in BF16 and FP32 gradients against each other. The trainings are stand-ins here."""

import json
from pathlib import Path

import pytest

from pdapt.bench import gradients
from pdapt.bench.gradients import Curve, bench, difference, lines
from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.recipes.schema import Recipe


def journal(recipe: Recipe, folder: Path, *, factor: float) -> None:
    """A run's journal whose losses and norms are those of a falling curve, times a factor."""
    rows = [
        {
            "event": "step",
            "time": float(step),
            "start": 0,
            "step": step,
            "loss": factor * (8 - step / 100),
            "grad_norm": factor * 2,
            "seconds": 1.0,
            "data_wait": 0.0,
            "tokens": 100,
            "skipped": False,
            "sources": {},
        }
        for step in range(1, recipe.steps + 1)
    ]
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_each_number_of_ranks_trains_with_both_kinds_and_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, int, str]] = []

    def train(recipe: Recipe, tokens: Path, work: Path) -> None:
        ranks, grads = recipe.parallel.ranks_per_node, recipe.optimizer.grads
        trained.append((ranks, recipe.batch.micro_size, grads))
        journal(recipe, work, factor=(1.01 if grads == "bf16" else 1.0) * (1.001 if ranks == 8 else 1.0))

    monkeypatch.setattr(gradients, "run_pdapt", train)
    result = bench(load("qwen3_tiny_cpt_2xcpu", ["steps=60"]), [2, 8], tmp_path / "tokens", tmp_path)
    assert trained == [(2, 1, "fp32"), (2, 1, "bf16"), (8, 1, "fp32"), (8, 1, "bf16")]
    assert [row.name for row in result.bf16] == ["DP 2", "DP 8"]
    for row in result.bf16:
        assert (row.loss_pct, row.last_loss_pct, row.norm_pct) == pytest.approx((1.0, 1.0, 1.0))
    (rounding,) = result.rounding
    assert (rounding.name, rounding.loss_pct) == ("DP 8 against DP 2", pytest.approx(0.1))
    assert result.last_loss == pytest.approx(8 - (11 + 60) / 2 / 100)
    assert "BF16 against FP32 gradients, DP 8: loss +1.000 %" in "\n".join(lines(result))


def test_differences_that_cancel_out_keep_their_size() -> None:
    row = difference("x", Curve([1.01] * 50 + [0.99] * 50, [2.0] * 100), Curve([1.0] * 100, [1.0] * 100))
    assert (row.loss_pct, row.loss_size_pct, row.last_loss_pct) == pytest.approx((0.0, 1.0, -1.0))
    assert row.norm_pct == row.norm_size_pct == pytest.approx(100)


@pytest.mark.parametrize(
    ("overrides", "ranks", "message"),
    [
        (["steps=49"], [2], "there are 49 steps"),
        (["steps=60"], [3], "does not divide the global batch"),
        (["steps=60", "model.precision=fp32"], [2], "grads=bf16 with model"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    overrides: list[str], ranks: list[int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        bench(load("qwen3_tiny_cpt_2xcpu", overrides), ranks, tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []
