"""The terminal of a training run shows our lines alone; what libraries print is in a log."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pdapt.training.run.output import Follower

OURS = re.compile(r"\[ *\d+\.\d s\] (warning: )?(train|loading)\b")


def test_lines_for_people_are_shown_and_warnings_counted(tmp_path: Path) -> None:
    path, said = tmp_path / "log", []
    path.write_bytes(b"guard: of an earlier start\n")
    follower = Follower(path, path.stat().st_size, said.append)
    with path.open("ab") as file:
        file.write(b"/a/b.py:3: UserWarning: slow\n  warnings.warn('slow')\nguard: step 3: sk")
    follower.show()
    assert said == []
    with path.open("ab") as file:
        file.write(b"ip\n[   12.3 s] warning: train: no compiler\nWARNING:megatron:x\n")
        file.write(b"  successfully saved checkpoint from iteration 2\n > lm loss masks are made\n")
        file.write(
            b" iteration 2/ 4 | lm loss: 6.7 | grad norm: 1 |\n validation loss at iteration 4 | lm loss value: 6\n"
        )
    follower.end()
    assert said[:3] == [
        "train: guard: step 3: skip",
        "warning: train: no compiler",
        "train: validation loss at iteration 4 | lm loss value: 6",
    ]
    assert said[3:] == [f"train: 2 warnings of torch and Megatron are in {path}"]


PRINTS = """
import subprocess, sys
from pathlib import Path
from pdapt.training.run.output import kept_apart
try:
    with kept_apart(Path(sys.argv[1])):
        print("torch says something", flush=True)
        subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
        print("guard: step 1: seen")
        raise ValueError("the caller's")
except ValueError as error:
    print("after", error)
"""


def test_what_a_process_and_its_children_print_goes_to_the_log(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "rank-0.log"
    done = subprocess.run([sys.executable, "-c", PRINTS, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "after the caller's\n"
    assert done.stderr.endswith("train: guard: step 1: seen\n")
    assert done.stderr.count("\n") == 1
    assert path.read_text() == "torch says something\na child\nguard: step 1: seen\n"


@pytest.mark.slow
@pytest.mark.parametrize("torchrun", [False, True])
def test_a_training_start_says_nothing_but_ours(
    torchrun: bool, recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "pdapt.cli.main",
        "train",
        str(recipe_file),
        "parallel.ranks_per_node=2",
        "steps=3",
    ]
    if torchrun:
        command[1:2] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["parallel.ranks_per_node=2", "steps=3", "--tokens", str(tokens), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # torchrun warns of its own where it is not set
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    lines = done.stderr.splitlines()
    assert not [line for line in lines if not OURS.match(line)]
    assert any("validation loss at iteration 3" in line for line in lines)
    (told,) = (line for line in lines if "warnings of torch and Megatron are in" in line and "rank-1" not in line)
    path = Path(told.rpartition(" in ")[2])
    assert "UserWarning" in path.read_text()
    assert path.is_relative_to(out)
