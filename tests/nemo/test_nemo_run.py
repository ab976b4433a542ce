"""NeMo-Run itself: `nemo pdapt`, and a flow as an experiment, whose scripts run what a chain's scripts run."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiddle
import nemo_run
import pytest
from commands import pdapt
from slurm_stand_ins import FLOW
from typer.main import get_command
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.cli.nemo import entry_points
from pdapt.core.errors import Failed, UserError
from pdapt.launch.chain.chain_jobs import ChainJob
from pdapt.launch.chain.flow_file import Flow, read_flow
from pdapt.launch.chain.submit import plan_chain
from pdapt.launch.nemo_run import on_nemo_run
from pdapt.launch.sbatch import render_sbatch
from pdapt.recipes.load import load, to_yaml

SITE = """\
title: A Slurm with all that a site can ask for
account: mine
partition: long
qos: high
constraint: a100|h100
hint: nomultithread
gpus_per_node: 4
gpu_option: gres
cpus_per_rank: 3
longest: "10:00:00"
cpu: {partition: cores, cores: 2}
modules: [arch/h100, "python/3.12"]
venv: $HOME/venv
scratch: $HOME/scratch
tmp: $HOME/tmp
env: {lower_case: "a value $HOME with 'quotes'"}
network: {NCCL_SOCKET_IFNAME: {value: "ib0,ib1", reason: "the fast cards"}}
"""
HERE = FLOW.replace("parallel.nodes=2, ", "")
STAND_INS = {
    # It starts each rank, as srun would, and asks nothing of NeMo-Run's question for the first node's address.
    "srun": """\
case "$*" in *--ip-address*) echo 127.0.0.1; exit ;; esac
while [ "$1" != bash ]; do shift; done
for rank in $(seq 0 $((WORLD_SIZE - 1))); do
  SLURM_PROCID=$rank SLURM_LOCALID=$((rank % LOCAL_WORLD_SIZE)) "$@" || exit $?
done
""",
    "pdapt": 'exec {python} {folder}/note.py "$@"\n',
    "module": 'echo "module $*" >>{folder}/modules\n',
    "scontrol": "echo node-1\n",
    "squeue": "",
    "hostname": "echo node-1\n",
    "sbatch": """\
exec 9>{folder}/lock && flock 9  # tasks that wait for none of each other are submitted at the same time
number=$(($(cat {folder}/number 2>/dev/null || echo 100) + 1))
echo $number >{folder}/number
cp "${{@: -1}}" {folder}/submitted-$number
echo "$*" >{folder}/options-$number
echo $number
""",
}
NOTE = """\
import json, os, sys
names = {names!r}
held = {{name: value for name, value in os.environ.items() if name in names}}
with open({log!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], os.getcwd(), held]) + "\\n")
"""
SEEN = [
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ENDS"),
    *("OMP_NUM_THREADS", "CUDA_DEVICE_MAX_CONNECTIONS", "PATH", "XDG_CACHE_HOME", "HF_HOME", "TMPDIR"),
    *("NCCL_SOCKET_IFNAME", "lower_case"),
]
OWN = {"output", "signal", "requeue", "kill-on-invalid-dep"}
"""Options of sbatch that NeMo-Run's script has by itself, or otherwise than a chain's."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in, with stand-ins for Slurm, a site, and NeMo-Run's own folder."""
    (tmp_path / "bin").mkdir()
    values = {"python": sys.executable, "folder": tmp_path}
    for name, text in STAND_INS.items():
        filled = text.format(**values) if "{folder}" in text or "{{" in text else text
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{filled}")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "note.py").write_text(NOTE.format(names=SEEN, log=str(tmp_path / "log")))
    (tmp_path / "site.yaml").write_text(SITE)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.chdir(tmp_path)
    nemo_run.config.set_nemorun_home(str(tmp_path / "home"))
    return tmp_path


def flow_of(folder: Path, text: str, site: str = "site.yaml") -> Flow:
    (folder / "flow.yaml").write_text(text.replace("site: local_cpu", f"site: {site}"))
    return read_flow(folder / "flow.yaml")


def launch(folder: Path, text: str, site: str = "site.yaml") -> list[str]:
    """The lines that are printed."""
    flow_of(folder, text, site)
    return pdapt("launch", "flow.yaml", "--on", "nemo-run", "--out", "run").splitlines()


