"""The table of GPUs: against figures that others have collected, and that nothing else in the rooms repeats it."""

import re
from collections.abc import Callable
from pathlib import Path

from pdapt.core.files import read_json
from pdapt.core.gpus import H100, H200, NETWORK_CARD

ROOT = Path(__file__).resolve().parents[2]
FIGURES = re.compile(r"\b(989(\.4)?e12|197[89](\.\d)?e12|3\.35(e12)?|4\.8e12|450e9|79\.1|139\.8|GIB = )(?![\d.])")


def test_the_figures_are_those_that_others_have_collected(shared: Callable[[str], Path]) -> None:
    collected = read_json(shared("perf/hardware.json"))["hardware"]
    assert H100.bf16 / 1e12 == collected["h100_sxm_bf16_dense_tflops"]["v"]
    assert H100.bandwidth / 1e12 == collected["hbm3_TBps"]["v"]
    assert H100.nvlink / 1e9 == collected["nvlink4_unidir_GBps_per_gpu"]["v"]
    assert collected["ib_ndr_per_gpu_GBps"]["v"] == NETWORK_CARD / 1e9


def test_an_h200_is_an_h100_with_more_and_faster_memory() -> None:
    differing = {name for name in vars(H100) if getattr(H100, name) != getattr(H200, name)}
    assert differing == {"name", "memory", "usable_gib", "bandwidth"}
    assert all(getattr(H200, name) > getattr(H100, name) for name in differing - {"name"})


def test_no_other_file_of_the_rooms_repeats_a_figure() -> None:
    repeated = {}
    rooms = [room for room in ROOT.iterdir() if room.name != "tests" and (room / "__init__.py").is_file()]
    assert len(rooms) > 8
    for path in (path for room in rooms for path in room.rglob("*.py")):
        if path.name != "gpus.py":
            code = re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text(encoding="utf-8"))
            if match := FIGURES.search(code):
                repeated[str(path.relative_to(ROOT))] = match[0]
    assert repeated == {}
