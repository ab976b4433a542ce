"""The scripts of a flow's tasks under NeMo-Run, run by bash, and what is refused; NeMo-Run itself is not needed."""

import os
import subprocess
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from commands import pdapt
from slurm_stand_ins import FLOW

from pdapt.core.errors import UserError
from pdapt.launch.chain.chain_jobs import ChainJob
from pdapt.launch.chain.flow_file import read_flow
from pdapt.launch.chain.submit import plan_chain
from pdapt.launch.nemo_run.on_nemo_run import plan_tasks
from pdapt.launch.nemo_run.task_scripts import (
    FlowTask,
    check_slurm,
    differences,
    done_file,
    flow_tasks,
    process_script,
    rank_script,
    setup_lines,
)
from pdapt.launch.sbatch import render_sbatch
from pdapt.launch.slurm_site import Container
from pdapt.training.nemo import installed

ON_SLURM = FLOW.replace("site: local_cpu", "site: generic")
HERE = FLOW.replace("parallel.nodes=2, ", "")
CODE = 'case "$*" in *"$FAILS"*) exit "${CODE:-0}" ;; esac\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in, with stand-ins that write down what they were given."""
    (tmp_path / "bin").mkdir()
    for name in ("pdapt", "scontrol", "sleep"):
        text = f'#!/bin/bash\necho "{name} $*" >>"{tmp_path}/log"\n'
        (tmp_path / "bin" / name).write_text(text + (CODE if name == "pdapt" else ""))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jobs(folder: Path, text: str) -> list[ChainJob]:
    (folder / "flow.yaml").write_text(text)
    return plan_chain(read_flow(folder / "flow.yaml"), Path("run"), folder)


def tasks(folder: Path, text: str) -> list[FlowTask]:
    (folder / "flow.yaml").write_text(text)
    return plan_tasks(read_flow(folder / "flow.yaml"), Path("run"), folder)


