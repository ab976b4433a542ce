"""Reading rows: the project's own, what is assumed where they do not say, and rubbish."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.gpus import H100
from pdapt.scaling import published
from pdapt.scaling.model_shapes import MODELS
from pdapt.scaling.published import SPLIT, cases, rows

ROW = {
    "id": 1, "model": "Llama3-8B", "n_gpu": 64, "precision": "bf16", "gbs": 128, "mbs": 1, "seq": 8192, "tp": 2,
    "pp": 2, "cp": 1, "dp": 16, "vp": 2, "software": "NeMo 25.04", "hw": "DGX H100 (8/node)", "recompute": "none",
    "tokens_s_gpu": 9000,
}  # fmt: skip


def one(**changes: Any) -> Any:
    row = {name: value for name, value in (ROW | changes).items() if value is not None}
    return cases([row], "file")[0]


def test_the_rows_are_those_of_the_evidence_with_their_sources(shared: Callable[[str], Path]) -> None:
    given = {row["id"]: row for row in read_json(shared("perf/published_h100.json"))["rows"]}
    ours = rows()
    assert len(ours) == len(given) == 245
    for row in ours:
        assert row["source"]
        assert {name: given[row["id"]][name] for name in row} == row


def test_whole_models_are_left_out_by_the_rule_that_the_split_states() -> None:
    split = read_json(SPLIT)
    assert len(split["test"]) == 8
    assert set(split["test"]) | set(split["calibration"]) == {row["model"] for row in rows()}
    assert not set(split["test"]) & set(split["calibration"])


def test_every_row_is_read_and_its_speed_is_that_of_the_source() -> None:
    for row, case in zip(rows(), cases(rows(), "published.json"), strict=True):
        assert case.work.gpus == row["n_gpu"]
        if "step_time_s" in row and "tokens_s_gpu" in row:
            assert case.published == pytest.approx(
                row["seq"] * row["gbs"] / row["step_time_s"] / row["n_gpu"], rel=0.01
            )
        if "tflops_gpu" in row and "tokens_s_gpu" in row and row.get("attn_flops_convention") == "causal-half":
            assert case.work.flops / case.work.slots * case.published / 1e12 == pytest.approx(
                row["tflops_gpu"], rel=0.03
            )


def test_what_a_row_states_is_taken() -> None:
    work = one().work
    assert (work.tp, work.pp, work.cp, work.dp, work.chunks) == (2, 2, 1, 16, 2)
    assert work.accumulation == 8
    assert (work.node, work.watts, work.memory) == (8, 700, 3.35e12)
    assert one().assumed == ()
    slow = one(hw="H100 96GB HBM2e, 500W, 4/node").work
    assert (slow.node, slow.nics, slow.watts, slow.memory) == (4, 4, 500, 2.4e12)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("mbs", "mbs is taken as 1"), ("gbs", "4 micro-batches"), ("vp", "vp is taken as 16"),
     ("seq", "seq is taken as 4096"), ("precision", "precision is taken as bf16"),
     ("software", "year is taken as 2025.5"), ("hw", "hw is taken as H100 SXM"), ("recompute", "taken as none")],
)  # fmt: skip
def test_what_is_not_stated_is_assumed_and_said(missing: str, message: str) -> None:
    assert any(message in assumed for assumed in one(**{missing: None}).assumed)


def test_dp_follows_from_the_gpus_and_the_gpus_from_dp() -> None:
    assert one(dp=None).work == one().work == one(n_gpu=None).work


def test_speed_follows_from_what_else_is_stated() -> None:
    tokens = one(tokens_s_gpu=None, step_time_s=2.0).published
    assert tokens == 128 * 8192 / 2 / 64
    flops = one().work.flops / one().work.slots
    half = one(tokens_s_gpu=None, tflops_gpu=400, attn_flops_convention="causal-half")
    assert half.published == pytest.approx(400e12 / flops)
    share = one(tokens_s_gpu=None, reported_mfu_pct=40, attn_flops_convention="causal-half")
    assert share.published == pytest.approx(0.4 * 989.4e12 / flops)
    whole = one(tokens_s_gpu=None, tflops_gpu=400)
    assert whole.published < half.published
    assert "in full" in whole.assumed[-1]


@pytest.mark.parametrize(
    ("text", "share"),
    [("none", 0), ("No", 0), ("full", 1), ("full (uniform)", 1), ("selective AC (per-op)", 0.5), ("per-op SAC", 0.5)],
)
def test_recomputation_is_read(text: str, share: float) -> None:
    assert one(recompute=text).work.recompute == share
    assert one(recompute=text).assumed == ()


def test_recomputation_that_is_not_understood_is_said() -> None:
    assert "taken as none" in one(recompute="somewhat").assumed[-1]


def test_unknown_models_take_operations_that_can_be() -> None:
    known = {"model": "Foo-9B", "calc_gflop_per_token_causal": 50.0}
    assert "fit its operations" in one(**known, calc_gflop_per_token_full=60.0).assumed[0]
    with pytest.raises(UserError, match="no dense model"):
        one(**known, calc_gflop_per_token_full=101.0)


def test_recomputation_is_assumed_only_where_nothing_else_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    fsdp = {"tp": 1, "pp": 1, "vp": None, "dp": 64, "sharding": "FSDP"}
    assert one(**fsdp, recompute=None).work.recompute == 0
    tight = one(**fsdp, recompute=None, mbs=2, gbs=512)
    assert tight.work.bytes < 80e9 < replace(tight.work, recompute=0).bytes
    assert tight.work.recompute == 0.5
    monkeypatch.setattr(published, "H100", replace(H100, memory=tight.work.bytes))
    assert one(**fsdp, recompute=None, mbs=2, gbs=512).work == tight.work, "it may fill the GPU"
    monkeypatch.undo()
    large = one(**fsdp, recompute=None, model="Llama3-70B")
    assert large.work.recompute == 1
    assert "recompute is taken as full" in large.assumed[-1]
    assert one(**fsdp, model="Llama3-70B").work.recompute == 0  # its row says none


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq": 0}, "seq is 0"),
        ({"seq": "long"}, "seq is 'long'"),
        ({"mbs": -1}, "mbs is -1"),
        ({"tp": 1.5}, "tp is 1.5"),
        ({"n_gpu": 63}, "does not divide 63 GPUs"),
        ({"dp": 8}, "is not 64 GPUs"),
        ({"n_gpu": None, "dp": None}, "neither n_gpu nor dp"),
        ({"gbs": 8}, "less than DP 16"),
        ({"precision": "bf17"}, "'bf16'"),
        ({"precision": 16}, "precision is 16"),
        ({"model": None}, "does not name its model"),
        ({"model": "Lama3-8B"}, "did you mean 'Llama3-8B'"),
        ({"tokens_s_gpu": None}, "does not state its speed"),
        ({"tokens_s_gpu": float("nan")}, "tokens_s_gpu is nan"),
        ({"tokens_s_gpu": True}, "tokens_s_gpu is True"),
        ({"shape": {"layers": 3}}, "shape is"),
        ({"shape": asdict(MODELS["Llama3-8B"]) | {"hidden": None}}, "hidden is null"),
        ({"seq": 10**400}, "seq is 1000"),
        ({"seq": 1e300}, "seq is 1e"),
        ({"tokens_s_gpu": 1e-320}, "tokens_s_gpu is 1e-320"),
        ({"mbs": 0.5}, "mbs is 0.5"),
        ({"vp": 40}, "32 layers do not fill PP 2"),
        ({"hw": "0/node"}, "node is 0"),
        ({"hw": "H100, 0 W"}, "watts is 0"),
        ({"hw": "H100 0.0 TB/s"}, "memory is 0"),
        ({"hw": "A100 80GB"}, "other GPUs"),
    ],
)
def test_rubbish_is_refused_and_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        one(**changes)
    assert "row 0" in error.value.where


@pytest.mark.parametrize("given", [None, {}, [], "rows", [1]])
def test_what_holds_no_rows_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match=r"there are no rows|a row is int"):
        cases(given, "file")
