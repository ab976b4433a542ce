"""`pdapt train`: a recipe, tokens and a base become a run folder with checkpoints.

Started under torchrun (or Slurm's torchrun) it is one rank of the run. Started alone, it starts torchrun on this
machine for the recipe's ranks. Either way the same command goes on where an earlier one stopped.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from ..core import log
from ..core.checkpoint import newest
from ..core.errors import UserError
from ..core.files import read_json, sha256, write_json, write_text
from ..core.manifest import NAME, Manifest, fingerprint, versions
from ..core.process import die_with_parent
from ..core.qwen3 import read_config
from .blend import blend
from .engine import Job, start
from .load import to_dict
from .megatron_args import Places, summary
from .run_folder import CHECKPOINTS, METRICS, checkpoints, claim, identity, iteration, locked, read_metrics
from .schema import Recipe, shape_of, world_size

HF = "hf"


def train(
    recipe: Recipe, tokens: Path, out: Path, *, base: Path | None = None, stop_at: int | None = None
) -> Manifest | None:
    """Train until the recipe's last step, or go on with it.

    Args:
        recipe: checked recipe.
        tokens: the tokens stage's folder.
        out: run folder: `checkpoints/`, `tensorboard/`, `metrics.jsonl`, `recipe.yaml`, `manifest.json` at the end.
        base: Megatron checkpoint root that the weights start from; None for random weights.
        stop_at: stop, with a checkpoint, after this step of the recipe; run again to go on.

    Returns:
        The run's manifest; None where `stop_at` ended it before, and on ranks other than the first.

    Raises:
        UserError: the inputs do not go together, or `out` holds another run.
        RuntimeError: the trainer failed; its log is named.
    """
    if (out / NAME).is_file():
        claim(out, recipe, _identity(recipe, tokens, base))
        log.info(f"train: {out} is whole already, nothing to do")
        return Manifest.read(out)
    _check(recipe, tokens, base)
    rank = os.environ.get("RANK")
    job = _job(recipe, tokens, out, base, stop_at)
    if rank is None:
        if recipe.parallel.nodes > 1:
            raise UserError(
                f"the recipe wants {recipe.parallel.nodes} nodes, this is one",
                where="parallel.nodes",
                mend="`pdapt launch RECIPE --print` writes the Slurm script that starts torchrun on each node",
            )
        with locked(out):
            _prepare(recipe, tokens, out, base)
            log.info(f"train: {summary(recipe)}")
            return _finish(recipe, tokens, out, base, _spawn(job, out, recipe.parallel.ranks_per_node))
    _one_rank(recipe, tokens, out, base, job, first=rank == "0")
    return None


def _one_rank(recipe: Recipe, tokens: Path, out: Path, base: Path | None, job: Job, *, first: bool) -> None:
    """This process is a rank that torchrun started."""
    if int(os.environ["WORLD_SIZE"]) != world_size(recipe):
        raise UserError(
            f"torchrun started {os.environ['WORLD_SIZE']} ranks, the recipe is for {world_size(recipe)}",
            where="parallel",
            mend=f"start {world_size(recipe)} ranks, or set parallel.nodes and parallel.ranks_per_node",
        )
    if not first:
        start(job)
        return
    with locked(out):
        _prepare(recipe, tokens, out, base)
        begin = time.monotonic()
        start(job)
        _finish(recipe, tokens, out, base, time.monotonic() - begin)


def _check(recipe: Recipe, tokens: Path, base: Path | None) -> None:
    """What has to hold before a process group exists."""
    record = read_json(tokens / "tokens.json")
    shape = shape_of(recipe)
    if record["vocabulary_size"] > shape.vocab:
        raise UserError(
            f"the tokens' vocabulary has {record['vocabulary_size']} ids, the model {shape.vocab} rows",
            where=str(tokens / "tokens.json"),
            mend="tokenize with the model's own tokenizer",
        )
    for split in ("train", "valid"):
        blend(tokens, split, recipe.data.sources)
    if base is None:
        return
    if newest(base) is None:
        raise UserError(
            f"{base} is no Megatron checkpoint root",
            where="--base",
            mend="`pdapt convert import HF_FOLDER OUT` makes one of a Hugging Face folder",
        )
    found = read_config(base / HF)
    differing = [name for name, value in asdict(shape).items() if asdict(found)[name] != value]
    if differing:
        pairs = ", ".join(
            f"{name}: {asdict(found)[name]} in the base, {asdict(shape)[name]} here" for name in differing
        )
        raise UserError(f"the recipe's model is not the base's ({pairs})", where="model", mend="give the base's shape")


def _identity(recipe: Recipe, tokens: Path, base: Path | None) -> dict[str, Any]:
    """What makes this the same run. Of a base that is another run, its newest checkpoint counts, not all of them."""
    weights = base and (base if (base / NAME).is_file() else newest(base))
    return identity(recipe, fingerprint(tokens), weights and fingerprint(weights))


def _prepare(recipe: Recipe, tokens: Path, out: Path, base: Path | None) -> None:
    """Make the folder this run's, and keep the Hugging Face side beside its checkpoints for the export."""
    claim(out, recipe, _identity(recipe, tokens, base))
    side = out / CHECKPOINTS / HF
    if side.is_dir():
        return
    partial = side.with_name(".hf.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if base is not None:
        shutil.copytree(base / HF, partial)
    else:
        shutil.copytree(tokens / "tokenizer", partial)
        dtype = {"bf16": "bfloat16", "fp32": "float32"}[recipe.model.precision]
        write_json(partial / "config.json", shape_of(recipe).to_hf(dtype))
    partial.rename(side)


def _job(recipe: Recipe, tokens: Path, out: Path, base: Path | None, stop_at: int | None) -> Job:
    record = read_json(tokens / "tokens.json")
    out = out.resolve()
    places = Places(
        checkpoints=out / CHECKPOINTS,
        base=base and base.resolve(),
        tensorboard=out / "tensorboard",
        cache=out / "cache",
        eod=record["eod_id"],
    )
    return Job(recipe=recipe, places=places, tokens=tokens.resolve(), stop_at=stop_at)


def _spawn(job: Job, out: Path, ranks: int) -> float:
    """Run torchrun for this machine's ranks; seconds it took."""
    write_json(out / "job.json", job.to_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += ["-m", "pdapt.recipes.engine", str(out / "job.json")]
    # One thread a rank where ranks share the cores; Megatron asks for one connection with TP.
    environment = os.environ | {"CUDA_DEVICE_MAX_CONNECTIONS": "1", "OMP_NUM_THREADS": str(_threads(ranks))}
    begin = time.monotonic()
    path = out / "train.log"
    with path.open("ab") as file:
        offset = file.tell()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, preexec_fn=die_with_parent
        )
        code = _watch(process, path, offset)
    if code != 0:
        _fail(code, path, offset)
    return time.monotonic() - begin


def _fail(code: int, path: Path, offset: int) -> NoReturn:
    """Say why the trainer ended: what the user can mend apart from the rest."""
    last = _last_error(path, offset)
    if os.strerror(errno.ENOSPC) in last:
        raise UserError(
            "the disk is full: the trainer could not write",
            where=str(path.parent),
            mend="free space and run the same command again: it goes on from the last whole checkpoint",
        )
    raise RuntimeError(f"the trainer failed with code {code}; the end of {path}:\n{last}")


def _threads(ranks: int) -> int:
    return max(1, len(os.sched_getaffinity(0)) // ranks)


def _watch(process: "subprocess.Popen[bytes]", path: Path, offset: int) -> int:
    """Wait for the trainer, passing on its progress a line every few seconds; its exit code."""
    shown = time.monotonic()
    with path.open("rb") as file:
        file.seek(offset)
        while process.poll() is None:
            time.sleep(0.5)
            lines = [line for line in file.read().decode(errors="replace").splitlines() if _is_progress(line)]
            validations = [line for line in lines if "validation loss" in line]
            if lines and (validations or time.monotonic() - shown > 5):
                log.info(f"train: {_brief((validations or lines)[-1])}")
                shown = time.monotonic()
    return process.returncode


def _is_progress(line: str) -> bool:
    return "lm loss" in line and ("iteration" in line)


def _brief(line: str) -> str:
    """Step and loss of one of Megatron's lines."""
    if "validation loss" in line:
        return line.strip(" -|").split(" | lm loss PPL")[0]
    fields = [part.strip() for part in line.split("|")]
    step = fields[0].split("]")[-1].strip()
    return ", ".join([" ".join(step.split()), *(part for part in fields if part.startswith(("lm loss", "elapsed")))])


def _last_error(path: Path, offset: int) -> str:
    """The lines of this start's log that say what went wrong: a rank's own, without torchrun's report of it."""
    with path.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").splitlines()
    ranked = [line for line in lines if line.startswith("[rank")]
    report = next((n for n, line in enumerate(lines) if "elastic/multiprocessing/api.py" in line), len(lines))
    return "\n".join((ranked or lines[:report])[-15:])


def _finish(recipe: Recipe, tokens: Path, out: Path, base: Path | None, seconds: float) -> Manifest | None:
    """Write the losses, and the manifest if the last step was reached."""
    tokens_a_step = recipe.batch.global_size * recipe.data.seq_length
    rows = read_metrics(out / "tensorboard", tokens_a_step)
    write_text(out / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    saved = checkpoints(out)
    if not saved or iteration(saved[-1]) < recipe.steps:
        log.info(
            f"train: stopped after step {iteration(saved[-1]) if saved else 0} of {recipe.steps}; run again to go on"
        )
        return None
    found = _identity(recipe, tokens, base)
    kept = [out / "recipe.yaml", out / METRICS, *(path / "metadata.json" for path in saved)]
    manifest = Manifest(
        stage="train",
        inputs={name: value for name, value in found.items() if name != "recipe" and value is not None},
        config=to_dict(recipe),
        counts={
            "steps": recipe.steps,
            "tokens": recipe.steps * tokens_a_step,
            "parameters": shape_of(recipe).parameters,
            "checkpoints": [path.name for path in saved],
        },
        outputs={str(path.relative_to(out)): sha256(path) for path in kept},
        versions=versions(),
        seconds=seconds,
    )
    write_json(out / NAME, asdict(manifest))
    return manifest
