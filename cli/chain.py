"""`pdapt status`, `logs` and `cancel`, and `pdapt launch FLOW --on …`."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, json_text

if TYPE_CHECKING:
    from ..launch.chain.flow_file import Flow
    from ..launch.chain.run_status import RunStatus

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `pdapt run` or `pdapt launch`.")]
PAUSE = 5.0
"""Seconds between two looks of --watch."""


def status(
    run: RunFolder,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh every five seconds until nothing is running.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a run's steps: state, job, why it waits, progress, loss, goodput, time left; and why a chain has stopped.

    It reads only the run's folder and squeue; the command that started the run need not be running.
    """
    from ..core.errors import UserError
    from ..launch.chain.run_status import StepState, run_status

    if watch and as_json:
        raise UserError("--json is one object, and --watch shows many", where="--watch", fix="leave one of them out")
    while True:
        shown = run_status(run)
        if as_json:
            print(json_text(shown.to_json()))
            return
        _print_status(shown)
        going = {StepState.RUNNING, StepState.WAITING, StepState.UNKNOWN}
        if not watch or not any(step.state in going for step in shown.steps):
            return
        time.sleep(PAUSE)


def _print_status(shown: "RunStatus") -> None:
    from ..launch.chain.run_status import table_rows
    from .terminal import print_table

    print_table(shown.title, ["step", "state", "job", "what"], table_rows(shown))
    if shown.slurm:
        print(f"Slurm: {shown.slurm}")
    if shown.stopped:
        print(f"Stopped: {shown.stopped}")


def logs(
    run: RunFolder,
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step that `pdapt status` shows.")],
    lines: Annotated[int, typer.Option(min=1, help="Number of last lines to print.")] = 100,
) -> None:
    """Print the end of the log of a step's newest job."""
    from ..launch.chain.run_status import LOG_END, step_log, tail

    print("\n".join(list(tail(step_log(run, step), LOG_END))[-lines:]))


def cancel(run: RunFolder, as_json: Json = False) -> None:
    """Cancel the jobs of a run that have not ended. `pdapt launch` submits them again."""
    from ..launch.chain.run_status import cancel_run

    jobs = cancel_run(run)
    if as_json:
        print(json_text({"cancelled": jobs}))
        return
    print(
        "\n".join(f"{step}: job {number} cancelled" for step, number in jobs.items()) or "no job of this run is queued"
    )


class On(StrEnum):
    """Where a flow's steps run."""

    SLURM = "slurm"
    NEMO_RUN = "nemo-run"


def launch_flow(path: str, out: Path, site: str | None, *, on: On, only_print: bool) -> None:
    """Submit a flow's file as a chain of jobs or as an experiment of NeMo-Run, or print what would be submitted."""
    from dataclasses import replace

    from ..launch.chain.flow_file import read_flow

    flow = read_flow(Path(path))
    flow = flow if site is None else replace(flow, site=site)
    launch = {On.SLURM: _launch_chain, On.NEMO_RUN: _launch_on_nemo_run}[on]
    launch(flow, out, Path.cwd(), only_print=only_print)


def _launch_on_nemo_run(flow: "Flow", out: Path, folder: Path, *, only_print: bool) -> None:
    from ..launch.nemo_run.on_nemo_run import run_tasks, show_tasks

    lines = show_tasks(flow, out, folder) if only_print else run_tasks(flow, out, folder)
    print("\n".join(lines) or "every step is done")


def _launch_chain(flow: "Flow", out: Path, folder: Path, *, only_print: bool) -> None:
    from ..core import log
    from ..launch.chain.chain_jobs import sentences
    from ..launch.chain.submit import flow_script, plan_chain, submit_chain

    if not only_print:
        numbers = submit_chain(flow, out, folder)
        print("\n".join(f"{step}: job {number}" for step, number in numbers.items()) or "every step is done")
        return
    jobs = plan_chain(flow, out, folder)
    for sentence in sentences(jobs):
        log.info(f"launch: {sentence}")
    print(flow_script(flow, jobs, Path(folder, out).resolve()))
