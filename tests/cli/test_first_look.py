"""A rehearsal of tests/gpu/first_look.sh on a CPU where only what it brings along can be imported."""

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "gpu"
STEPS = ["facts", "ceilings", "numbers", "speeds", "sweep", "checkpoint", "profile", "layouts", "data"]


def brought() -> list[str]:
    """The packages of wheels.txt."""
    lines = (FOLDER / "wheels.txt").read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if not line.startswith("#")]


def test_every_wheel_has_a_reason_and_a_pinned_version() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "base.txt").read_text(), re.MULTILINE))
    lines = [line for line in (FOLDER / "wheels.txt").read_text().splitlines() if not line.startswith("#")]
    assert {line.split()[0] for line in lines} <= pinned
    assert all(len(line.split()) > 1 for line in lines)
    assert len(lines) == len(set(brought()))


@pytest.mark.slow
def test_the_numbers_that_are_shipped_are_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER / "first_look"))
    import small  # pyright: ignore[reportMissingImports]

    shipped, computed = json.loads(small.EXPECTED.read_text()), small.expected()
    assert shipped.keys() == computed.keys()
    assert len(shipped) > 10
    assert max(small.difference(computed[name], shipped[name]) for name in shipped) < 1e-5
    damaged = computed["logits"] | {"sample": [value * 1.01 for value in computed["logits"]["sample"]]}
    assert small.difference(damaged, shipped["logits"]) == pytest.approx(0.01, rel=0.01)


STEP = """
import json, pathlib, sys, time
name, work = sys.argv[1], pathlib.Path(sys.argv[2])
for part in (1, 2):
    (work / f"{name}.partial").write_text(json.dumps({"parts": part}))
    (work / f"{name}.partial").rename(work / f"{name}.json")
if name == "fails":
    raise RuntimeError("of no use")
if name == "hangs":
    time.sleep(100)
"""


def test_a_step_is_bounded_and_loses_nothing_that_it_has_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER / "first_look"))
    import run  # pyright: ignore[reportMissingImports]
    import table  # pyright: ignore[reportMissingImports]

    names = ("whole", "hangs", "fails", "late")
    monkeypatch.setattr(table, "SHOWN", {name: lambda found: [f"parts {found['parts']}"] for name in names})
    monkeypatch.setattr(run, "LEAST", 1.0)
    (tmp_path / "step.py").write_text(STEP)
    look = run.Look(tmp_path, tmp_path, tmp_path / "step.py")
    look.run({"whole": 60, "hangs": 5, "fails": 60}, seconds=150)
    look.run({"late": 10}, seconds=0)
    found = json.loads((tmp_path / "first_look.json").read_text())["steps"]
    assert [step["state"] for step in found] == ["done", "cut", "failed", "left out"]
    assert [step["result"] for step in found] == [{"parts": 2}] * 3 + [None]
    assert 5 <= found[1]["seconds"] < 60
    assert "of no use" in found[2]["log"]
    shown = (tmp_path / "first_look.txt").read_text()
    assert shown.count("parts 2") == 3
    assert "| RuntimeError: of no use" in shown


def needed(names: list[str]) -> Iterator[metadata.Distribution]:
    """These packages with all that they need."""
    waiting, seen = list(names), set[str]()
    while waiting:
        name = waiting.pop().lower()
        if name in seen:
            continue
        seen.add(name)
        found = metadata.distribution(name)
        yield found
        required = [Requirement(text) for text in found.requires or []]
        waiting += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Python with torch, numpy and what they need, and with the packages of wheels.txt without what those need."""
    folder = tmp_path / "bare"
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    alone = [metadata.distribution(name) for name in brought()]
    for found in [*needed(["torch", "numpy"]), *alone]:
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    return folder / "bin" / "python"


@pytest.mark.slow
def test_the_look_is_rehearsed_on_a_cpu(bare: Path, tmp_path: Path) -> None:
    probe = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('pyarrow', 'transformers', 'pdapt'))))"
    assert subprocess.run([bare, "-c", probe], check=False).returncode == 0, "the environment is not bare"
    out = tmp_path / "out"
    environment = os.environ | {"PYTHON": str(bare), "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(tmp_path)}
    command = [str(FOLDER / "first_look.sh"), "-", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = json.loads((out / "first_look.json").read_text())
    shown = (out / "first_look.txt").read_text()
    states = {step["name"]: step["state"] for step in found["steps"]}
    assert states == dict.fromkeys(STEPS, "done"), shown
    assert done.returncode == 0
    assert list(states) == STEPS
    assert done.stdout.endswith(shown)
    assert [line.split()[1].rstrip(":") for line in shown.splitlines() if line.startswith("== ")] == STEPS
    results = {step["name"]: step["result"] for step in found["steps"]}
    assert results["facts"]["rehearsal"] is True
    assert "REHEARSAL" in shown
    assert [results["numbers"][name]["passed"] for name in ("fp32", "bf16", "masks")] == [True] * 3
    assert results["checkpoint"]["passed"] is True
    assert len(results["profile"]["kernels"]) == 10
    planned(found, out, tmp_path)


def planned(found: dict[str, Any], out: Path, work: Path) -> None:
    """`pdapt plan fit` reads the rows, and a site's constants come of them."""
    speeds = [one for step in found["steps"] if step["name"] in ("speeds", "sweep") for one in step["result"]]
    assert [row["tokens_s_gpu"] for row in found["rows"]] == [one["slots_per_second"] for one in speeds]
    assert len(speeds) == 2
    site = work / "site.json"
    command = [sys.executable, "-m", "pdapt.cli.main", "plan", "fit", str(out / "first_look.json"), "--out", str(site)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 2
    assert json.loads(site.read_text())["constants"].keys() > {"bf16", "memory"}
