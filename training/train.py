"""`pdapt train`: a recipe, tokens and a base become a run folder with checkpoints.

Started by torchrun or srun it is one rank of the run. Started alone, it starts torchrun on this
machine for the recipe's ranks. Either way the same command continues where an earlier one stopped.
"""

import os
import shutil
import time
from functools import partial
from pathlib import Path

from ..core import log
from ..core.checkpoint import CHECKPOINTS, HF, IDENTITY, root_of
from ..core.errors import Halted, StoppedEarly, UserError
from ..core.exit_codes import ExitCode
from ..core.files import remove, sha256, write_json, write_text
from ..core.hf.turns import end_at_turns
from ..core.log import counted
from ..core.manifest import MANIFEST_FILE, Manifest, hash_files, versions
from ..core.system.device import has_gpu
from ..core.system.lock import locked
from ..data_prep.tokens.tokens_record import read_record
from ..recipes.load import to_dict
from ..recipes.schema import SAVED, Recipe, describe_run, shape_of, world_size
from ..recipes.validate import check_device
from .announce import announce_validation, announce_weights
from .extend_run import check_longer
from .input_hashes import check_bytes, on_one_rank_of_each_node
from .inputs import check_inputs
from .nemo.installed import check_installed
from .preflight.kept_code import keep_code
from .preflight.start_check import PREFLIGHT, read_problems, refuse
from .rank import run_rank_alone
from .requested_run import Run, Start
from .run.folder import (
    METRICS,
    PROVENANCE,
    STOP_AT,
    checkpoints,
    iteration,
    read_achieved,
)
from .run.hashes import recover, write_missing_hashes
from .run.identity import check_claim, check_same, claim, steps_before
from .run.journal import JOURNAL_FILE, as_line, metrics, read_history
from .run.listeners import trackers
from .run.provenance import check_resharding, provenance
from .run.retention import retain
from .run.run_state import STATE, RunState, State, read_state, say_prepared, wait_until_prepared
from .run.spawn import LOG, fail, spawn


def train(
    recipe: Recipe,
    tokens: Path,
    out: Path,
    *,
    base: Path | None = None,
    tokenizer: Path | None = None,
    stop_at: int | None = None,
    wall_time: float | None = None,
    other_data: bool = False,
    verify: bool = True,
) -> Manifest | None:
    """Train until the recipe's last step, continuing the run in the folder if there is one.

    Args:
        recipe, tokens, out, base, tokenizer, verify: see `Run`.
        stop_at: stop, with a checkpoint, after this step of the recipe; run again to continue.
        wall_time: minutes after which training saves and stops.
        other_data: continue although the tokens or the tokenizer differ from those that the run began with.

    Returns:
        The run's manifest; None if `stop_at` ended the run early, and on ranks that torchrun started.

    Raises:
        UserError: the inputs do not fit together, or `out` holds another run.
        StoppedEarly: a signal or the wall time ended the run before the last step, with a checkpoint.
        Halted: the guard ended the run, it hung, or a checkpoint could not be hashed because it is damaged.
        Failed: the trainer failed; the message names the rank that failed first, and its log.
    """
    begun = time.time()
    deadline = None if wall_time is None else begun + 60 * wall_time
    start_ = Start(begun, stop_at, deadline, other_data)
    run = Run(recipe, tokens, out, base, tokenizer=tokenizer, verify=verify)
    longer = _check_longer(run, other_data=other_data)
    if (out / MANIFEST_FILE).is_file() and not longer:
        check_same(out, run.identity(), other_data=other_data)
        log.info(f"train: {out} is complete, nothing to do")
        return Manifest.read(out)
    _check(run)
    rank = os.environ.get("RANK")
    if rank is not None:
        _one_rank(run, start_, rank)
        return None
    if recipe.parallel.nodes > 1:
        raise UserError(
            f"the recipe needs {recipe.parallel.nodes} nodes, but `pdapt train` alone runs on one",
            where="parallel.nodes",
            fix="`pdapt launch RECIPE --print` writes the Slurm script that starts the ranks on each node",
        )
    with locked(out, "training into"):
        log.info(f"train: {describe_run(recipe)}")
        check_bytes(recipe, run.inputs)
        reached = _prepare(run, start_)
        if stop_at is not None and stop_at <= reached < recipe.steps:
            log.info(f"train: {out} has already reached step {reached}: --stop-at {stop_at} leaves nothing to do")
            return None
        if stop_at is not None and stop_at > recipe.steps:
            log.warn(f"train: --stop-at {stop_at} is past the recipe's last step: training ends at {recipe.steps}")
        _run_ranks(run, start_)
        return _finish(run, time.time() - begun)


