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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..core import log
from ..core.checkpoint import HF, newest
from ..core.errors import UserError
from ..core.files import read_json, remove, sha256, write_json, write_text
from ..core.manifest import NAME, Manifest, fingerprint, versions
from ..core.process import die_with_parent
from ..core.qwen3 import Qwen3Config, read_config
from .blend import Member, train_blend, valid_blend
from .engine import Job, start
from .load import to_dict
from .megatron_args import Places, summary
from .run_folder import (
    ACHIEVED,
    CHECKPOINTS,
    METRICS,
    check_same,
    checkpoints,
    claim,
    identity,
    iteration,
    locked,
    read_metrics,
)
from .schema import SAVED, Recipe, shape_of, world_size


@dataclass(frozen=True)
class Run:
    """What is trained, on what, into which folder.

    Attributes:
        recipe: checked recipe.
        tokens: the tokens stage's folder.
        out: run folder: `checkpoints/`, `tensorboard/`, `metrics.jsonl`, `recipe.yaml`, `manifest.json` at the end.
        base: Megatron checkpoint root that the weights start from; None for random weights.
    """

    recipe: Recipe
    tokens: Path
    out: Path
    base: Path | None

    def identity(self) -> dict[str, Any]:
        """What makes another start the same run. Of a base that is a run, its newest checkpoint counts, not all."""
        weights = self.base and (self.base if (self.base / NAME).is_file() else newest(self.base))
        return identity(self.recipe, fingerprint(self.tokens), weights and fingerprint(weights))

    def members(self) -> list[Member]:
        """The data sets of the run, and how much of each it reads."""
        return train_blend(self.tokens, self.recipe.data, self.recipe.steps * self.recipe.batch.global_size)

    def job(self, stop_at: int | None) -> Job:
        """What each rank is told."""
        out = self.out.resolve()
        places = Places(
            checkpoints=out / CHECKPOINTS,
            base=self.base and self.base.resolve(),
            tensorboard=out / "tensorboard",
            cache=out / "cache",
            achieved=out / ACHIEVED,
            eod=read_json(self.tokens / "tokens.json")["eod_id"],
        )
        return Job(recipe=self.recipe, places=places, tokens=self.tokens.resolve(), stop_at=stop_at)


def train(
    recipe: Recipe, tokens: Path, out: Path, *, base: Path | None = None, stop_at: int | None = None
) -> Manifest | None:
    """Train until the recipe's last step, or go on with it.

    Args:
        recipe, tokens, out, base: see `Run`.
        stop_at: stop, with a checkpoint, after this step of the recipe; run again to go on.

    Returns:
        The run's manifest; None where `stop_at` ended it before, and on ranks that torchrun started.

    Raises:
        UserError: the inputs do not go together, or `out` holds another run.
        RuntimeError: the trainer failed; its log is named.
    """
    run = Run(recipe, tokens, out, base)
    if (out / NAME).is_file():
        check_same(out, run.identity())
        log.info(f"train: {out} is whole already, nothing to do")
        return Manifest.read(out)
    _check(run)
    rank = os.environ.get("RANK")
    if rank is not None:
        _one_rank(run, run.job(stop_at), first=rank == "0")
        return None
    if recipe.parallel.nodes > 1:
        raise UserError(
            f"the recipe wants {recipe.parallel.nodes} nodes, this is one",
            where="parallel.nodes",
            mend="`pdapt launch RECIPE --print` writes the Slurm script that starts torchrun on each node",
        )
    with locked(out):
        _prepare(run)
        log.info(f"train: {summary(recipe)}")
        return _finish(run, _spawn(run.job(stop_at), out, recipe.parallel.ranks_per_node))


def _one_rank(run: Run, job: Job, *, first: bool) -> None:
    """This process is a rank that torchrun started."""
    wanted = world_size(run.recipe)
    if int(os.environ["WORLD_SIZE"]) != wanted:
        raise UserError(
            f"torchrun started {os.environ['WORLD_SIZE']} ranks, the recipe is for {wanted}",
            where="parallel",
            mend=f"start {wanted} ranks, or set parallel.nodes and parallel.ranks_per_node",
        )
    if not first:
        start(job)
        return
    with locked(run.out):
        _prepare(run)
        begin = time.monotonic()
        start(job)
        _finish(run, time.monotonic() - begin)


