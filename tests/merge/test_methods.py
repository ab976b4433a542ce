"""The methods beside SLERP, factors by layer and module, and averages: against formulas written here."""

import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen3ForCausalLM

from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.merge.factors import Factors, parse_factors, parse_points
from pdapt.merge.methods import Average
from pdapt.merge.run import average, merge

Maker = Callable[..., Path]
Values = dict[str, torch.Tensor]


def weights(folder: Path) -> Values:
    return load_file(folder / "model.safetensors")


def close(found: Values, expected: Callable[[str], torch.Tensor], rtol: float = 1e-6, atol: float = 1e-7) -> None:
    for name, value in found.items():
        torch.testing.assert_close(value, expected(name).to(value.dtype), rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_linear_and_task_arithmetic_are_the_weighted_mean(
    tiny_qwen3: Maker, tmp_path: Path, method: str, dtype: str
) -> None:
    base, tuned = tiny_qwen3(0, dtype=dtype), tiny_qwen3(1, dtype=dtype)
    merge(base, tuned, tmp_path / "merged", method=method, t=0.3)
    first, second, merged = weights(base), weights(tuned), weights(tmp_path / "merged")
    place = 2**-7 if dtype == "bfloat16" else 1e-6
    close(merged, lambda name: 0.7 * first[name].double() + 0.3 * second[name].double(), rtol=place, atol=1e-7)
    assert next(iter(merged.values())).dtype == getattr(torch, dtype)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_linear", "dare_ties"])
@pytest.mark.parametrize("t", [0, 1])
def test_the_ends_are_the_parents_where_all_of_the_difference_is_kept(
    tiny_qwen3: Maker, tmp_path: Path, method: str, t: int
) -> None:
    parents = [tiny_qwen3(seed, dtype="bfloat16", num_hidden_layers=1) for seed in (0, 1)]
    density = None if method in ("linear", "task_arithmetic") else 1.0
    merge(*parents, tmp_path / "merged", method=method, t=t, density=density)
    expected = weights(parents[t])
    merged = weights(tmp_path / "merged")
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


def test_ties_keeps_the_largest_differences_and_scales_them_by_t(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    merge(base, tuned, tmp_path / "merged", method="ties", t=0.5, density=0.25)
    first, second = weights(base), weights(tuned)

    def expected(name: str) -> torch.Tensor:
        difference = second[name] - first[name]
        least = difference.abs().flatten().sort(descending=True).values[int(0.25 * difference.numel()) - 1]
        return first[name] + 0.5 * difference * (difference.abs() >= least)

    close(weights(tmp_path / "merged"), expected)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_keeps_a_part_drawn_by_its_seed(tiny_qwen3: Maker, tmp_path: Path, method: str) -> None:
    base, tuned = (tiny_qwen3(seed, num_hidden_layers=1) for seed in (0, 1))
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        merge(base, tuned, tmp_path / name, method=method, t=1, density=0.3, seed=seed)
    assert sha256(tmp_path / "first/model.safetensors") == sha256(tmp_path / "again/model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    first, second = weights(base)[name], weights(tuned)[name]
    merged, other = (weights(tmp_path / folder)[name] for folder in ("first", "other"))
    assert not torch.equal(merged, other)
    kept = merged != first
    count = merged.numel()
    assert abs(int(kept.sum()) - 0.3 * count) < 4 * math.sqrt(count * 0.3 * 0.7)
    # What is kept is scaled up so that the difference's size, the sum of its magnitudes, stays what it was.
    difference = second - first
    scale = difference.abs().sum() / (difference * kept).abs().sum()
    torch.testing.assert_close(merged[kept], (first + scale * difference)[kept], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["slerp", "linear", "task_arithmetic"])
def test_a_factor_holds_for_its_module_and_runs_over_the_layers(tiny_qwen3: Maker, tmp_path: Path, method: str) -> None:
    base, tuned = tiny_qwen3(0, False, num_hidden_layers=3), tiny_qwen3(1, False, num_hidden_layers=3)
    factors = parse_factors(["0.5", "mlp=0,1", "attention=1", "norms=0", "embeddings=0.25"])
    merge(base, tuned, tmp_path / "merged", method=method, t=factors)
    first, second, merged = weights(base), weights(tuned), weights(tmp_path / "merged")

    def share(name: str) -> float | None:
        """Where the tensor must lie between the parents; None where SLERP's own formula says where."""
        if "norm" in name:
            return 0
        if "self_attn" in name:
            return 1
        if ".mlp." in name:
            return int(name.split(".")[2]) / 2
        return 0.25

    @cache
    def whole(t: float) -> Values:
        """The weights of a merge with one factor for all."""
        merge(base, tuned, tmp_path / f"whole-{t}", t=t)
        return weights(tmp_path / f"whole-{t}")

    seen = set()
    for name, value in merged.items():
        t = share(name)
        seen.add(t)
        if method != "slerp" or t in (0, 1):
            expected = (1 - t) * first[name] + t * second[name] if t is not None else None
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7, msg=name)
        else:
            assert torch.equal(value, whole(float(t or 0))[name]), name
    assert seen == {0, 0.25, 0.5, 1}


def test_a_factor_over_the_layers_is_interpolated_between_its_values(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, num_hidden_layers=4), tiny_qwen3(1, num_hidden_layers=4)
    merge(base, tuned, tmp_path / "merged", method="linear", t=Factors((0.1, 0.9, 0.3)))
    first, second, merged = weights(base), weights(tuned), weights(tmp_path / "merged")
    layers = [0.1, 0.1 + 0.8 * 2 / 3, 0.9 - 0.6 / 3, 0.3]

    def expected(name: str) -> torch.Tensor:
        t = layers[int(name.split(".")[2])] if ".layers." in name else 0.1
        return (1 - t) * first[name] + t * second[name]

    close(merged, expected)


def test_averages_are_the_mean_and_the_moving_average(tiny_qwen3: Maker, tmp_path: Path) -> None:
    models = [tiny_qwen3(seed, dtype="bfloat16") for seed in range(3)]
    average(models, tmp_path / "uniform")
    average(models, tmp_path / "ema", decay=0.8)
    tensors = [weights(model) for model in models]

    def moving(name: str) -> torch.Tensor:
        found = tensors[0][name].double()
        for later in tensors[1:]:
            found = 0.8 * found + 0.2 * later[name].double()
        return found

    def mean(name: str) -> torch.Tensor:
        return torch.stack([values[name].double() for values in tensors]).mean(0)

    close(weights(tmp_path / "uniform"), mean, rtol=2**-7, atol=1e-6)
    close(weights(tmp_path / "ema"), moving, rtol=2**-7, atol=1e-6)
    Qwen3ForCausalLM.from_pretrained(tmp_path / "ema")
    AutoTokenizer.from_pretrained(tmp_path / "ema")
    card = (tmp_path / "ema" / "README.md").read_text(encoding="utf-8")
    assert "Exponential moving average (decay 0.8) of 3 checkpoints" in card
    assert sha256(tmp_path / "ema/tokenizer.json") == sha256(models[0] / "tokenizer.json")


@pytest.mark.parametrize("count", [2, 5])
def test_the_shares_of_an_average_are_one_together(count: int) -> None:
    for decay in (None, 0.1, 0.9):
        assert sum(Average(count, decay).weights) == pytest.approx(1, abs=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ties", "dare_linear", "task_arithmetic"])
def test_mergekits_own_command_gives_the_same_weights(tiny_qwen3: Maker, tmp_path: Path, method: str) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    tiny_qwen3(0, dtype="bfloat16").rename(bench / "base")
    tiny_qwen3(1, dtype="bfloat16").rename(bench / "tuned")
    factors = parse_factors(["0.4", "mlp=0.2,0.9"])
    merge(bench / "base", bench / "tuned", tmp_path / "merged", method=method, t=factors)
    config = tmp_path / "merged" / "mergekit_config.yml"
    command = [sys.executable, "-m", "mergekit.scripts.run_yaml", str(config), "theirs", "--device", "cpu", "--quiet"]
    # How many threads there are decides the order of its sums, and so their last bits.
    command += ["--num-threads", str(torch.get_num_threads())]
    subprocess.run([*command, "--random-seed", "0"], cwd=bench, check=True, capture_output=True)
    assert sha256(bench / "theirs/model.safetensors") == sha256(tmp_path / "merged/model.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "tie"}, "did you mean 'ties'"),
        ({"density": 0.5}, "slerp has no density\n.*\n.*ties, dare_linear, dare_ties"),
        ({"method": "ties", "seed": 1}, "ties has no seed\n.*\n.*dare_linear, dare_ties"),
        ({"method": "ties", "density": 0.0}, "density is 0.0"),
        ({"method": "ties", "density": math.nan}, "density is nan"),
        ({"method": "dare_ties", "seed": -1}, "seed is -1"),
    ],
)
def test_options_that_a_method_has_not_are_refused(
    tiny_qwen3: Maker, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        merge(base, tuned, tmp_path / "merged", **options)
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_averages_that_make_no_sense_are_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    models = [tiny_qwen3(0), tiny_qwen3(1)]
    other = tiny_qwen3(2, num_hidden_layers=3)
    before = sorted(tmp_path.rglob("*"))
    for given, decay, message in (
        (models[:1], None, "at least two checkpoints"),
        ([*models, models[0]], None, "given twice"),
        (models, 1.0, "decay is 1.0"),
        ([*models, other], None, "layers 2 and 3"),
    ):
        with pytest.raises(UserError, match=message):
            average(given, tmp_path / "average", decay=decay)
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


@pytest.mark.parametrize(
    ("given", "points"),
    [
        ("0.1:0.9:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ("0:1:0.25", [0, 0.25, 0.5, 0.75, 1]),
        ("0.1:0.3:0.15", [0.1, 0.25]),
        ("0.5", [0.5]),
        ("0.5:1:1e9999999", [0.5]),
        ("0.7,0.2", [0.7, 0.2]),
    ],
)
def test_points_are_read_as_a_range_or_a_list(given: str, points: list[float]) -> None:
    assert parse_points(given) == points


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0.1:0.9", "'0.1:0.9' is not a set of points"),
        ("0.1:0.9:0", "has no points"),
        ("0.9:0.1:0.1", "has no points"),
        ("0:1:0.001", "too many points"),
        ("0:1:1e-9999999", "too many points"),
        ("0:1e9999999:1", "t is inf"),
        ("0.5,0.5", "a point is given twice"),
        ("0.3,0.30000000000000004", "a point is given twice"),
        ("0.5,1.5", "t is 1.5"),
        ("-0.1:0.5:0.1", "t is -0.1"),
        ("half", "'half' is not a factor"),
        ("nan", "'nan' is not a factor"),
        ("", "'' is not a factor"),
    ],
)
def test_points_that_are_none_are_refused(given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_points(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["0.5", "0.6"], "t is given twice: 0.6"),
        (["mlp=0.5", "mlp=0.6"], "given twice for mlp"),
        (["mpl=0.5"], "did you mean 'mlp'"),
        (["mlp=1.5"], "t is 1.5"),
        (["0.5,"], "'' is not a factor"),
        (["=0.5"], "no kind of module is called ''"),
    ],
)
def test_factors_that_are_none_are_refused(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_factors(given)


def test_a_factor_is_a_half_where_none_is_given() -> None:
    assert parse_factors([]) == Factors((0.5,))
    assert parse_factors(["attention=0.1"]) == Factors((0.5,), {"attention": (0.1,)})