def check_run(run: Run) -> None:
    """Check, before a job is written or queued, what `train` checks: tokens, base, trackers and the run's folder.

    Raises:
        UserError: they do not fit together, or `run.out` holds another run or something else.
    """
    check_inputs(run.recipe, run.inputs)
    trackers.check(run.recipe.log)
    check_claim(run.out, run.identity)


def _run_ranks(run: Run, start_: Start) -> None:
    """Run torchrun on this machine, and again each time the guard goes back."""
    while True:
        path = run.out / LOG
        offset = path.stat().st_size if path.is_file() else 0
        for name in (STATE, PREFLIGHT):
            (run.out / name).unlink(missing_ok=True)
        code = spawn(run.task(start_), run.out)
        refuse(read_problems(run.out), run.out)
        ended = read_state(run.out) if (run.out / STATE).is_file() else None
        if ended is not None and ended.state == State.REWIND:
            log.warn(f"train: going back to the last checkpoint, without the batch of step {ended.step}")
            recover(run.out, fsdp=run.recipe.parallel.fsdp)
            continue
        if ended is not None:
            _check_state(ended, run.out)
        if code:
            fail(code, path, offset)
        return


_HALTED = {
    State.STOP: "\n  fix: look at the batch (`pdapt tokens show`), then run again with guard.nonfinite or guard.spike "
    "set to skip or rewind",
    State.HANG: "\n  fix: run the same command again; if the same node is to blame twice, leave it out",
}


def _check_state(ended: RunState, out: Path) -> None:
    """Raise `Halted` if a guard ended the start."""
    if ended.state in _HALTED:
        raise Halted(f"step {ended.step}: {ended.reason}{_HALTED[ended.state]}\n  where: {out / LOG}")


def _one_rank(run: Run, start_: Start, rank: str) -> None:
    """Run this process as a rank that torchrun or srun started."""
    wanted = world_size(run.recipe)
    if int(os.environ["WORLD_SIZE"]) != wanted:
        raise UserError(
            f"torchrun started {counted(int(os.environ['WORLD_SIZE']), 'rank')}, but the recipe needs {wanted}",
            where="parallel",
            fix=f"start {counted(wanted, 'rank')}, or set parallel.nodes and parallel.ranks_per_node",
        )
    if run.verify:
        on_one_rank_of_each_node(partial(check_bytes, run.recipe, run.inputs), rank)
    task = run.task(start_)
    if rank != "0":
        wait_until_prepared(run.out)
        run_rank_alone(task)
        return
    with locked(run.out, "training into"):
        _prepare(run, start_)
        (run.out / STATE).unlink(missing_ok=True)
        say_prepared(run.out)
        try:
            run_rank_alone(task)
        except SystemExit as end:  # the trainer's way to stop before the last step, and the guard's
            if end.code not in (None, ExitCode.DONE, ExitCode.STOPPED_EARLY, ExitCode.HALTED):
                raise
        while not (run.out / STATE).is_file():  # the last rank writes it when the last checkpoint is hashed
            time.sleep(0.1)
        try:
            ended = read_state(run.out)
            _check_state(ended, run.out)
            if ended.state == State.REWIND:
                raise StoppedEarly(
                    f"train: stopped to go back to the last checkpoint; run the same command again to continue without "
                    f"the batch of step {ended.step}"
                )
            _finish(run, time.time() - start_.begun)
        except StoppedEarly as stopped:
            if "TORCHELASTIC_USE_AGENT_STORE" not in os.environ:  # srun has started this rank
                raise
            log.info(str(stopped))  # torchrun would call any code but 0 a failure: `state.json` says it instead


def _check_longer(run: Run, *, other_data: bool) -> bool:
    """Whether an existing run gets more steps, after a check that it can."""
    if not (run.out / IDENTITY).is_file():
        return False
    requested = run.identity()
    before = steps_before(run.out, requested)
    if before is None:
        return False
    check_same(run.out, requested, other_data=other_data)
    check_longer(run.recipe, run.tokens, before)
    return True


def _check(run: Run) -> None:
    """Check the engine, the inputs, the trackers and the machine before a process group exists."""
    check_installed(run.recipe)
    check_inputs(run.recipe, run.inputs)
    trackers.check(run.recipe.log)
    check_device(run.recipe, gpu=has_gpu())


