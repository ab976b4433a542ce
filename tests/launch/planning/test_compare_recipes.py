"""A recipe beside the paper's way to train."""

import json
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from commands import pdapt, pdapt_json

from pdapt.core.errors import UserError
from pdapt.launch.planning.compare_recipes import FSDP_PADDED, compare, sent_bytes
from pdapt.launch.planning.padded_fsdp import REASONS, read_assumptions
from pdapt.recipes.load import load
from pdapt.scaling.constants import read_reach
from pdapt.scaling.predict_run import Site

NAME = "qwen3_8b_cpt_48xh100_packed"


@pytest.mark.slow
def test_the_papers_way_is_set_beside_a_recipe_term_by_term() -> None:
    found = json.loads(pdapt("plan", "compare", NAME, "--with", "fsdp-padded", "--json"))
    ours, other = found["ours"], found["other"]
    assert found["predicted"] is True
    assert (other["sequences"], other["micro_batch"], other["steps"]) == (1152, 1, 4320)
    # Each of 24 micro-batches gathers weights twice and scatters gradients once, BF16 all; ours once a step.
    shape = load(NAME)
    assert other["gigabytes"] / ours["gigabytes"] == pytest.approx(24 * (2 + 2 * 2) / (2 + 2))
    assert other["gigabytes"] == pytest.approx(24 * 6 * 8.19 * 47 / 48, rel=0.01)
    assert other["fill"] < 0.55 < 0.99 < ours["fill"]
    read = other["fill"] * 1152 * 4320 / (ours["fill"] * 576 * 4194)
    assert found["tokens_ratio"] == pytest.approx(read)
    assert other["memory_gib"] < ours["memory_gib"] < shape.machine.gpu_gib
    terms = found["terms"].values()
    assert sum(term["share_of_difference"] for term in terms) == pytest.approx(1)
    for side, name in ((ours, "ours"), (other, "other")):
        assert sum(term[name] for term in terms) == pytest.approx(1e6 * side["step_seconds"] / side["real_tokens"])
        low, high = side["interval"]
        assert side["hours_interval"] == pytest.approx([side["hours"] / high, side["hours"] / low])
    assert other["interval"] == list(read_reach().interval_of("FSDP"))
    assert ours["interval"] == list(read_reach().interval)
    text = pdapt("plan", "compare", NAME)
    assert "Predicted, not measured" in text
    assert f"{other['step_seconds']:.2f} s per step" in text


def test_a_gpu_sends_what_rings_of_a_billion_weights_send() -> None:
    """A reduction of gradients and a gathering of BF16 weights; with FSDP in each micro-batch, gathering twice."""
    replicated: Any = {"dp": 4, "cp": 2, "parameters": 1e9, "grad_bytes": 4, "accumulation": 3, "gathers": 0}
    assert sent_bytes(cast(Any, SimpleNamespace(**replicated))) == (4 + 2) * 1e9 * 7 / 8
    assert sent_bytes(cast(Any, SimpleNamespace(**replicated | {"gathers": 2}))) == 3 * (4 + 4) * 1e9 * 7 / 8


def test_each_assumption_has_its_reason_and_can_be_changed() -> None:
    recipe = load(NAME)
    usual = compare(recipe, FSDP_PADDED, None, site=Site())
    assert usual.other.run is not None
    assert [sentence.partition("=")[0] for sentence in usual.assumed[: len(REASONS)]] == list(REASONS)
    assert all(reason in str(usual.assumed) for reason in REASONS.values())
    changes = {
        "micro=2": True,
        "grads=fp32": False,
        "attention=flash-3": True,
        "fused=yes": True,
        "recompute=yes": False,
    }
    for item, faster in changes.items():
        changed = compare(recipe, FSDP_PADDED, None, site=Site(), assumptions=read_assumptions([item]))
        assert changed.other.run is not None
        assert (changed.other.run.step_seconds < usual.other.run.step_seconds) == faster, item
        assert f"{item}: as given" in changed.assumed
    assert (
        compare(recipe, FSDP_PADDED, None, site=Site(), assumptions=read_assumptions(["micro=2"])).other.micro_batch
        == 2
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["qwen3_tiny_cpt_2xcpu"], "1.3 to 71 G parameters on 8 to 512 GPUs: 0.0 G parameters and 2 GPUs"),
        ([NAME, "parallel.nodes=144", "batch.global_size=1152"], "576 GPUs and DP 576"),
        ([NAME, "--site", "jean_zay_h100"], "has no row of FSDP"),
    ],
)
def test_where_no_rows_of_fsdp_reach_only_arithmetic_is_given(arguments: list[str], reason: str) -> None:
    found = pdapt_json("plan", "compare", *arguments)
    assert reason in found["no_step_time"]
    assert found["terms"] == {}
    assert {"fill", "gigabytes", "memory_gib", "real_tokens"} <= set(found["other"])
    assert not [name for name in found["other"] if re.search("seconds|hour|kwh|mfu|interval", name)]
    assert "no step time: " in pdapt("plan", "compare", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([NAME, "--assume", "mikro=2"], "micro"),
        ([NAME, "--assume", "micro=0"], "'micro=0'"),
        ([NAME, "--assume", "micro=5"], "micro=5 does not divide a GPU's 24 rows a step"),
        ([NAME, "--assume", "fused"], "no value of fused is called ''"),
        ([NAME, "--with", "fsdp"], "fsdp-padded"),
        ([NAME, "parallel.nodes=10", "batch.global_size=640"], "40 GPUs do not divide the paper's batch of 1,152 rows"),
    ],
)
def test_what_cannot_be_compared_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pdapt("plan", "compare", *arguments)
