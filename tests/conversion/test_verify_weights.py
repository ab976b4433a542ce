"""Two models of either format, compared tensor by tensor."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pdapt.conversion.convert import import_hf
from pdapt.conversion.verify import Comparison, verify

Maker = Callable[..., Path]


@pytest.mark.parametrize("tied", [True, False])
def test_verify_finds_what_differs_and_by_how_much(tiny_qwen3: Maker, tmp_path: Path, tied: bool) -> None:
    source = tiny_qwen3(tied=tied, dtype="bfloat16")
    import_hf(source, tmp_path / "mcore")
    count = len(load_file(source / "model.safetensors"))
    assert verify(source, tmp_path / "mcore") == Comparison(True, count, [], {})
    changed = tmp_path / "changed"
    shutil.copytree(source, changed)
    weights = load_file(source / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    other = weights[name].clone()
    other[3, 7] += 1.0
    other[20, 1] -= 3.0
    largest = (other.double() - weights[name].double()).abs().max().item()
    smaller = weights["model.norm.weight"] + 0.5
    save_file(weights | {name: other, "model.norm.weight": smaller}, changed / "model.safetensors")
    for first, second in ((tmp_path / "mcore", changed), (source, changed)):
        found = verify(first, second)
        assert (found.identical, found.tensors) == (False, count)
        rows = found.different
        assert [row.name for row in rows] == [name, "model.norm.weight"]
        assert (rows[0].values, rows[0].largest) == (2, largest)
        assert rows[1].values == 64


def test_verify_names_what_only_one_of_them_has(tiny_qwen3: Maker, tmp_path: Path) -> None:
    tied, untied = tiny_qwen3(tied=True), tiny_qwen3(tied=False, num_hidden_layers=1)
    found = verify(tied, untied)
    sides = {row.name: (row.first, row.second) for row in found.different}
    absent = {name: both for name, both in sides.items() if None in both}
    assert absent["lm_head.weight"] == (None, "F32 [1024, 64]")
    assert all("layers.1." in name for name in absent.keys() - {"lm_head.weight"})
    assert len(absent) == 1 + 11


def test_verify_calls_the_same_bits_the_same_even_where_they_are_no_number(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    weights = load_file(source / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, source / "model.safetensors")
    other = tmp_path / "other"
    shutil.copytree(source, other)
    assert verify(source, other).identical
    weights["model.norm.weight"][0] = 1
    save_file(weights, other / "model.safetensors")
    (row,) = verify(source, other).different
    assert (row.values, row.largest) == (1, None)