def _prepare(run: Run, start_: Start) -> int:
    """Claim the folder, recover the checkpoint that training continues from, and keep the Hugging Face settings.

    Returns:
        The step that training continues after.
    """
    requested = run.identity()
    claim(run.out, run.recipe, requested, other_data=start_.other_data)
    write_json(run.out / PROVENANCE, provenance(run.recipe, requested.inputs, keep_code(run.out)))
    newest_sound = recover(run.out, fsdp=run.recipe.parallel.fsdp)
    if newest_sound is not None:
        check_resharding(newest_sound, run.recipe)
        chosen = run.recipe.checkpoint
        retain(run.out, chosen.keep_every, chosen.keep_last)  # a kill may have left more
        log.info(f"train: continuing after step {iteration(newest_sound)}")
        read_history(run.out / JOURNAL_FILE).say()
    elif run.weights is not None:
        announce_weights(run.recipe, run.tokens, run.weights)
    for member in run.members():
        log.info(f"train: {counted(round(member.samples), 'sequence')} of {member.name} ({member.epochs:.2f} epochs)")
    announce_validation(run.recipe, run.tokens)
    _keep_side(run)
    return iteration(newest_sound) if newest_sound else 0


def _keep_side(run: Run) -> None:
    """Copy configuration and tokenizer beside the checkpoints, with their hashes.

    Of a run on conversations they end a generation with the turn: that is what the model learns.
    """
    side = run.out / CHECKPOINTS / HF
    if side.is_dir():
        return
    partial = side.with_name(".hf.partial")
    remove(partial)
    base_side = run.base and root_of(run.base) / HF
    if base_side and (base_side / "config.json").is_file():
        shutil.copytree(base_side, partial)
    else:
        shutil.copytree(run.tokens / "tokenizer", partial)
        config = shape_of(run.recipe).to_hf(SAVED[run.recipe.model.precision])
        write_json(partial / "config.json", config)
    if read_record(run.tokens).conversations:
        end_at_turns(partial, run.tokens / "tokenizer")
    remove(partial / MANIFEST_FILE)  # of a base that is a run
    kept = Manifest("settings", inputs={}, config={}, counts={}, outputs=hash_files(partial), versions=versions())
    kept.write(partial)
    partial.rename(side)


def _finish(run: Run, seconds: float) -> Manifest | None:
    """Write the losses, and the manifest if the last step was reached."""
    recipe, out = run.recipe, run.out
    slots_a_step = recipe.batch.global_size * recipe.data.seq_length
    rows = metrics(read_history(out / JOURNAL_FILE).rows, slots_a_step)
    write_text(out / METRICS, "".join(map(as_line, rows)))
    for path, wrong in write_missing_hashes(out, fsdp=recipe.parallel.fsdp):
        raise Halted(
            f"{path.name} has no hashes and is damaged ({wrong}): it is kept, but not used\n  fix: check the disk, "
            f"then run the same command again: it continues from the previous checkpoint\n  where: {path}"
        )
    saved = checkpoints(out)
    reached = iteration(saved[-1]) if saved else 0
    if reached < recipe.steps:
        _stopped(out, reached, recipe.steps)
        return None
    sources = {name: source.values for name, source in read_achieved(out, reached).items()}
    for name, source in sources.items():
        log.info(f"train: read {source['tokens']:,} tokens of {name} ({source['epochs']:.2f} epochs)")
    inputs = run.identity().inputs
    kept = [out / "recipe.yaml", out / METRICS, *(path / "metadata.json" for path in saved)]
    manifest = Manifest(
        stage="train",
        inputs={name: value for name in ("tokens", "base") if (value := inputs[name]) is not None},
        config=to_dict(recipe),
        counts={
            "steps": recipe.steps,
            "slots": recipe.steps * slots_a_step,
            "tokens": sum(source["tokens"] for source in sources.values()),
            "sources": sources,
            "parameters": shape_of(recipe).parameters,
            "checkpoints": [path.name for path in saved],
        },
        outputs={str(path.relative_to(out)): sha256(path) for path in kept if path.is_file()},
        versions=versions(),
        seconds=seconds,
    )
    manifest.write(out)
    return manifest


def _stopped(out: Path, reached: int, steps: int) -> None:
    """Say that the last step was not reached; raise it for a launcher, unless the caller asked for the stop."""
    reason = read_state(out).reason
    text = f"train: stopped after step {reached} of {steps} ({reason}); run the same command again to continue"
    if reason != STOP_AT:
        raise StoppedEarly(text)
    log.info(text)
