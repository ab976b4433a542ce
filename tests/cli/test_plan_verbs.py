"""`pdapt plan`: the score of rows as others keep them, the search, and a recipe that goes on from it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import pdapt, pdapt_json

from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_json
from pdapt.recipes import schema
from pdapt.recipes.load import load
from pdapt.scaling import predicted_speed as predictions
from pdapt.scaling.published import rows


def plan(*arguments: object) -> str:
    return pdapt("plan", *arguments)


def score(path: Path) -> dict[str, Any]:
    return json.loads(plan("score", path, "--json"))


def test_a_file_of_the_evidences_form_is_scored(shared: Callable[[str], Path]) -> None:
    path = shared("perf/published_h100.json")
    found = score(path)
    given = {row["id"]: row for row in read_json(path)["rows"]}
    assert len(found["rows"]) == len(given)
    sizes = [abs(row["error_pct"]) for row in found["rows"]]
    assert found["mean_abs_error_pct"] == pytest.approx(sum(sizes) / len(sizes))
    assert found["max_abs_error_pct"] == max(sizes)
    for row in found["rows"]:
        assert row["error_pct"] == pytest.approx(100 * (row["predicted"] / row["published"] - 1))
        low, high = row["interval"]
        trainer = str(given[row["id"]].get("sharding")) + str(given[row["id"]].get("software"))
        if re.search("FSDP|foundry|nanotron|JAX", trainer):
            assert low < row["published"] < high, "of trainers that the fit hardly knows all rows at hand are inside"
        if "tokens_s_gpu" in given[row["id"]]:
            assert row["published"] == given[row["id"]]["tokens_s_gpu"]


def test_rows_that_say_little_are_scored_with_what_is_assumed(tmp_path: Path) -> None:
    write_json(tmp_path / "rows.json", [{"model": "MPT-7b", "n_gpu": 8, "tokens_s_gpu": 10_000}])
    found = score(tmp_path / "rows.json")
    assert len(found["rows"][0]["assumed"]) >= 4
    low, high = found["rows"][0]["interval"]
    assert low < found["rows"][0]["predicted"] < high


def test_the_evidences_derived_fields_are_not_needed(tmp_path: Path) -> None:
    """The rows without operations computed from hyperparameters are predicted alike."""
    given = rows()[::20]
    write_json(tmp_path / "bare.json", {"rows": given})
    write_json(tmp_path / "more.json", {"rows": [row | {"calc_step_time_s": 1, "more": None} for row in given]})
    bare, more = (score(tmp_path / f"{name}.json")["rows"] for name in ("bare", "more"))
    assert [row["predicted"] for row in bare] == [row["predicted"] for row in more]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"rows": []}, "no row"),
        ([{"id": 7, "model": "GPT5"}], "id 7"),
        ([{"model": "MPT-7b", "n_gpu": -8}], "n_gpu is -8"),
    ],
)
def test_rubbish_is_refused_and_said_where(value: object, message: str, tmp_path: Path) -> None:
    write_json(tmp_path / "rows.json", value)
    with pytest.raises(UserError, match=message):
        plan("score", tmp_path / "rows.json")


@pytest.mark.slow
def test_a_search_says_why_what_it_costs_and_writes_its_choice(tmp_path: Path) -> None:
    out = tmp_path / "chosen.yaml"
    given = ["recipe", "qwen3_0p6b_cpt_48xh100_packed", "--gpu-hour", "2", "--kwh", "0.1", "--out", out]
    found = json.loads(plan(*given, "--json"))
    assert len(found["best"]) == 10
    chosen = found["chosen"]
    assert found["cost"]["gpu_hours"] == pytest.approx(2 * chosen["gpu_hours"])
    assert found["cost"]["energy"] == pytest.approx(0.1 * chosen["kwh"])
    assert sum(chosen["terms_seconds"].values()) == pytest.approx(chosen["step_seconds"])
    text = plan(*given)
    assert "Predicted, not measured" in text
    assert " *  1" in text
    low, high = found["interval"]
    assert f"90 % took {1 / high:.2f} to {1 / low:.2f} times as long as predicted" in text
    assert low < 1 < high
    run = f"the whole run: {chosen['hours']:.1f} h, {chosen['gpu_hours']:,.0f} GPU-hours, {chosen['kwh']:,.0f} kWh"
    assert run in text
    assert f"cost of gpu-hours: {found['cost']['gpu_hours']:,.0f}" in text
    assert f"cost of energy: {found['cost']['energy']:,.0f}" in text
    dry = pdapt_json("train", out, "--dry-run")
    assert dry["recipe"]["batch"]["micro_size"] == chosen["micro"]
    assert dry["step_seconds"] == pytest.approx(chosen["step_seconds"])
    assert dry["memory_gib"] == pytest.approx(chosen["memory_gib"])


@pytest.mark.slow
def test_every_command_that_predicts_says_where_it_goes_beyond_the_rows(tmp_path: Path) -> None:
    """A model smaller than any that a speed is published of, and Jean Zay, whose rows are of one other model."""
    small, there = "qwen3_0p6b_cpt_4xh100_packed", ("--site", "jean_zay_h100")
    missing = "beyond the published rows that the planner is fitted to"
    assert missing in plan("recipe", small)
    assert missing in pdapt("train", small, "--dry-run")
    assert pdapt_json("train", small, "--dry-run")["beyond"][0].startswith(missing)
    measured = "beyond what was measured at this site"
    assert f"{measured}, Luciole-1B on 4 to 256 GPUs: Qwen3-0.6B is another model" in plan("recipe", small, *there)
    row = {"id": 1, "model": "Llama3-8B", "n_gpu": 8, "seq": 4096, "tokens_s_gpu": 10_000}
    write_json(tmp_path / "rows.json", [row])
    assert missing not in plan("score", tmp_path / "rows.json")
    assert measured in plan("score", tmp_path / "rows.json", *there)
    curves = pdapt_json("plan", "curves", small, "--gpus", "8", "--out", tmp_path / "curves", *there)
    assert measured in curves["counts"]["beyond"][0]


def test_measured_energy_stands_beside_the_predicted(tmp_path: Path) -> None:
    same = {"seconds": 1.0, "data_wait": 0.0, "tokens": 900_000, "skipped": False, "loss": 2.0, "sources": {}}
    steps = [
        {"event": "step", "step": n, "start": 0, "time": float(n), "joules": 5e5, "slots": 1_000_000, **same}
        for n in range(1, 5)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    found = json.loads(plan("recipe", "qwen3_8b_cpt_48xh100_packed", "--run", tmp_path, "--json"))
    assert found["measured"] == {"steps": 4, "joules_per_step": 5e5, "joules_per_slot": 0.5}
    text = plan("recipe", "qwen3_8b_cpt_48xh100_packed", "--run", tmp_path)
    assert "measured in 4 steps of --run: 0.5 J per slot" in text
    predicted = found["chosen"]["kwh"] * 3.6e6 / (4194 * 576 * 2048)  # steps, sequences a step, slots of each
    assert f"predicted here: {predicted:.3g} J per slot" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe", "RECIPE", "--out", "out.txt"], "not the name of a recipe file"),
        (["recipe", "RECIPE", "--run", "gone"], "gone is not a training run that has begun: the file is missing"),
        (["recipe", "RECIPE", "--keep", "pq"], "'pq' is not a setting"),
        (["recipe", "RECIPE", "--site", "bad.json"], "not a file of constants"),
        (["recipe", "RECIPE", "--tokens", "gone"], "tokens.json is missing"),
        (["recipe", "RECIPE", "--site", "gone"], "no site is called 'gone'"),
        (["score", "bad.json", "--site", "gone.json"], "gone.json is missing"),
        (["curves", "RECIPE", "parallel.tp=4", "--gpus", "2", "--out", "out"], "spread over 4 ranks"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "bad.json", {"rows": 3})
    with pytest.raises(UserError, match=message):
        plan(*("qwen3_8b_cpt_48xh100_packed" if word == "RECIPE" else word for word in arguments))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_local_layers_are_planned_slower_and_their_cost_is_said_where_auto_takes_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "qwen3_8b_cpt_48xh100_packed"
    speeds = {
        layers: predictions.predicted_speed(load(name, [f"model.transformer_impl={layers}"]), None)[0]
        for layers in ("transformer_engine", "local", "auto")
    }
    assert speeds["local"] > speeds["transformer_engine"] == speeds["auto"]
    assert predictions.cost_of_local_layers(load(name)) is None  # there is no GPU to train on
    for module in (predictions, schema):
        monkeypatch.setattr(module, "has_gpu", lambda: True)
    said = predictions.cost_of_local_layers(load(name))
    assert said is not None
    assert f"a step takes {speeds['local']:.3g} s" in said
    assert f"{speeds['local'] / speeds['transformer_engine'] - 1:.0%} more" in said
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        predictions.warn_of_local_layers(load(name))
        assert capsys.readouterr().err.count(said) == lines
    assert predictions.cost_of_local_layers(load(name, ["model.transformer_impl=local"])) is None
    monkeypatch.setattr(schema, "has_transformer_engine", lambda: True)
    assert predictions.cost_of_local_layers(load(name)) is None


def measured_rows(path: Path, slowness: float) -> Path:
    """Rows of local layers on an H200, as much slower than predicted as told."""
    shared = {"n_gpu": 1, "gbs": 32, "seq": 2048, "attended": 700, "grads": "bf16", "recompute": "none"}
    shared |= {"hw": "H200 SXM, 1/node", "software": "Megatron, local layers (2025-07)", "tokens_s_gpu": 1.0}
    given = [
        shared | {"id": f"{model} {mbs}", "model": model, "mbs": mbs}
        for model in ("Qwen3-0.6B", "Qwen3-1.7B")
        for mbs in (4, 8)
    ]
    write_json(path, {"rows": given})
    predicted = score(path)["rows"]
    write_json(
        path,
        {
            "rows": [
                row | {"tokens_s_gpu": one["predicted"] / slowness} for row, one in zip(given, predicted, strict=True)
            ]
        },
    )
    return path


def test_measured_rows_adjust_the_fit_to_a_site(tmp_path: Path) -> None:
    path, out = measured_rows(tmp_path / "rows.json", 1.3), tmp_path / "site.json"
    found = json.loads(plan("fit", path, "--out", out, "--json"))
    assert found["rows"] == 4
    assert all(row["before"] == pytest.approx(30, abs=0.01) for row in found["errors_pct"])
    assert all(abs(row["after"]) < 1 for row in found["errors_pct"])
    by_site = json.loads(plan("score", path, "--site", out, "--json"))
    assert by_site["max_abs_error_pct"] < 1
    assert "error +30.0 % with the published fit" in plan("fit", path)


def test_a_row_says_what_its_layers_memory_and_documents_are(tmp_path: Path) -> None:
    """Each of these makes another speed, in the direction that it should."""
    row = {
        "model": "Qwen3-0.6B",
        "n_gpu": 1,
        "mbs": 8,
        "gbs": 32,
        "seq": 2048,
        "recompute": "none",
        "tokens_s_gpu": 1.0,
    }
    engine = {"software": "Megatron (2025-07)", "hw": "H100 SXM", "grads": "bf16"}
    others = [
        {},
        {"software": "Megatron, local layers (2025-07)"},
        {"hw": "H200 SXM"},
        {"attended": 500},
        {"grads": "fp32"},
    ]
    write_json(tmp_path / "rows.json", [row | engine | other for other in others])
    plain, local, faster, shorter, wider = (one["predicted"] for one in score(tmp_path / "rows.json")["rows"])
    assert local < plain < faster
    assert wider < plain < shorter
    write_json(tmp_path / "rows.json", [row | engine | {"hw": "B200"}])
    with pytest.raises(UserError, match="H100 or H200"):
        score(tmp_path / "rows.json")
