"""Shapes, against the operations that the shared evidence computes for each published row, and their names."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.flops import flops_per_step
from pdapt.core.qwen3 import SIZES
from pdapt.scaling.model_shapes import MODELS, find, from_row, of_flops, of_qwen3

SHAPE = {"layers": 2, "hidden": 8, "ffn": 16, "heads": 2, "kv_heads": 1, "head_dim": 4, "vocab": 10}


def test_every_published_models_operations_are_those_of_the_evidence(shared: Callable[[str], Path]) -> None:
    rows = [row for row in read_json(shared("perf/published_h100.json"))["rows"] if "calc_gflop_per_token_full" in row]
    assert len(rows) > 200
    for row in rows:
        shape, assumed = find(row["model"])
        assert assumed is None
        for name, causal in (("causal", True), ("full", False)):
            found = shape.flops_per_token(row["seq"], causal=causal) / 1e9
            assert found == pytest.approx(row[f"calc_gflop_per_token_{name}"], rel=2e-4)


def test_a_name_tells_the_parameters(subtests: pytest.Subtests) -> None:
    for name in MODELS:
        with subtests.test(name=name):
            size = re.search(r"(\d+(?:\.\d+)?)([bm])$", name.lower())
            assert size
            stated = float(size.group(1)) * {"b": 1e9, "m": 1e6}[size.group(2)]
            assert MODELS[name].parameters == pytest.approx(stated, rel=0.5 if stated < 2e9 else 0.15)


PUBLISHED = {
    "Llama2-7B": 6_738_415_616,
    "Llama2-13B": 13_015_864_320,
    "Llama2-70B": 68_976_648_192,
    "Llama3-8B": 8_030_261_248,
    "Llama3-70B": 70_553_706_496,
    "Llama3.1-405B": 405_853_388_800,
    "Llama3.2-1B": 1_235_814_400,
    "Llama3.2-3B": 3_212_749_824,
    "Lucie-7B": 6_706_958_336,
    "Mistral-7B": 7_241_732_096,
    "TinyLlama-1.1B": 1_100_048_384,
    "OLMo2-1B": 1_484_916_736,
    "OLMo2-7B": 7_298_617_344,
    "OLMo2-13B": 13_716_198_400,
    "OLMo2-32B": 32_234_279_936,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-3B": 3_085_938_688,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-14B": 14_770_033_664,
    "Qwen2.5-32B": 32_763_876_352,
    "Qwen2.5-72B": 72_706_203_648,
    "Qwen3-14B": 14_768_307_200,
    "Qwen3-32B": 32_762_123_264,
}
"""Parameters of released weights, as their pages on the Hub state them."""


def _norms_and_biases(name: str) -> int:
    """Parameters that are no matrices, by kind: norms; biases, and norms of queries and keys, of some."""
    shape = MODELS[name]
    of_layer = 2 * shape.hidden
    of_layer += shape.q + 2 * shape.kv if name.startswith("Qwen2.5") else 0
    of_layer += 2 * shape.head_dim if name.startswith("Qwen3") else 0
    of_layer += shape.q + shape.kv if name.startswith("OLMo2") else 0
    return shape.layers * of_layer + shape.hidden


def test_released_models_have_their_parameters_to_the_last_one() -> None:
    counted = {name: MODELS[name].parameters + _norms_and_biases(name) for name in PUBLISHED}
    assert counted == PUBLISHED


@pytest.mark.parametrize("size", SIZES)
def test_qwen3_costs_what_core_counts(size: str) -> None:
    expected = flops_per_step(SIZES[size], 100, 100 * 2048)
    assert 100 * of_qwen3(SIZES[size]).flops_per_token(2048, causal=True) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "llama3_8b", "Llama3-8B-Instruct"])
def test_spellings_are_the_same_model(name: str) -> None:
    assert find(name) == (MODELS["Llama3-8B"], None)


@pytest.mark.parametrize("name", ["GPT3-13B", "Llama2-34B", "MegatronGPT-8.3B", "MPT-2.5b"])
def test_an_unknown_size_has_as_many_parameters(name: str) -> None:
    shape, assumed = find(name)
    assert assumed
    assert "is unknown" in assumed
    assert shape.parameters / 1e9 == pytest.approx(float(re.findall(r"[\d.]+", name)[-1]), rel=0.1)


@pytest.mark.parametrize("name", ["Mixtral-8x7B", "Qwen3-30B-A3B", "GPT3", "", "llama3-moe-8b"])
def test_what_is_no_dense_model_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no dense model"):
        find(name)


def test_operations_alone_make_a_shape() -> None:
    known = MODELS["Llama3-70B"]
    causal, full = (known.flops_per_token(8192, causal=causal) for causal in (True, False))
    shape, assumed = of_flops(causal, full, 8192)
    assert "fit its operations" in assumed
    assert shape.flops_per_token(8192, causal=True) == pytest.approx(causal, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"gated": 1}, "gated is 1"),
        ({"width": 1}, "shape is"),
        ({"heads": True}, "heads"),
    ],
)
def test_a_rows_own_shape_is_checked(change: dict[str, object], message: str) -> None:
    whole = {**SHAPE, "gated": False, "tied": True}
    assert from_row(whole, "row 0").parameters == 2 * 8 * (16 + 8 + 2 * 16) + 80
    with pytest.raises(UserError, match=message):
        from_row(whole | change, "row 0")
