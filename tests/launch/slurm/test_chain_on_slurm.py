"""A whole tiny chain on a real Slurm of two nodes: it stops at a mistake, says why, and goes on to the report."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdapt.launch.chain.run_status import RunStatus, run_status
from pdapt.launch.request import read_request
from pdapt.launch.steps import flow_steps

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
WORDS = "le patient reçoit du paracétamol contre la fièvre puis sera revu dans une semaine avec son dossier".split()  # noqa: SIM905
STEPS = ["corpus", "tokens", "general", "tasks", "base", "cpt", "hf", "proxy", "merge", "choose", "scores", "report"]


class Chain:
    """A flow in a folder, and pdapt's commands on it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment, self.run = folder, environment, folder / "run"

    def pdapt(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "pdapt.cli.main", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def launch(self) -> list[str]:
        """Submit what is not done; the steps."""
        said = self.pdapt("launch", "flow.yaml", "--on", "slurm", "--out", "run")
        return [line.partition(":")[0] for line in said.splitlines()]

    def status(self) -> RunStatus:
        """As `pdapt status` shows it, without a process for each look."""
        return run_status(self.run)

    def wait(self, condition: Callable[[dict[str, str]], bool], *, stops: bool = False) -> dict[str, str]:
        """Look until a condition holds of the steps' states; a chain that stops meanwhile is an error."""
        deadline = time.monotonic() + 1200
        while not condition(states := states_of(status := self.status())):
            assert time.monotonic() < deadline, status
            assert stops or not status.stopped, status
            time.sleep(1)
        return states


def states_of(status: RunStatus) -> dict[str, str]:
    return {step.name: step.state for step in status.steps}


@pytest.fixture
def chain(
    slurm: dict[str, str], qwen3_at: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Chain]:
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    qwen3_at(tmp_path / "base", dtype="float32")
    (tmp_path / "flow.yaml").write_text(
        "title: A tiny chain\n"
        "data: {domain: medical, paths: [notes.jsonl], general: [towns.jsonl], parts: 2, jobs: 2}\n"
        "base: base\n"
        "recipe:\n"
        "  name: qwen3_tiny_cpt_2xcpu\n"
        "  values: [steps=2, model.precision=fp32, data.seq_length=64, batch.micro_size=1, batch.global_size=2,\n"
        "    checkpoint.every=2, validation.every=2, validation.batches=1, parallel.nodes=2,\n"
        "    parallel.ranks_per_node=1]\n"
        "evaluation: {documents: 4, questions: 4}\n"
        "merge: {t: [0.3, 0.6], max_loss: 50}\n"
        "site: local_cpu\n"
    )
    write_texts(tmp_path / "towns.jsonl", "ville", 8)
    environment = slurm | {"OMP_NUM_THREADS": "1"}
    yield Chain(tmp_path, environment)
    subprocess.run(["scancel", "--me"], env=slurm, check=True)


def write_texts(path: Path, first: str, count: int) -> None:
    draw = random.Random(first)
    texts = (" ".join([first, str(number), *draw.choices(WORDS, k=40)]) for number in range(count))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_a_chain_stops_at_a_mistake_and_says_why_and_goes_on_to_the_report(chain: Chain) -> None:
    notes = chain.folder / "notes.jsonl"
    notes.write_text('{"text": "one"}\n{"text": \n')
    assert chain.launch() == STEPS
    stopped_states = dict.fromkeys(STEPS, "cancelled") | {"corpus": "failed", "base": "done"}
    chain.wait(lambda states: states == stopped_states, stops=True)
    assert chain.status().stopped.startswith("corpus has failed: ")
    assert "notes.jsonl" in chain.pdapt("logs", "run", "corpus")
    assert subprocess.check_output(["squeue", "-h"], env=chain.environment) == b""

    write_texts(notes, "note", 120)
    assert chain.launch() == [name for name in STEPS if name != "base"], "the import is done"
    states = chain.wait(lambda states: states["cpt"] in ("running", "done"))
    assert (states["tokens"], states["tasks"]) == ("done", "done")
    if states["cpt"] == "running":
        assert states["report"] == "waiting"
    chain.wait(lambda states: set(states.values()) == {"done"})
    shown = json.loads(chain.pdapt("status", "run", "--json"))
    assert {step["name"]: step["state"] for step in shown["steps"]} == dict.fromkeys(STEPS, "done")
    training = next(step for step in shown["steps"] if step["name"] == "cpt")
    assert training["progress"]["step"] == training["progress"]["steps"] == 2
    assert 0 < training["progress"]["goodput"] <= 1
    choice = json.loads((chain.run / "choice/curve/tradeoff.json").read_text())
    assert f"Chosen: {choice['proposed']}." in (chain.run / "report/index.html").read_text()
    assert [point["model"] for point in choice["points"]] == ["base", "t0.3", "t0.6", "cpt-00002"]
    log = "".join(path.read_text() for path in (chain.run / "slurm/logs").glob("scores.*"))
    assert "still valid from the earlier evaluation" in log, "what was evaluated beside training, and for the choice"
    assert json.loads((chain.run / "cpt/manifest.json").read_text())["config"]["parallel"]["nodes"] == 2
    for step, task in (("corpus", "finish"), ("tokens", "tokenize")):
        log = "".join(path.read_text() for path in (chain.run / "slurm/logs").glob(f"{step}.*"))
        assert f"{step}: {task}: submitted as job " in log
    assert chain.launch() == ["every step is done"]
    assert [step.name for step in flow_steps(read_request(chain.run))] == STEPS


def test_scaling_is_measured_by_jobs_and_put_together_by_the_last(chain: Chain, tokens: Path) -> None:
    values = ["model.precision=fp32", "data.seq_length=64", "batch.micro_size=1", "batch.global_size=2"]
    command = ["bench", "scaling", *values, "parallel.ranks_per_node=1", "--nodes", "1,2", "--way", "strong"]
    command += ["--steps", "5", "--repeats", "1", "--tokens", str(tokens), "--out", "run"]
    command += ["--on", "slurm", "--site", "local_cpu"]
    numbers = json.loads(chain.pdapt(*command, "--json"))["jobs"]
    assert list(numbers) == ["strong_1_0", "strong_2_0", "collect"]
    chain.wait(lambda states: states == dict.fromkeys(numbers, "done"))
    rows = json.loads((chain.run / "scaling.json").read_text())["rows"]
    assert [(row["scaling"], row["world"], row["cores"]) for row in rows] == [("strong", 1, 1.0), ("strong", 2, 1.0)]
    assert all(row["seconds"] > 0 for row in rows)
    held = [json.loads((chain.run / f"strong-{n}-0/run/manifest.json").read_text()) for n in (1, 2)]
    assert [manifest["config"]["parallel"]["nodes"] for manifest in held] == [1, 2]
    assert "constants" in json.loads((chain.run / "site.json").read_text())
    assert (chain.run / "scaling.html").is_file()
    assert chain.pdapt(*command).splitlines() == ["every step is done"]