def _check(run: Run) -> None:
    """What has to hold before a process group exists."""
    record, shape = read_json(run.tokens / "tokens.json"), shape_of(run.recipe)
    if record["vocabulary_size"] > shape.vocab:
        raise UserError(
            f"the tokens' vocabulary has {record['vocabulary_size']} ids, the model {shape.vocab} rows",
            where=str(run.tokens / "tokens.json"),
            mend="tokenize with the model's own tokenizer",
        )
    valid_blend(run.tokens, run.recipe.data)
    run.members()
    if run.base is not None:
        _check_base(run.base, shape)


def _check_base(base: Path, shape: Qwen3Config) -> None:
    if newest(base) is None:
        raise UserError(
            f"{base} is no Megatron checkpoint root",
            where="--base",
            mend="`pdapt convert import HF_FOLDER OUT` makes one of a Hugging Face folder",
        )
    found, wanted = asdict(read_config(base / HF)), asdict(shape)
    differing = [
        f"{name}: {found[name]} in the base, {wanted[name]} here" for name in wanted if found[name] != wanted[name]
    ]
    if differing:
        raise UserError(
            f"the recipe's model is not the base's ({', '.join(differing)})",
            where="model",
            mend="give the base's shape",
        )


def _prepare(run: Run) -> None:
    """Make the folder this run's, and keep the Hugging Face side beside its checkpoints for the export."""
    claim(run.out, run.recipe, run.identity())
    for member in run.members():
        log.info(f"train: {member.samples:,.0f} sequences of {member.name} ({member.epochs:.2f} epochs)")
    side = run.out / CHECKPOINTS / HF
    if side.is_dir():
        return
    partial = side.with_name(".hf.partial")
    remove(partial)
    if run.base is not None:
        shutil.copytree(run.base / HF, partial)
    else:
        shutil.copytree(run.tokens / "tokenizer", partial)
        config = shape_of(run.recipe).to_hf(SAVED[run.recipe.model.precision])
        write_json(partial / "config.json", config)
    partial.rename(side)


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
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace")
    # On a full disk the log may end before it says so.
    if os.strerror(errno.ENOSPC) in text or shutil.disk_usage(path).free < 2**20:
        raise UserError(
            "the disk is full: the trainer could not write",
            where=str(path.parent),
            mend="free space and run the same command again: it goes on from the last whole checkpoint",
        )
    raise RuntimeError(f"the trainer failed with code {code}; the end of {path}:\n{_last_error(text.splitlines())}")


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


def _last_error(lines: list[str]) -> str:
    """The lines of a log that say what went wrong: a rank's own, without torchrun's report of it."""
    ranked = [line for line in lines if line.startswith("[rank")]
    report = next((n for n, line in enumerate(lines) if "elastic/multiprocessing/api.py" in line), len(lines))
    return "\n".join((ranked or lines[:report])[-15:])


def _finish(run: Run, seconds: float) -> Manifest | None:
    """Write the losses, and the manifest if the last step was reached."""
    recipe, out = run.recipe, run.out
    slots_a_step = recipe.batch.global_size * recipe.data.seq_length
    rows = read_metrics(out / "tensorboard", slots_a_step)
    write_text(out / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    saved = checkpoints(out)
    reached = iteration(saved[-1]) if saved else 0
    read = next(row["sources"] for row in read_json(out / ACHIEVED) if row["step"] == reached)
    for name, found in read.items():
        log.info(f"train: read {found['tokens']:,} tokens of {name} ({found['epochs']:.2f} epochs)")
    if reached < recipe.steps:
        log.info(f"train: stopped after step {reached} of {recipe.steps}; run again to go on")
        return None
    inputs = run.identity()
    kept = [out / "recipe.yaml", out / METRICS, *(path / "metadata.json" for path in saved)]
    manifest = Manifest(
        stage="train",
        inputs={name: inputs[name] for name in ("tokens", "base") if inputs[name] is not None},
        config=to_dict(recipe),
        counts={
            "steps": recipe.steps,
            "slots": recipe.steps * slots_a_step,
            "tokens": sum(found["tokens"] for found in read.values()),
            "sources": read,
            "parameters": shape_of(recipe).parameters,
            "checkpoints": [path.name for path in saved],
        },
        outputs={str(path.relative_to(out)): sha256(path) for path in kept},
        versions=versions(),
        seconds=seconds,
    )
    write_json(out / NAME, asdict(manifest))
    return manifest
