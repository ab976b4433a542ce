"""Constants and published rows of the user's own, damaged."""

import json
from collections.abc import Callable
from pathlib import Path

from pdapt.core.files import read_json
from pdapt.scaling.constants import FITTED, read_fit, read_measured
from pdapt.scaling.published import read_rows, rows
from pdapt.scaling.site_fit import read_site_rows

Fuzz = Callable[..., None]


def test_fuzz_constants(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    path.write_text(json.dumps(read_json(FITTED) | {"measured": {"models": ["Luciole-1B"], "gpus": [4, 256]}}))
    fuzz(path, lambda: (read_fit(path), read_measured(path)))


def test_fuzz_rows(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"rows": rows()[:3]}))
    fuzz(path, lambda: [case.work.bytes for case in read_rows(path)])


def test_fuzz_site_rows(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    alternatives = [{"name": "a micro-batch of 4", "mbs": 4, "ids": [rows()[0]["id"]]}]
    path.write_text(json.dumps({"rows": rows()[:3], "alternatives": alternatives}))
    fuzz(path, lambda: read_site_rows(path))
