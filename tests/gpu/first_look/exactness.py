"""The steps that compare: a small model with numbers made on a CPU, a resumed run with one that was not interrupted."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sizes
import small
import torch
from one_run import Training, one_rank
from step import GPU, Step

from pdapt.core.files import read_json, write_json
from pdapt.recipes.megatron_args import Places, megatron_args
from pdapt.recipes.schema import Batch, Data, Layers, Model, Recipe, Shape

ALLOWED = {"fp32": (1e-4, 1e-5, 2e-4), "bf16": (2e-2, 2e-3, 6e-2)}
"""Precision -> how far logits, loss and the worst gradient may be from transformers' FP32: twice what rounding does."""


def _measured(step: Step, precision: str, packs: list[list[list[int]]]) -> dict[str, torch.Tensor]:
    """Logits, loss and gradients of packs by the trainer's own model, with the small model's weights."""
    from safetensors.torch import load_file

    base = step.work / "small"
    data = Data(seq_length=small.SHAPE.max_positions)
    model = Model(shape=Shape(**vars(small.SHAPE)), precision=precision, transformer_impl=sizes.LAYERS)
    recipe = Recipe(model=model, data=data, batch=Batch(global_size=1), steps=1)
    if sizes.LAYERS == Layers.TRANSFORMER_ENGINE:
        recipe.megatron["no-gradient-accumulation-fusion"] = True  # its buffers are the trainer's, which is not there
    places = Places(step.work / "none", base, *(step.work / name for name in ("events", "cache", "read")), eod=0)
    job, out = step.work / f"{precision}-job.json", step.work / f"{precision}.safetensors"
    write_json(job, {"arguments": megatron_args(recipe, places, gpu=GPU), "packs": packs})
    command = [sys.executable, str(Path(__file__).parents[1] / "measure.py"), str(job), str(out)]
    done = subprocess.run(command, env=one_rank(), capture_output=True, text=True, check=False, timeout=step.left(110))
    if done.returncode:
        raise RuntimeError(f"the model could not be measured:\n{done.stderr[-2000:]}")
    return load_file(out)


def numbers(step: Step) -> None:
    """Forward and backward pass of a small model against numbers that transformers made on a CPU; then leaks."""
    from pdapt.conversion.convert import import_hf

    known, found = read_json(small.EXPECTED), dict[str, Any]()
    import_hf(small.write_hf(step.work / "small-hf"), step.work / "small")
    pack = small.documents(*small.LENGTHS)
    packs = {"fp32": [pack], "bf16": [pack, *_neighbours()]}
    with ThreadPoolExecutor() as pool:  # beside each other: most of their time they start
        measured = {precision: pool.submit(_measured, step, precision, packs[precision]) for precision in packs}
    for precision, allowed in ALLOWED.items():
        tensors = measured[precision].result()
        here = small.summary({name[2:]: tensor for name, tensor in tensors.items() if name.startswith("0.")})
        if here.keys() != known.keys():
            raise RuntimeError(f"other tensors than expected: {sorted(here.keys() ^ known.keys())}")
        off = {name: small.difference(here[name], known[name]) for name in known}
        gradient = max(off[name] for name in off if name.startswith("grad."))
        loss = abs(here["loss"]["norm"] - known["loss"]["norm"])
        values = (off["logits"], loss, gradient)
        found[precision] = {
            **dict(zip(("logits", "loss_nats", "worst_gradient"), values, strict=True)),
            "allowed": allowed,
            "passed": all(value <= most for value, most in zip(values, allowed, strict=True)),
        }
        step.note(found)
        if precision == "bf16":
            found["masks"] = _leaks([tensors[f"{number}.logits"] for number in range(1, 5)])
            step.note(found)


def _neighbours() -> list[list[list[int]]]:
    """Packs that differ in their second document, as three documents and as a single one."""
    first, second, other, third = small.documents(200, 101, 101, 150, seed=1)
    return [
        [first, second, third],
        [first, other, third],
        [[*first, *second, *third]],
        [[*first, *other, *third]],
    ]


def _leaks(logits: list[torch.Tensor]) -> dict[str, Any]:
    """How much a document's logits change with its neighbour: with masks not a bit, without them they have to."""
    masked, joined = ((one - other).abs().amax(1) for one, other in (logits[:2], logits[2:]))
    found = {
        "others_changed_by": float(torch.cat([masked[:200], masked[301:]]).max()),
        "itself_changed_by": float(masked[200:301].min()),
        "after_it_without_masks": float(joined[301:].min()),
    }
    passed = found["others_changed_by"] == 0 < min(found["itself_changed_by"], found["after_it_without_masks"])
    return found | {"passed": passed}


def checkpoint(step: Step) -> None:
    """Save, resume, compare to the bit with a run that was not interrupted; export, and compare again."""
    from pdapt.conversion.convert import export_hf
    from pdapt.conversion.verify import verify

    found: dict[str, Any] = {"deterministic": True}
    try:
        whole, parts = _interrupted(step, deterministic=True)
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        found = {"deterministic": False, "why": str(error).splitlines()[-1]}
        whole, parts = _interrupted(step, deterministic=False)
    losses = [{row["step"]: row["loss"] for row in training.rows()} for training in (whole, parts)]
    found["losses_equal"] = losses[0] == losses[1]
    found["loss_difference"] = max(abs(losses[0][number] - losses[1][number]) for number in losses[0])
    step.note(found)
    last = [training.out / "checkpoints" for training in (whole, parts)]
    found["weights_equal"] = verify(last[0], last[1]).identical
    step.note(found)
    begin = time.monotonic()
    export_hf(last[1], step.work / "exported")
    found["export_seconds"] = time.monotonic() - begin
    found["export_equal"] = verify(last[1], step.work / "exported").identical
    found["passed"] = found["losses_equal"] and found["weights_equal"] and found["export_equal"]
    step.note(found)


def _interrupted(step: Step, *, deterministic: bool) -> tuple[Training, Training]:
    """A run of four steps, and the same in two starts.

    Raises:
        RuntimeError: one failed, or was not finished in time.
    """
    kind, recipe = "strict" if deterministic else "free", sizes.small(gpu=GPU)
    whole, parts = (step.training(f"{name}-{kind}", recipe, deterministic=deterministic) for name in ("whole", "parts"))
    with ThreadPoolExecutor() as pool:  # beside each other: most of their time they start
        starts = ((whole, ()), (parts, ("--stop-at", "2")))
        ended = [pool.submit(training.finish, step.left(90), *further) for training, further in starts]
    for start in ended:
        start.result()
    parts.finish(step.left(60))
    return whole, parts
