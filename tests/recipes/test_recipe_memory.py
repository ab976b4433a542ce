"""A recipe's memory: the parts of a save, and the settings that are proposed where GPUs have too little."""

import pytest

from pdapt.core.errors import UserError
from pdapt.core.qwen3 import SIZES
from pdapt.recipes.load import load
from pdapt.recipes.memory import of_host

BIG = "qwen3_8b_cpt_48xh100_packed"
UNMASKED = ["data.layout=concat", "data.document_masks=false", "batch.micro_size=1"]


@pytest.mark.parametrize("cp", [1, 2, 4])
def test_ranks_that_share_a_sequence_share_a_save(cp: int) -> None:
    """All 48 ranks write a part: the BF16 weight, the FP32 weight and both moments of every parameter, 14 bytes."""
    recipe = load(BIG, [*UNMASKED, f"parallel.cp={cp}"])
    assert 48 * of_host(recipe).share == pytest.approx(14 * SIZES["8b"].parameters)


@pytest.mark.parametrize(
    "given",
    [
        ["batch.micro_size=6"],
        ["batch.micro_size=6", "machine.gpu_gib=40"],
        ["batch.micro_size=2", "machine.gpu_gib=60"],
        ["batch.micro_size=1", "machine.gpu_gib=20"],
    ],
)
def test_the_settings_that_are_proposed_fit(given: list[str]) -> None:
    with pytest.raises(UserError, match="a GPU would need") as refused:
        load(BIG, given)
    *settings, verdict = refused.value.fix.split()
    assert verdict == "fits"
    load(BIG, [*given, *settings])


def test_where_no_settings_fit_more_gpus_are_proposed() -> None:
    with pytest.raises(UserError) as refused:
        load(BIG, ["machine.gpu_gib=5"])
    assert "more GPUs" in refused.value.fix
