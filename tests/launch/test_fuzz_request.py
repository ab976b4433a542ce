"""A folder of `pdapt run`, damaged."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from pdapt.core.files import read_object
from pdapt.core.manifest import MANIFEST_FILE, Manifest
from pdapt.core.remarks.remark import Remark, RemarkKind
from pdapt.eval.report.texts import Words
from pdapt.launch.build_reports import _settings  # pyright: ignore[reportPrivateUsage]
from pdapt.launch.hf_models import exported_steps
from pdapt.launch.request import REQUEST_FILE, FittedRecipe, Request, changes, claim, read_request, write_request
from pdapt.launch.score_models import resolve
from pdapt.recipes.load import load, to_dict

Fuzz = Callable[..., None]
ENGLISH = Words.read("en")
REQUESTED = Request("A report", "medical", ["medical=texts"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Its request, and what its report takes from two stages."""
    note = Remark(RemarkKind.RECIPE_OVERRIDES, {"overrides": "steps=8"})
    write_request(REQUESTED, tmp_path, FittedRecipe({"global_size": 8}, [note]))
    config = to_dict(load("qwen3_tiny_cpt_2xcpu"))
    for folder, options in (("cpt", config), ("hf/merged", {"t": 0.5}), ("hf/cpt-00004", {})):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / MANIFEST_FILE).write_text(json.dumps(asdict(Manifest("stage", {}, options, {}, {}))))
    return tmp_path


def test_a_whole_run_stands_for_its_own_models_alone(run: Path) -> None:
    (run / "hf" / "cpt-of-a-friend").mkdir()
    assert [(model.name, model.step) for model in resolve([str(run)], run / "exports")] == [
        ("base", None),
        ("cpt-00004", 4),
        ("merged", None),
    ]


def test_fuzz_request(fuzz: Fuzz, run: Path) -> None:
    def use() -> None:
        before = claim(run)
        if before is not None:
            changes(before.values, REQUESTED)
            FittedRecipe.read(before)
            read_request(run)
        resolve([str(run)], run / "exports")
        json.dumps(_settings(read_object(run / REQUEST_FILE), run, ENGLISH))

    fuzz(run / REQUEST_FILE, use)


@pytest.mark.parametrize("stage", ["cpt", "hf/merged"])
def test_fuzz_stages_of_a_report(fuzz: Fuzz, run: Path, stage: str) -> None:
    request = read_object(run / REQUEST_FILE)
    fuzz(run / stage / MANIFEST_FILE, lambda: _settings(request, run, ENGLISH))


def test_exports_of_another_run_whose_name_begins_alike_are_not_taken(tmp_path: Path) -> None:
    for name in ("run-00004", "run-b-00008", "run-00012", "run-notes"):
        (tmp_path / name).mkdir()
    assert [step for _, step in exported_steps(tmp_path, "run-")] == [4, 12]
