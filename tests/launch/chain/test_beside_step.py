"""Work beside training: as checkpoints appear, whatever training's job does meanwhile, and until it is done."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slurm_stand_ins import Slurm

from pdapt.core.errors import StoppedEarly, UserError
from pdapt.core.files import write_json
from pdapt.core.manifest import Manifest, run_stage
from pdapt.launch.after_training import beside_step
from pdapt.launch.after_training.beside_step import work_beside
from pdapt.launch.chain.chain_jobs import job_name
from pdapt.launch.pipeline import chained_run, run_step
from pdapt.launch.request import write_request
from pdapt.launch.steps import flow_steps, is_done, step_called, write_done
from pdapt.launch.whole_run import WholeRun


@pytest.fixture
def whole(fake: Slurm, monkeypatch: pytest.MonkeyPatch) -> WholeRun:
    """A chain whose training runs; no pause between looks, and Slurm is asked each time."""
    monkeypatch.setattr(beside_step, "PAUSE", 0.001)
    monkeypatch.setattr(beside_step, "ASKED", 0)
    write_request(fake.flow().request, fake.run)
    state(fake, "RUNNING")
    return chained_run(fake.flow().request, fake.run, None)


def state(fake: Slurm, *states: str) -> None:
    fake.write([[job_name("cpt", fake.run), "106", each, "None", "(null)"] for each in states])


def train(fake: Slurm, step: int, *, ended: bool = False) -> None:
    """Leave what training leaves: a checkpoint with its hashes, and at its end a manifest."""
    folder = fake.run / f"cpt/checkpoints/iter_{step:07d}"
    write_json(folder / "pdapt.json", {})
    (folder / "metadata.json").touch()
    if ended:
        Manifest("train", {}, {}, {}, {}).write(fake.run / "cpt")


def export(checkpoint: Path, out: Path, *, verify: bool) -> Manifest:
    """A stand-in for the export, which has tests of its own."""
    assert verify
    return run_stage("export", {}, {"checkpoint": checkpoint.name}, out, lambda _: {})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*/"))


def test_each_checkpoint_is_exported_as_it_appears_and_training_may_go_back_into_the_queue(
    fake: Slurm, whole: WholeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[list[str]] = []
    later = [lambda: train(fake, 2), *(lambda now=now: state(fake, *now) for now in (["PENDING"], [], ["RUNNING"]))]
    later += [lambda: train(fake, 4), *(lambda now=now: state(fake, *now) for now in (["PENDING"], [], ["RUNNING"]))]
    later += [lambda: train(fake, 6, ended=True)]

    def pause(*_: Any) -> None:
        looks.append(names(fake.run / "hf"))
        later.pop(0)()

    monkeypatch.setattr(beside_step.signal, "sigtimedwait", pause)
    for name in ("convert", "follow"):
        monkeypatch.setattr(f"pdapt.conversion.{name}.export_hf", export)
    run_step(fake.run, "hf")
    assert looks == [[], *(4 * [["cpt-00002"]]), *(4 * [["cpt-00002", "cpt-00004"]])]
    assert names(fake.run / "hf") == ["base", "cpt-00002", "cpt-00004", "cpt-00006"]
    assert is_done(step_called("hf", flow_steps(whole.request)), whole.request, fake.run)


def test_each_export_is_evaluated_as_it_appears_and_all_of_them_are_before_the_step_ends(
    fake: Slurm, whole: WholeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[str] = []

    def evaluate(models: Any, tasks: Path, out: Path, **_: object) -> Manifest:
        assert tasks == fake.run / "tasks"
        assert out == fake.run / "proxy" / models[0].name
        return run_stage("eval", {}, {}, out, lambda _: {"times": evaluated.append(models[0].name)})

    def pause(*_: Any) -> None:
        step = 2 + 2 * len(evaluated)
        export(Path(f"iter_{step}"), fake.run / f"hf/cpt-{step:05d}", verify=True)
        if step == 6:
            export(Path("iter_0"), fake.run / "hf/base", verify=True)
            write_done(step_called("hf", flow_steps(whole.request)), whole.request, whole.out)

    monkeypatch.setattr("pdapt.eval.heldout.evaluate.evaluate", evaluate)
    monkeypatch.setattr(beside_step.signal, "sigtimedwait", pause)
    fake.write([[job_name("hf", fake.run), "107", "RUNNING", "None", "(null)"]])
    run_step(fake.run, "proxy")
    assert evaluated == ["cpt-00002", "cpt-00004", "cpt-00006"]


def test_work_ends_where_the_step_has_failed_or_waits_for_its_place(fake: Slurm, whole: WholeRun) -> None:
    calls: list[bool] = []
    state(fake)
    with pytest.raises(UserError, match="the job of cpt has ended before the step was done"):
        work_beside(whole, "cpt", calls.append)
    assert calls == 3 * [False]
    state(fake, "PENDING")
    with pytest.raises(StoppedEarly, match="cpt waits in the queue: this job ends"):
        work_beside(whole, "cpt", calls.append)
    assert calls == 6 * [False]
    (fake.folder / "bin/squeue").write_text("#!/bin/bash\nexit 1\n")

    def work(last: bool) -> None:
        calls.append(last)
        if len(calls) == 12:
            train(fake, 2, ended=True)

    work_beside(whole, "cpt", work)
    assert calls == [*(12 * [False]), True], "what Slurm does not say ends nothing"


def test_slurm_is_asked_now_and_then_and_not_at_each_look(
    fake: Slurm, whole: WholeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    asked: list[list[str]] = []
    monkeypatch.setattr(beside_step, "ASKED", 3600)
    monkeypatch.setattr(beside_step, "queued", lambda jobs: asked.append(jobs) or {})

    def work(last: bool) -> None:
        looks.append(last)
        if len(looks) == 9:
            train(fake, 2, ended=True)

    work_beside(whole, "cpt", work)
    assert (len(looks), asked) == (10, [[job_name("cpt", fake.run.resolve())]])


def test_the_signal_to_save_ends_the_work_and_no_process_that_it_has_started(fake: Slurm, whole: WholeRun) -> None:
    codes: list[int] = []
    child = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)"]

    def work(_: bool) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        codes.append(subprocess.run(child, check=False).returncode)

    with pytest.raises(StoppedEarly, match="asked to stop while waiting for cpt"):
        work_beside(whole, "cpt", work)
    assert codes == [0]
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
