"""Guards in real runs: what is not finite and what spikes is stopped, skipped, or gone back from."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdapt.conversion.convert import import_hf
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.core.errors import Halted
from pdapt.core.files import read_json
from pdapt.recipes.load import load
from pdapt.training.run.folder import SKIPPED, checkpoints
from pdapt.training.run.journal import JOURNAL_FILE, Event, Row, kept, read
from pdapt.training.run.run_state import STATE
from pdapt.training.train import train

pytestmark = pytest.mark.slow
Maker = Callable[..., Path]
TWO = "parallel.ranks_per_node=2"
NORM = "decoder.final_layernorm.weight"
# Nothing is learnt at this rate, so that losses only scatter: 1.7 deviations are passed now and then.
RESTLESS = ["steps=40", "optimizer.lr=1e-7", "guard.window=16", "guard.deviations=1.7", "checkpoint.every=5", TWO]


def events(out: Path, kind: str) -> list[Row]:
    return [row for row in read(out / JOURNAL_FILE) if row["event"] == kind]


@pytest.fixture
def broken(tiny_qwen3: Maker, tmp_path: Path) -> Path:
    """A base whose weights are numbers, and whose logits are not."""
    source = tiny_qwen3()
    weights = load_file(source / "model.safetensors")
    weights["model.norm.weight"][:] = 3e38
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    import_hf(source, tmp_path / "base")
    return tmp_path / "base"


def test_what_is_not_a_number_stops_the_run_before_it_reaches_a_weight(
    broken: Path, recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    recipe = load(str(recipe_file), [TWO])
    with pytest.raises(Halted, match=r"step 1: loss None, gradient norm nan(.|\n)*guard\.nonfinite") as halted:
        train(recipe, tokens, tmp_path / "run", base=broken)
    assert halted.value.code == 76
    assert read_json(tmp_path / "run" / STATE)["state"] == "stop"
    assert not checkpoints(tmp_path / "run")


def test_skipping_for_ever_is_stopped_by_the_limit(
    broken: Path, recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    recipe = load(str(recipe_file), ["guard.nonfinite=skip", "guard.limit=3", "checkpoint.every=1"])
    with pytest.raises(Halted, match=r"step 4: .*guard\.limit=3 is reached"):
        train(recipe, tokens, tmp_path / "run", base=broken)
    assert [(row["step"], row["action"]) for row in events(tmp_path / "run", "guard")] == [
        (1, "skip"),
        (2, "skip"),
        (3, "skip"),
        (4, "stop"),
    ]
    assert [row["skipped"] for row in events(tmp_path / "run", "step")] == [True, True, True]


def test_a_run_that_skips_every_update_ends_for_somebody_to_look_at(
    broken: Path, recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    """Not as one that is started again, which would skip them again; and its journal stays strict JSON."""
    recipe = load(str(recipe_file), ["guard.nonfinite=skip", "guard.limit=100", "steps=3", "validation.every=2"])
    with pytest.raises(Halted, match="step 3: every update was skipped") as halted:
        train(recipe, tokens, tmp_path / "run", base=broken)
    assert halted.value.code == 76

    def refuse(name: str) -> None:
        raise ValueError(name)

    lines = (tmp_path / "run" / JOURNAL_FILE).read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    # Three steps, the validation after the second, and the one at the end.
    assert [row["loss"] for row in rows if row["event"] in ("step", "validation")] == [None] * 5


ROW = {"event", "time", "start", "step"}
KEYS = {
    "start": ROW | {"ranks", "host"},
    "step": ROW
    | {"seconds", "loss", "grad_norm", "learning_rate", "skipped", "data_wait", "tokens", "slots", "joules", "sources"}
    | {"tokens_per_second", "slots_per_second", "tflops_per_rank", "mfu", "slowest_rank", "slowest_ratio", "goodput"},
    "validation": ROW | {"seconds", "loss", "sources"},
    "save": ROW | {"seconds", "stall_seconds", "asynchronous"},
    "guard": ROW | {"action", "reason"},
    "straggler": ROW | {"rank", "ratio"},  # on a machine that has other work, too
    "end": ROW | {"state", "reason"},
}
"""The fields of each event of a run's journal that its readers rely on."""


