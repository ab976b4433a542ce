"""A site's two constants, fitted to its rows: what they change, how far they are off, and what they say of others."""

import json
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_json
from pdapt.launch.planning.site_speed import fit_for_site, lines
from pdapt.launch.slurm_site import FOLDER, read_site, speed_path
from pdapt.recipes.load import load
from pdapt.scaling.constants import CONSTANT_NAMES, read_fit, read_measured, read_reach
from pdapt.scaling.predict_run import beyond
from pdapt.scaling.published import cases
from pdapt.scaling.site_fit import FREE, fit_site

JEAN_ZAY = FOLDER / "jean_zay_h100.json"
ROW = {"model": "Luciole-1B", "seq": 2048, "gbs": 512, "mbs": 2, "recompute": "none", "hw": "H100, 4 GPU/node"}
ROWS = [ROW | {"id": gpus, "n_gpu": gpus, "tokens_s_gpu": speed} for gpus, speed in ((4, 49e3), (16, 46e3), (64, 40e3))]


def test_jean_zays_constants_are_what_its_rows_give_and_within_the_aim() -> None:
    result = fit_site(JEAN_ZAY)
    stated = read_fit(JEAN_ZAY)
    for name in CONSTANT_NAMES:
        assert getattr(result.fit.constants, name) == pytest.approx(getattr(stated.constants, name), rel=1e-3)
    assert result.fit.interval == pytest.approx(stated.interval, rel=1e-3)
    errors = [abs(row.left_out) for row in result.rows]
    assert (len(errors), sum(errors) / len(errors) < 8, max(errors) < 15) == (5, True, True)
    assert len(result.assumptions) == 3


def test_the_rows_of_the_evidence_are_those_of_the_site(shared: Any) -> None:
    given = {row["id"]: row for row in read_json(shared("perf/jean_zay.json"))["rows"]}
    for row in read_json(JEAN_ZAY)["rows"]:
        assert row.items() <= given[row["id"]].items()


def test_a_site_keeps_all_constants_but_two(tmp_path: Path) -> None:
    write_json(tmp_path / "rows.json", ROWS)
    fitted, published = fit_site(tmp_path / "rows.json").fit.constants, read_fit().constants
    changed = {name for name in CONSTANT_NAMES if getattr(fitted, name) != getattr(published, name)}
    assert changed <= set(FREE)
    assert "step" in changed


def test_the_interval_holds_every_row_left_out_under_each_assumption(tmp_path: Path) -> None:
    write_json(tmp_path / "rows.json", {"rows": ROWS, "alternatives": [{"name": "a micro-batch of 8", "mbs": 8}]})
    result = fit_site(tmp_path / "rows.json")
    low, high = result.fit.interval
    every = [row.left_out for row in result.rows] + result.assumptions[0].left_out
    assert len(every) == 6
    assert all(low - 1e-9 <= 1 / (1 + error / 100) <= high + 1e-9 for error in every)
    assert "assuming a micro-batch of 8: " in "\n".join(lines(result))


def test_a_site_is_made_to_name_the_constants_that_are_written_for_it(tmp_path: Path) -> None:
    write_json(tmp_path / "rows.json", ROWS)
    site = tmp_path / "mine.yaml"
    site.write_text('title: mine\nlongest: "1:00:00"')
    _, out = fit_for_site(tmp_path / "rows.json", str(site))
    assert (out, speed_path(str(site)), read_site(str(site)).title) == (tmp_path / "mine.json", out, "mine")
    before = site.read_bytes()
    fit_for_site(tmp_path / "rows.json", str(site))
    assert site.read_bytes() == before
    assert fit_site(out).fit == read_fit(out), "its own file can be fitted again"


def test_a_file_in_the_way_is_not_overwritten_and_bad_rows_write_nothing(tmp_path: Path) -> None:
    site = tmp_path / "mine.yaml"
    site.write_text('title: mine\nlongest: "1:00:00"\n')
    write_json(tmp_path / "rows.json", ROWS[:2])
    with pytest.raises(UserError, match="there are 2 rows"):
        fit_for_site(tmp_path / "rows.json", str(site))
    write_json(tmp_path / "rows.json", {"rows": ROWS, "alternatives": [{"mbs": 1}]})
    with pytest.raises(UserError, match="`alternatives`"):
        fit_for_site(tmp_path / "rows.json", str(site))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "rows.json"]
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(UserError, match="does not name it as its `speed`"):
        fit_for_site(tmp_path / "rows.json", str(site))
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_a_prediction_beyond_a_sites_rows_says_so() -> None:
    measured = read_measured(JEAN_ZAY)
    assert beyond(load("qwen3_8b_cpt_48xh100_packed"), read_reach(JEAN_ZAY)) == [
        "beyond what was measured at this site, Luciole-1B on 4 to 256 GPUs: Qwen3-8B is another model"
    ]
    assert measured is not None
    assert measured.beyond("Luciole-1B", 64) is None
    assert "512 GPUs another size" in str(measured.beyond("Luciole-1B", 512))
    assert beyond(load("qwen3_8b_cpt_48xh100_packed"), read_reach()) == []


def test_a_damaged_record_of_what_was_measured_is_refused(tmp_path: Path) -> None:
    for measured in ([], {"models": "x", "gpus": [1, 2]}, {"models": ["x"], "gpus": [1]}, {"models": ["x"]}):
        (tmp_path / "site.json").write_text(json.dumps(read_fit().to_json() | {"measured": measured}))
        with pytest.raises(UserError, match="`measured` is not what a site measured"):
            read_measured(tmp_path / "site.json")


def test_a_row_that_says_how_it_was_trained_is_read_so() -> None:
    def work(**values: str) -> Any:
        return cases([ROWS[0] | {"software": "torchtitan 2025-01"} | values], "rows")[0].work

    assert (work(sharding="FSDP, compile").fused, work(sharding="FSDP, no compile").fused) == (1, 0)
    assert work(sharding="FSDP, without compile").fused == 0
    nemo = {"software": "NeMo 2.3.1"}
    assert work(**nemo).grad_bytes == 2
    assert work(**nemo, sharding="grad_reduce_in_fp32=True").grad_bytes == 4
    assert work(hw="H100 80GB, 4 GPU/node").node == 4