def logged(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_each_task_runs_the_command_of_the_chains_script_byte_for_byte(folder: Path) -> None:
    for task in tasks(folder, ON_SLURM):
        script = render_sbatch(task.each.job).splitlines()
        (command,) = (line.strip().removesuffix(" &") for line in script if line.endswith(" &") and "pdapt " in line)
        assert f"\n{command} || code=$?\n" in rank_script(task.each.job)
        assert f"\n{command} || exit $?\n" in process_script(task)
        environment = [line for line in script if line.startswith("export ") and "=" in line]
        mine = [line for line in setup_lines(task.each.job).splitlines() if line.startswith("export ")]
        assert [line for line in mine if "TORCHELASTIC" not in line] == environment


def test_a_task_waits_for_the_steps_that_it_needs_and_are_not_done(folder: Path) -> None:
    planned = jobs(folder, ON_SLURM)
    assert {task.name: task.needs for task in flow_tasks(planned)}["cpt"] == ("tasks", "base")
    left = [each for each in planned if each.step.name in ("cpt", "hf")]
    assert [(task.name, task.needs) for task in flow_tasks(left)] == [("cpt", ()), ("hf", ("cpt",))]


def test_a_task_is_started_again_as_often_as_training_needs_and_for_crashes(folder: Path) -> None:
    (task, *_) = tasks(folder, ON_SLURM)
    assert task.retries == 2
    assert FlowTask(replace(task.each, starts=6), ()).retries == 7
    site = replace(task.each.job.site, requeue=False)
    fixed = FlowTask(replace(task.each, job=replace(task.each.job, site=site)), ())
    assert fixed.retries == 0
    assert any("--requeue" in sentence for sentence in differences([fixed], slurm=True))


@pytest.mark.parametrize(
    ("code", "others", "said"),
    [
        (0, 0, []),
        (1, 0, ["sleep 20"]),
        (2, 0, ["scontrol update JobId=7 Requeue=0"]),
        (75, 1, []),
        (76, 0, ["scontrol update JobId=7 Requeue=0", "sleep 20"]),
    ],
)
def test_a_rank_ends_with_its_commands_code(folder: Path, code: int, others: int, said: list[str]) -> None:
    """One of two ranks that has saved ends when the other has written down that it ended, too."""
    training = next(task.each.job for task in tasks(folder, ON_SLURM) if task.name == "cpt")
    (folder / "ends").mkdir()
    if others:
        (folder / "ends/0").touch()
    variables = {"SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7", "WORLD_SIZE": "2"}
    environment = {**os.environ, **variables, "ENDS": str(folder / "ends"), "FAILS": "train", "CODE": str(code)}
    done = subprocess.run(["bash", "-c", rank_script(training)], env=environment, cwd="/", timeout=20)
    assert done.returncode == code
    command, *rest = logged(folder)
    assert command.startswith(f"pdapt train {folder}/run/slurm/recipes/cpt.yaml ")
    assert rest == said


def test_a_rank_that_has_saved_waits_for_the_others(folder: Path) -> None:
    training = next(task.each.job for task in tasks(folder, ON_SLURM) if task.name == "cpt")
    (folder / "ends").mkdir()
    (folder / "bin/sleep").write_text(f'#!/bin/bash\necho "sleep $*" >>"{folder}/log"\ntouch "$ENDS/0"\n')
    variables = {"SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7", "WORLD_SIZE": "2"}
    environment = {**os.environ, **variables, "ENDS": str(folder / "ends"), "FAILS": "train", "CODE": "75"}
    done = subprocess.run(["bash", "-c", rank_script(training)], env=environment, timeout=20)
    assert (done.returncode, logged(folder)[1:]) == (75, ["sleep 1"])


def test_a_task_on_this_machine_does_not_start_after_one_that_has_failed(folder: Path) -> None:
    here = {task.name: task for task in tasks(folder, HERE)}
    environment = {**os.environ, "FAILS": "tokenizer", "CODE": "3"}

    def run(name: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", process_script(here[name])]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    assert [run(name).returncode for name in ("corpus", "tokenizer")] == [0, 3]
    assert done_file(here["corpus"].each.job, "corpus").exists()
    refused = run("tokens")
    assert (refused.returncode, refused.stderr) == (1, "tokens: not started, because tokenizer has failed\n")
    assert logged(folder) == [f"pdapt run --out {folder}/run --step {name}" for name in ("corpus", "tokenizer")]


def test_what_differs_from_a_chain_is_said(folder: Path) -> None:
    said = list(differences(tasks(folder, HERE), slurm=False))
    assert said[0] == "NeMo-Run cannot run one task beside another: hf and proxy begin when training is done"
    assert "none is repeated" in said[1]
    assert "is not held" in list(differences(tasks(folder, ON_SLURM), slurm=True))[1]


def test_what_nemo_run_cannot_do_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(UserError, match=r"cpt runs on 2 nodes, and NeMo-Run's LocalExecutor has this machine alone"):
        tasks(folder, FLOW)
    parts = HERE.replace("domain: medical", "domain: medical, parts: 4, jobs: 2")
    with pytest.raises(UserError, match=r"(?s)corpus would submit jobs of Slurm.*data\.jobs"):
        tasks(folder, parts)
    (folder / "flow.yaml").write_text(ON_SLURM)
    with pytest.raises(UserError, match=r"NeMo-Run replaces /nemo_run wherever it stands.*: .*/nemo_runs/mine"):
        plan_tasks(read_flow(folder / "flow.yaml"), Path("nemo_runs/mine"), folder)


def test_a_container_whose_paths_name_variables_is_refused(folder: Path) -> None:
    (task, *_) = tasks(folder, ON_SLURM)

    def within(container: Container) -> FlowTask:
        site = replace(task.each.job.site, container=container)
        return FlowTask(replace(task.each, job=replace(task.each.job, site=site)), ())

    check_slurm([within(Container("pyxis", "/images/nemo.sqsh", ["/data"]))])
    check_slurm([within(Container("apptainer", "$WORK/nemo.sif"))])
    with pytest.raises(UserError, match=r"\$WORK/nemo.sqsh names a variable"):
        check_slurm([within(Container("pyxis", "$WORK/nemo.sqsh"))])
    assert "\napptainer exec " in rank_script(within(Container("apptainer", "$WORK/nemo.sif")).each.job)


@pytest.mark.parametrize(("there", "said"), [(None, "nemo-run is not installed"), ("0.4.0", "nemo-run is 0.4.0, not")])
def test_without_nemo_run_the_requirements_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, there: str | None, said: str
) -> None:
    def version(name: str) -> str:
        if there is None:
            raise PackageNotFoundError(name)
        return there

    monkeypatch.setattr(installed, "version", version)
    (folder / "flow.yaml").write_text(ON_SLURM)
    for print_ in ([], ["--print"]):
        with pytest.raises(UserError, match=rf"(?s){said}.*requirements/nemo\.txt"):
            pdapt("launch", "flow.yaml", "--on", "nemo-run", "--out", "run", *print_)
    assert not (folder / "run").exists()


def test_an_unknown_place_names_those_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no place to run a flow is called 'nemo'.*slurm, nemo-run"):
        pdapt("launch", "flow.yaml", "--on", "nemo")