def tensors(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of each tensor, the optimizer's too."""
    read = Checkpoint(checkpoint)
    values = read.read(list(read.entries))
    return {
        name: hashlib.sha256(value.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, value in values.items()
    }


def test_a_spike_is_skipped_alike_by_a_run_that_was_interrupted(
    recipe_file: Path, tokens: Path, tmp_path: Path
) -> None:
    """The norms that a step is compared with outlive a restart; so do, to the bit, losses, rates and every tensor."""
    recipe = load(str(recipe_file), [*RESTLESS, "guard.spike=skip", "guard.limit=1000"])
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    train(recipe, tokens, whole)
    train(recipe, tokens, interrupted, stop_at=25)
    train(recipe, tokens, interrupted)
    skipped = [row["step"] for row in events(whole, "guard")]
    assert skipped, "1.7 deviations are passed by some step of forty"
    assert min(skipped) > 16
    rows = read(whole / JOURNAL_FILE)
    assert {row["event"] for row in rows} | {"straggler"} == KEYS.keys()
    assert all(row.keys() == KEYS[row["event"]] for row in rows)
    steps = kept(rows, Event.STEP)
    assert [number for number, row in steps.items() if row["skipped"]] == skipped
    again = kept(read(interrupted / JOURNAL_FILE), Event.STEP)
    exact = ("loss", "grad_norm", "learning_rate", "skipped", "tokens", "sources")
    assert list(steps) == list(again) == list(range(1, 41))
    for number, row in steps.items():
        assert {name: again[number][name] for name in exact} == {name: row[name] for name in exact}, number
    validations = [kept(read(out / JOURNAL_FILE), Event.VALIDATION) for out in (whole, interrupted)]
    losses = [{step: row["loss"] for step, row in found.items()} for found in validations]
    assert losses[0] == losses[1]
    last = checkpoints(whole)[-1]
    hashes = tensors(last)
    assert {kind for kind in ("param", "exp_avg", "exp_avg_sq") if f"optimizer.state.{kind}.{NORM}" in hashes} == {
        "param",
        "exp_avg",
        "exp_avg_sq",
    }
    assert tensors(checkpoints(interrupted)[-1]) == hashes


def test_a_spike_is_gone_back_from_and_its_batch_left_out(recipe_file: Path, tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = load(str(recipe_file), [*RESTLESS, "guard.spike=rewind", "guard.limit=30"])
    assert train(recipe, tokens, out) is not None
    left_out = read_json(out / SKIPPED)
    assert left_out
    assert left_out == [row["step"] for row in events(out, "guard")]
    starts = events(out, "start")
    assert len(starts) == 1 + len(left_out)
    # Each start goes on from the checkpoint before the step that was gone back from.
    assert [row["step"] for row in starts[1:]] == [5 * ((step - 1) // 5) for step in left_out]
    assert list(kept(read(out / JOURNAL_FILE), Event.STEP)) == [step for step in range(1, 41) if step not in left_out]


def test_a_warning_changes_nothing(recipe_file: Path, tokens: Path, tmp_path: Path) -> None:
    runs = tmp_path / "warned", tmp_path / "unwatched"
    for out, overrides in zip(runs, (["guard.spike=warn"], []), strict=True):
        train(load(str(recipe_file), [*RESTLESS, "checkpoint.every=100", *overrides]), tokens, out)
    warned, unwatched = ([row["loss"] for row in events(out, "step")] for out in runs)
    assert warned == unwatched
    assert {row["action"] for row in events(runs[0], "guard")} == {"warn"}
    assert not events(runs[1], "guard")