def ran(folder: Path, script: str) -> list[list[object]]:
    """Arguments, folder and environment that the stand-in of pdapt was started with, of each rank."""
    (folder / "log").unlink(missing_ok=True)
    variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-1", "HOME": str(folder / "home")}
    environment = {**os.environ, **variables}
    done = subprocess.run(["bash"], input=script, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def options(script: str) -> dict[str, str]:
    """The options of a script's #SBATCH lines."""
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH --")]
    pairs = [(" ".join(shlex.split(line)).partition("=")) for line in lines]
    return {name: value for name, _, value in pairs}


def printed_scripts(text: str) -> dict[str, str]:
    """Name -> content of each file that `--print` shows."""
    files: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# ") and line.endswith(".sh"):
            name = line.removeprefix("# ")
            files[name] = []
        elif name:
            files[name].append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in files.items()}


def test_each_script_of_a_dry_run_runs_what_the_chains_script_runs(folder: Path) -> None:
    """Command, folder, environment, ranks, modules, and what is asked of Slurm; and nothing is submitted or written."""
    # A recipe whose name does not say that it is for cores asks for GPUs.
    (folder / "tiny.yaml").write_text(to_yaml(load("qwen3_tiny_cpt_2xcpu")))
    flow = flow_of(folder, FLOW.replace("qwen3_tiny_cpt_2xcpu", "tiny.yaml"))
    shown = printed_scripts(pdapt("launch", "flow.yaml", "--on", "nemo-run", "--out", "run", "--print"))
    assert not (folder / "run").exists()
    assert not (folder / "home").exists()
    assert not list(folder.glob("submitted-*"))
    chain = plan_chain(flow, Path("run"), folder)
    assert len(shown) == 2 * len(chain) == 22
    for each in chain:
        name, mine = each.step.name, render_sbatch(each.job)
        batch, rank = shown[f"{name}_sbatch.sh"], folder / f"{name}.sh"
        rank.write_text(shown[f"{name}/scripts/{name}.sh"])
        started = next(line for line in batch.splitlines() if line.startswith("srun --output "))
        theirs = batch.replace(shlex.split(started)[-1], str(rank))
        modules = []
        results = []
        for script in (mine, theirs):
            (folder / "modules").unlink(missing_ok=True)
            results.append(ran(folder, f'module() {{ "{folder}/bin/module" "$@"; }}\ncd {folder}\n{script}'))
            modules.append((folder / "modules").read_text())
        assert results[0] == results[1]
        assert len(results[0]) == each.job.nodes * each.job.ranks_per_node
        assert modules == ["module purge\nmodule load arch/h100\nmodule load python/3.12\n"] * 2
        asked, wanted = options(theirs), options(mine)
        assert {key: asked.get(key) for key in wanted if key not in OWN} == {
            key: value for key, value in wanted.items() if key not in OWN
        }
        assert set(asked) - set(wanted) == {"kill-on-invalid-dep"}
        assert (asked["signal"], "requeue" in asked) == (wanted["signal"].removeprefix("B:"), True)
        assert "--wait=0" in shlex.split(started)
        assert "torchrun" not in theirs + rank.read_text()
        assert (asked.get("gres"), name in ("base", "cpt", "proxy", "scores")) in ((None, False), ("gpu:1", True))


