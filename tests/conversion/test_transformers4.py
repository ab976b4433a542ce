"""Models written here, read by transformers 4 as by 5: the same logits, whichever line a user has.

The 4.x packages are installed, once, into a folder of their own in the environment, and put before the others.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.core.files import remove, sha256
from pdapt.merge.run import average, merge
from pdapt.merge.sweep import sweep

pytestmark = pytest.mark.slow
Maker = Callable[..., Path]
REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "transformers4.txt"
SCRIPT = """
import sys, torch, transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
ids = torch.randint(0, 1000, (1, 400), generator=torch.Generator().manual_seed(0))
found = {"version": transformers.__version__}
for folder in sys.argv[2:]:
    model, told = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"], told
    assert model.dtype == torch.bfloat16, model.dtype
    with torch.no_grad():
        out = model.float()(ids, labels=ids)
    words = AutoTokenizer.from_pretrained(folder)("Le patient 7 va mieux.")["input_ids"]
    found[folder] = (out.logits, out.loss, words)
torch.save(found, sys.argv[1])
"""


@pytest.fixture(scope="module")
def transformers4() -> Path:
    """Folder of the 4.x packages; installed where the environment lacks them, never skipped."""
    folder = Path(sys.prefix) / "transformers4"
    made_from = folder / sha256(REQUIREMENTS)
    if not made_from.exists():
        remove(folder)
        install = ["install", "--quiet", "--require-hashes", "--no-deps", "--target", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", *install, "-r", str(REQUIREMENTS)], check=True)
        made_from.touch()
    return folder


def read(folders: list[Path], out: Path, *before: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor, list[int]]]:
    """Version, and of each model logits of a row of ids, their loss and the ids of a sentence."""
    path = os.pathsep.join(map(str, before))
    environment = os.environ | ({"PYTHONPATH": path} if path else {})
    command = [sys.executable, "-c", SCRIPT, str(out), *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


def test_both_lines_of_transformers_read_the_same_model(tiny_qwen3: Maker, tmp_path: Path, transformers4: Path) -> None:
    base, tuned = (tiny_qwen3(seed, dtype="bfloat16", initializer_range=0.2) for seed in (0, 1))
    made = [tmp_path / name for name in ("exported", "again", "merged", "averaged", "sweep/t0.3")]
    import_hf(base, tmp_path / "root")
    export_hf(tmp_path / "root", made[0])
    import_hf(made[0], tmp_path / "root-again")
    export_hf(tmp_path / "root-again", made[1])
    merge(base, tuned, made[2], t=0.3)
    average([base, tuned], made[3])
    sweep(base, tuned, tmp_path / "sweep", [0.3])
    five, four = read([base, *made], tmp_path / "5.pt"), read([base, *made], tmp_path / "4.pt", transformers4)
    assert str(five["version"]).startswith("5."), five["version"]
    assert str(four["version"]).startswith("4.57."), four["version"]
    for folder in map(str, made):
        assert torch.equal(four[folder][0], five[folder][0]), folder
        assert torch.equal(four[folder][1], five[folder][1]), folder
        assert four[folder][2] == five[folder][2]
    assert torch.equal(five[str(made[0])][0], five[str(base)][0])
    assert torch.equal(five[str(made[2])][0], five[str(made[4])][0])
    # So that it could fail: 4 does not understand what 5 saves.
    assert not torch.allclose(four[str(base)][0], five[str(base)][0], atol=1e-3)
