"""Submit a flow as a chain of Slurm jobs, or print the script that does."""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from ...core import log
from ...core.errors import UserError
from ...core.files import write_text
from ...core.log import counted
from ...core.system.lock import locked
from ...core.system.slurm_queue import queued, slurm, submit_script
from ...training.run.folder import JOBS
from .. import preflight
from ..pipeline import chained_run
from ..request import REQUEST_FILE, Request, changes, claim, request_text, training_began
from ..sbatch import render_sbatch
from ..steps import Step, flow_steps, steps_to_do
from .chain_jobs import LOGS, Chain, ChainJob, sentences
from .flow_file import Flow
from .submitted import JOBS_FILE, note_job

FREE = ("job.", "parallel.", "log.")
"""Values of a recipe that may change once training has begun."""
END = "END_OF_FILE"
"""Word that ends a file within the printed script."""


def plan_chain(flow: Flow, out: Path, folder: Path) -> list[ChainJob]:
    """The jobs of a flow's steps that are not done, checked as far as possible before there are tokens.

    Args:
        flow: read from its file.
        out: the run's folder.
        folder: that the flow's paths are relative to.

    Raises:
        UserError: an input is unusable, the site would not take a job, or `out` was trained with other options.
    """
    request, run = flow.request, Path(folder, out).resolve()
    preflight.check_request(request)
    preflight.check_named(request)
    folders = [request.benchmark.data] if request.benchmark and request.benchmark.data else []
    folders += [request.decontaminate] if request.decontaminate else []
    for given in (*request.data, *request.general, *folders):
        _check_there(given, folder)
    base = preflight.read_base(request.base) if request.base else None
    before = claim_chain(run)
    if before and training_began(run):
        _check_unchanged(before, request, run)
    jobs = Chain(chained_run(request, run, base), flow.site, folder).jobs()
    names = {step.name for step in steps_to_do(request, run)}
    return [each for each in jobs if each.step.name in names]


def _check_there(given: str, folder: Path) -> None:
    """Check that text is there, before a job that reads it waits.

    Raises:
        UserError: it is not.
    """
    path = given if Path(folder, given).exists() else given.partition("=")[2] or given
    elsewhere = path.startswith("hub:") or "*" in path or path in (preflight.NONE, preflight.SAMPLE)
    if not elsewhere and not Path(folder, path).exists():
        raise UserError(f"no such file or folder: {path}", where="data", fix="check the path")


def claim_chain(run: Path) -> dict[str, object] | None:
    """The request that a folder was made for; None if it holds nothing, or only jobs' notes.

    Raises:
        UserError: see `request.claim`.
    """
    if run.is_dir() and {path.name for path in run.iterdir()} == {JOBS}:
        return None
    before = claim(run)
    return before.values if before else None


def _check_unchanged(before: dict[str, object], request: Request, run: Path) -> None:
    """Check that training would go on as it began.

    Raises:
        UserError: an option differs that it depends on.
    """
    held = before.get("overrides")
    kept = [item for item in held if not str(item).startswith(FREE)] if isinstance(held, list) else held
    mine = [item for item in request.overrides if not item.startswith(FREE)]
    later = {"overrides"} if kept == mine else set[str]()
    later |= {"general"} if request.base else set()
    differing = changes({**before, **{name: getattr(request, name) for name in later}}, request)
    if differing:
        raise UserError(
            f"{run} was trained with other options; these differ now: {'; '.join(differing)}",
            where=str(run / REQUEST_FILE),
            fix="choose another --out, or give what this run began with",
        )


def submit_chain(flow: Flow, out: Path, folder: Path) -> dict[str, str]:
    """Submit the jobs of the steps that are not done; step -> number of its job.

    Each number is noted before the next job is submitted. If this process was killed between
    submitting a job and noting it, the job is recognised by its name, as long as it has not ended, and kept.

    Raises:
        UserError: see `plan_chain`; or Slurm does not take a job.
        SlurmSilent: Slurm does not answer.
    """
    run = Path(folder, out).resolve()
    jobs, steps = plan_chain(flow, out, folder), flow_steps(flow.request)
    files = {run / REQUEST_FILE: request_text(flow.request)}
    return submit_jobs(jobs, steps, run, files, left=lambda: {step.name for step in steps_to_do(flow.request, run)})


def submit_jobs(
    jobs: list[ChainJob],
    steps: list[Step],
    run: Path,
    files: dict[Path, str],
    *,
    left: Callable[[], Collection[str]],
) -> dict[str, str]:
    """Submit jobs that are not in the queue yet; step -> number of its job.

    Args:
        jobs: of the steps that are not done, in order.
        steps: all steps of the chain.
        run: its folder.
        files: path -> text of what says there what the chain is for.
        left: names of the steps that are not done by now. It is asked after the queue: a job of an earlier start of
            this process may end meanwhile, and is then in neither.

    Raises:
        UserError: Slurm does not take a job.
        SlurmSilent: Slurm does not answer.
    """
    by_name = {step.name: step for step in steps}
    with locked(run, "submitting the jobs of"):
        there = queued([each.job.name for each in jobs]) if jobs else {}
        undone = left()
        jobs = [each for each in jobs if each.job.name in there or each.step.name in undone]
        (run / LOGS).mkdir(parents=True, exist_ok=True)
        write_files(jobs, files)
        for sentence in sentences(jobs):
            log.info(f"launch: {sentence}")
        numbers, new = dict[str, str](), set[str]()
        for each in jobs:
            name, waiting = each.step.name, there.get(each.job.name)
            if waiting is not None and new & set(each.step.needs):
                slurm(["scancel", waiting.number])  # it waits for a job that has ended
                waiting = None
            if waiting is None:
                new.add(name)
                numbers[name] = submit_script(render_sbatch(each.job), _options(each.step, by_name, numbers))
            else:
                numbers[name] = waiting.number
            note_job(run, name, numbers[name])
            log.info(f"launch: {name}: job {numbers[name]}{' is in the queue already' if waiting else ''}")
    return numbers