def test_jobs_are_submitted_one_after_those_that_they_need(folder: Path) -> None:
    names = launch(folder, FLOW)
    scripts = {path.name.partition("-")[2]: path.read_text() for path in folder.glob("submitted-*")}
    numbers = {options(script)["job-name"].split(".")[0]: number for number, script in scripts.items()}
    assert sorted(numbers) == sorted(names)

    def given(name: str) -> str:
        """Options of sbatch, without the path of the script."""
        return (folder / f"options-{numbers[name]}").read_text().rpartition(" ")[0]

    assert given("corpus") == "--requeue --parsable"
    assert given("cpt") == f"--requeue --parsable --dependency=afterok:{numbers['tasks']}:{numbers['base']}"
    assert given("hf") == f"--requeue --parsable --dependency=afterok:{numbers['cpt']}"
    assert given("scores") == f"--requeue --parsable --dependency=afterok:{numbers['merge']}:{numbers['proxy']}"
    assert json.loads((folder / "run/request.json").read_text())["title"] == "A tiny chain"
    assert "steps: 4\n" in (folder / "run/slurm/recipes/cpt.yaml").read_text()
    queued = options(scripts["101"])["job-name"]
    (folder / "bin/squeue").write_text(f"#!/bin/bash\necho '{queued}|101|PENDING|x|(null)'\n")
    with pytest.raises(UserError, match="jobs of this run are in Slurm's queue: 101"):
        launch(folder, FLOW)
    assert len(list(folder.glob("submitted-*"))) == len(names)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave all steps of flows out but those named."""

    def choose(*names: str) -> None:
        def planned(flow: Flow, out: Path, folder: Path) -> list[ChainJob]:
            return [each for each in plan_chain(flow, out, folder) if each.step.name in names]

        monkeypatch.setattr(on_nemo_run, "plan_chain", planned)

    return choose


def test_text_becomes_tokens_through_the_local_executor(folder: Path, only: Callable[..., None]) -> None:
    (folder / "bin/pdapt").write_text(f'#!/bin/bash\nexec {sys.executable} -m pdapt.cli.main "$@"\n')
    only("corpus", "tokenizer", "tokens")
    assert launch(folder, HERE, "local_cpu") == ["corpus", "tokenizer", "tokens"]
    assert (folder / "run/tokens/manifest.json").is_file()
    assert launch(folder, HERE, "local_cpu") == ["every step is done"]


def test_after_a_failure_on_this_machine_nothing_more_is_done(folder: Path, only: Callable[..., None]) -> None:
    log = folder / "log"
    (folder / "bin/pdapt").write_text(
        f'#!/bin/bash\necho "${{@: -1}}" >>{log}\ncase "$*" in *tokenizer) exit 2 ;; esac\n'
    )
    only("corpus", "tokenizer", "tokens")
    with pytest.raises(Failed, match=r"^tokenizer has failed: `nemo experiment logs run\.\S+ 1` shows why"):
        launch(folder, HERE, "local_cpu")
    assert log.read_text() == "corpus\ntokenizer\n"


@pytest.mark.parametrize(
    ("name", "given", "command"),
    [
        (
            "train",
            ["recipe=r.yaml", "tokens=t", "out=x", 'overrides=["steps=4"]', "base=b", "stop_at=3", "wall_time=1.5"],
            "train r.yaml steps=4 --tokens t --out x --base b --stop-at 3 --wall-time 1.5",
        ),
        ("export", ["checkpoint=c", "out=o", "weights=master"], "convert export c o --from master"),
        (
            "evaluate",
            ['models=["base=b","m"]', "data=d", "out=o", 'tasks=["FR-MEDICAL","x"]'],
            "eval run base=b m --data d --out o --tasks FR-MEDICAL --tasks x --batch-size auto --gpus 1",
        ),
        (
            "merge",
            ["base=b", "tuned=t", "out=o", 't=["0.3","attention=0.5"]', "seed=1"],
            "merge run b t o --method slerp --t 0.3 --t attention=0.5 --seed 1",
        ),
    ],
)
def test_an_entry_point_runs_the_command_of_its_arguments(
    monkeypatch: pytest.MonkeyPatch, name: str, given: list[str], command: str
) -> None:
    """NeMo-Run reads the arguments; the command line of pdapt takes what becomes of them."""
    monkeypatch.setattr(sys, "argv", ["nemo"])
    monkeypatch.setattr(entry_points, "main", lambda: None)
    function = getattr(entry_points, name)
    partial = nemo_run.cli.cli_parser.parse_cli_args(function, given, output_type=nemo_run.Partial)
    fiddle.build(partial)()
    assert sys.argv == ["pdapt", *command.split()]
    verb: Any = get_command(app)
    words = sys.argv[1:]
    while hasattr(verb, "commands"):
        verb = verb.commands[words.pop(0)]
    verb.make_context(name, words)


def test_the_help_of_nemo_shows_each_verb_with_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nemo", "pdapt"])
    nemo = nemo_run.cli.api.create_cli()
    for name, words in {
        "train": "Train a recipe, or continue its run recipe tokens out base overrides wall_time",
        "export": "Convert a Megatron checkpoint checkpoint out weights dtype reference",
        "eval": "Run the 28 tasks models data out tasks limit batch_size",
        "merge": "Merge a model with its base base tuned out method density",
    }.items():
        shown = CliRunner().invoke(nemo, ["pdapt", name, "--help"], catch_exceptions=False)
        assert shown.exit_code == 0
        assert not [word for word in words.split() if word not in shown.stdout]


def test_an_entry_point_ends_with_pdapts_code(folder: Path) -> None:
    nemo = Path(sys.executable).with_name("nemo")
    command = [nemo, "pdapt", "train", "recipe=qwen3_tiny_pretrain_2xcpu", "tokens=none", "out=out", "--yes"]
    environment = os.environ | {"NEMORUN_HOME": str(folder / "home")}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (refused.returncode, "pdapt: " in refused.stderr) == (2, True), refused.stderr
    assert not (folder / "out").exists()
