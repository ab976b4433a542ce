"""Constants and published rows of the user's own, damaged."""

import json
from collections.abc import Callable
from pathlib import Path

from pdapt.scaling.constants import FITTED, read_fit
from pdapt.scaling.published import read_rows, rows

Fuzz = Callable[..., None]


def test_fuzz_constants(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    path.write_bytes(FITTED.read_bytes())
    fuzz(path, lambda: read_fit(path))


def test_fuzz_rows(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"rows": rows()[:3]}))
    fuzz(path, lambda: [case.work.bytes for case in read_rows(path)])
