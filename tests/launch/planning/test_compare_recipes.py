"""A recipe beside the paper's way to train."""

import json

import pytest
from commands import pdapt

from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.scaling.constants import read_reach

NAME = "qwen3_8b_cpt_48xh100_packed"


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
    assert f"{other['step_seconds']:.2f} s a step" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([NAME, "--with", "fsdp"], "fsdp-padded"),
        ([NAME, "parallel.nodes=10", "batch.global_size=640"], "40 GPUs do not divide the paper's batch of 1,152 rows"),
    ],
)
def test_what_cannot_be_compared_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pdapt("plan", "compare", *arguments)
