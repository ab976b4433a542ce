"""The step-time model: against formulas worked out here, and what must become slower or faster."""

from dataclasses import fields, replace

import numpy as np
import pytest

from pdapt.scaling.constants import Constants, read_fit
from pdapt.scaling.model_shapes import MODELS
from pdapt.scaling.published import cases, rows
from pdapt.scaling.step_time import Terms, speed, step_time
from pdapt.scaling.work import Work, of_architecture, stack

BF16, FP8 = 989.4e12, 1978.9e12
"""An H100's peak, by its data sheet."""
ONE = Constants(
    bf16=1, fp8=1, attention=1, memory=1e9, kernel=1e-15, tp_exposed=1, dp_exposed=1, network=1, hop=1e-15,
    progress=1e-9, step=1e-15, half_length=1e-9, pp_exposed=1,
)  # fmt: skip
"""Arithmetic and links as the data sheets have them; everything else is free."""


def work(name: str = "Llama3-8B", **changes: float) -> Work:
    given = {"tp": 1, "pp": 1, "cp": 1, "dp": 8, "chunks": 1, "micro": 1, "accumulation": 4, "seq": 8192}
    given |= {"attended": 8192} | changes
    return Work(**of_architecture(MODELS[name]), **given)


@pytest.mark.parametrize("name", ["Llama3-8B", "GPT3-5B"])
def test_arithmetic_takes_its_operations_over_the_peak(name: str) -> None:
    one = work(name)
    terms = step_time(one, ONE)
    shape = MODELS[name]
    matrices = 6 * (shape.layers * shape.layer_parameters + shape.hidden * shape.vocab)
    assert terms.products == pytest.approx(one.slots / 8 * matrices / BF16, rel=1e-6)
    # Two products forward and five backward, of which half is masked: 3.5/3 of what is counted.
    scores = 6 * shape.layers * shape.q * 8192 * 3.5 / 3
    assert terms.attention == pytest.approx(one.slots / 8 * scores / BF16, rel=1e-6)


def test_fp8_makes_the_layers_products_alone_faster() -> None:
    shape, slots = MODELS["Llama3-8B"], work().slots / 8
    layers, output = shape.layers * shape.layer_parameters, shape.hidden * shape.vocab
    expected = 6 * slots * (layers / FP8 + output / BF16)
    assert step_time(work(fp8=1), ONE).products == pytest.approx(expected, rel=1e-6)


def test_a_pipeline_idles_as_long_as_its_other_stages_take() -> None:
    alone = step_time(work(), ONE)
    layers = alone.products - 4 * 6 * 8192 * 4096 * 128_256 / BF16 + alone.attention
    for chunks in (1, 4):
        piped = step_time(work(pp=4, chunks=chunks, nic=1e18), ONE)
        assert piped.bubble == pytest.approx(3 / chunks * layers / 4 / 4, rel=1e-4)


def test_tensor_parallel_messages_pass_over_nvlink() -> None:
    terms = step_time(work(tp=4, dp=2), ONE)
    size = 2 * 8192 * 4096 * 3 / 4
    assert terms.tp == pytest.approx(4 * 32 * 8 * size / (0.8 * 450e9), rel=1e-6)
    assert terms.products == pytest.approx(step_time(work(), ONE).products / 4, rel=1e-6)


@pytest.mark.parametrize(
    ("dp", "nics", "seconds_per_byte"),
    [(8, 2, 7 / 8 / (0.8 * 450e9)), (64, 2, 7 / 8 / (2 * 50e9)), (64, 8, 63 / 64 / (0.8 * 450e9))],
)
def test_gradients_travel_inside_a_node_or_over_its_cards(dp: int, nics: int, seconds_per_byte: float) -> None:
    """The slower of both counts: with a card a GPU, that is NVLink."""
    one = work(dp=dp, grad_bytes=4, nics=nics)
    assert step_time(one, ONE).dp == pytest.approx(one.parameters * 6 * seconds_per_byte, rel=1e-6)


@pytest.mark.parametrize(
    ("tp", "cp", "bytes_per_second"), [(2, 4, 0.8 * 450e9), (1, 8, 0.8 * 450e9), (4, 4, 50e9), (1, 16, 50e9)]
)
def test_keys_and_values_travel_inside_a_node_or_over_its_cards(tp: int, cp: int, bytes_per_second: float) -> None:
    """Keys and values in BF16, to every other rank of the group, once forward and twice backward; a card a GPU."""
    sequence = work(tp=tp, cp=cp, dp=1, nics=8, attended=1e-6)  # too little attention to hide anything behind
    shape = MODELS["Llama3-8B"]
    size = 3 * 2 * 2 * shape.kv / tp * 8192 / cp * (cp - 1)
    assert step_time(sequence, ONE).cp == pytest.approx(4 * shape.layers * size / bytes_per_second, rel=1e-6)


def test_attention_hides_the_exchange_of_keys_and_values_that_takes_less_time() -> None:
    assert step_time(work(cp=4, dp=2), ONE).cp == 0


def test_fewer_cards_are_slower_only_between_nodes() -> None:
    for dp, ratio in ((8, 1.0), (64, 2.0)):
        times = [step_time(work(dp=dp, nics=nics), ONE).dp for nics in (4, 2)]
        assert times[1] / times[0] == pytest.approx(ratio)


def test_fsdp_gathers_in_every_micro_batch() -> None:
    few, many = (step_time(work(gathers=2, accumulation=count), ONE).dp for count in (1, 6))
    assert many == pytest.approx(6 * few)


def test_masks_save_attention_by_the_squared_lengths() -> None:
    whole, pieces = work(), work(attended=1024)
    assert step_time(pieces, ONE).attention == pytest.approx(step_time(whole, ONE).attention / 8)
    assert pieces.flops < whole.flops


def test_terms_add_up_and_arrays_equal_numbers() -> None:
    constants = read_fit().constants
    given = [case.work for case in cases(rows(), "published.json")[::10]]
    together = speed(stack(given), constants)
    assert together == pytest.approx([float(speed(one, constants)) for one in given])
    terms = step_time(given[0], constants)
    assert terms.total == pytest.approx(sum(float(getattr(terms, item.name)) for item in fields(Terms)))
    assert all(float(getattr(terms, item.name)) >= 0 for item in fields(Terms))


@pytest.mark.parametrize(
    "change", [{"recompute": 1}, {"grad_bytes": 8}, {"watts": 400}, {"year": 2023}, {"fused": 0}, {"attention": 0},
               {"attention": 1}, {"dp_overlap": 0}, {"memory": 2e12}, {"gathers": 2}, {"vocab": 200_000.0}],
)  # fmt: skip
def test_what_must_be_slower_is(change: dict[str, float]) -> None:
    constants = read_fit().constants
    usual = work(dp=64)
    assert step_time(replace(usual, **change), constants).total > step_time(usual, constants).total


def test_more_accumulation_hides_more_and_more_gpus_hide_less() -> None:
    constants = read_fit().constants
    by_batch = [float(speed(work(dp=64, accumulation=count), constants)) for count in (1, 4, 16)]
    by_gpus = [float(speed(work(dp=dp), constants)) for dp in (8, 64, 512, 4096)]
    assert by_batch == sorted(by_batch)
    assert by_gpus == sorted(by_gpus, reverse=True)
    assert np.isfinite(by_gpus).all()