def write_files(jobs: list[ChainJob], files: dict[Path, str]) -> None:
    """Write `files`, and what the jobs read."""
    for path, text in [*files.items(), *(item for each in jobs for item in each.files.items())]:
        write_text(path, text)


def _options(step: Step, steps: dict[str, Step], numbers: dict[str, str]) -> list[str]:
    """Options of sbatch that let a job wait for the jobs of the steps that it needs."""
    dependency = _dependency(step, steps, numbers)
    return [*([f"--dependency={dependency}"] if dependency else []), "--kill-on-invalid-dep=yes"]


def _dependency(step: Step, steps: dict[str, Step], numbers: Mapping[str, str]) -> str:
    """The value of sbatch's --dependency; empty where a step waits for no job.

    A step beside another waits for what that one waits for, too: to Slurm, a cancelled job has begun.
    """
    kinds: dict[str, list[str]] = {}
    for kind, name in dict.fromkeys(_waits(step, steps)):
        if name in numbers:
            kinds.setdefault(kind, []).append(numbers[name])
    return ",".join(f"{kind}:{':'.join(jobs)}" for kind, jobs in kinds.items())


def _waits(step: Step, steps: dict[str, Step]) -> Iterator[tuple[str, str]]:
    """Slurm's kind of dependency, and the step that is waited for."""
    for name in step.needs:
        yield ("after" if name in step.beside else "afterok"), name
        if name in step.beside:
            yield from _waits(steps[name], steps)


def flow_script(flow: Flow, jobs: list[ChainJob], run: Path) -> str:
    """The script of a flow's jobs: see `chain_script`."""
    files = {run / REQUEST_FILE: request_text(flow.request)}
    return chain_script(flow.request.title, jobs, flow_steps(flow.request), run=run, files=files)


def chain_script(title: str, jobs: list[ChainJob], steps: list[Step], *, run: Path, files: dict[Path, str]) -> str:
    """A script of bash and sbatch alone that writes `files`, submits the jobs, and notes their numbers.

    Args:
        title: of the chain, for the script's head.
        jobs, steps, run, files: see `submit_jobs`.
    """
    by_name = {step.name: step for step in steps}
    return "\n".join(
        [*_head(title, jobs, run, files), *(line for each in jobs for line in _entry(each, jobs, by_name))]
    )


def _head(title: str, jobs: list[ChainJob], run: Path, files: dict[Path, str]) -> Iterator[str]:
    yield from (
        "#!/bin/bash",
        f"# {title}: {counted(len(jobs), 'job')} that wait for each other. Submit with: bash THIS_FILE",
        "set -euo pipefail",
        f"RUN={shlex.quote(str(run))}",
        f'mkdir -p "$RUN/{LOGS}"',
        "",
        "# Submits the script on standard input, and notes the job's number: submit STEP [OPTION]...",
        "submit() {",
        "  local step=$1 number",
        '  number=$(sbatch --parsable --kill-on-invalid-dep=yes "${@:2}")',
        "  number=${number%%;*}",
        f"""  printf '%s\\t%s\\t%s\\tsubmitted\\n' "$step" "$number" "$(date +%s)" >>"$RUN/{JOBS}/{JOBS_FILE}\"""",
        '  echo "$step: job $number" >&2',
        '  echo "$number"',
        "}",
        "",
        "# Files that the steps read.",
        *(line for path, text in files.items() for line in _file(path, text)),
        *(line for each in jobs for path, text in each.files.items() for line in _file(path, text)),
    )


def _file(path: Path, text: str) -> Iterator[str]:
    assert END not in text.splitlines()
    yield f"mkdir -p {shlex.quote(str(path.parent))} && cat >{shlex.quote(str(path))} <<'{END}'"
    yield text.rstrip("\n")
    yield END


def _entry(each: ChainJob, jobs: list[ChainJob], steps: dict[str, Step]) -> Iterator[str]:
    step = each.step
    dependency = _dependency(step, steps, {other.step.name: f"${other.step.name}" for other in jobs})
    option = f' "--dependency={dependency}"' if dependency else ""
    yield from ("", f"# {step.name}: {step.summary}")
    yield f"{step.name}=$(submit {step.name}{option} <<'{END}'"
    yield render_sbatch(each.job).rstrip("\n")
    yield from (END, ")")
