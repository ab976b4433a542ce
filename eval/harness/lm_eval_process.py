"""The process in which lm-eval runs: what it is told, and how it is started and followed."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import Halted
from .backends import Limits

RESULTS = "results.json"
SAMPLES = "samples.jsonl"
ANSWERS = "answers.jsonl"
"""Beside lm-eval's files: see `answers.write_answers`."""
SETTINGS = "settings.json"
"""How the answers were made: `batch_size`, `chat_template`, `warnings`; of text `generation`, and what of the folder's
generation_config.json was not used."""
LOG = "log.txt"
"""What libraries said while the model was loaded and the task was run."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
# Warnings are not silenced, whatever the user's shell says; progress bars would fill the log.
HEARD = {"TRANSFORMERS_VERBOSITY": "warning", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}


@dataclass(frozen=True)
class Unit:
    """One model on one task: what fills one folder, `out`, with lm-eval's results and samples."""

    model: str
    task: str
    out: str


@dataclass(frozen=True)
class Measure:
    """What a batch size is found by, where it is left open.

    Attributes:
        kind: `generate_until`, or `loglikelihood`.
        tasks: whose longest prompt with its answer decides.
        file: where it is written down, for the next process.
    """

    kind: str
    tasks: list[str]
    file: str


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        models: name -> lm-eval's `model_args`.
        units: what to do; one model's follow each other.
        tasks: folder of task files, and working directory.
        backend: lm-eval's name of it.
        limits: see `Limits`.
        shots: worked examples before a question; None: as the task says.
        batch_size: sequences a forward pass, or `auto`: then, with `hf`, `measure` says what it is found by.
        measure: see there.
        chat_template: whether the model's own chat template is put around what is asked.
        gpus: GPUs that share the questions of a task (hf), or the model (vllm).
        scratch: folder that jobs on the same data and limits share. What is asked is built by the first of them, and
            read by the others. lm-eval keeps it as a pickle, so it is a folder that this program has made.
    """

    models: dict[str, dict[str, Any]]
    units: list[Unit]
    tasks: Path
    scratch: Path
    backend: str = "hf"
    limits: Limits = field(default_factory=Limits)
    shots: int | None = None
    batch_size: int | str = 8
    measure: Measure | None = None
    chat_template: bool = False
    gpus: int = 1

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"tasks": str(self.tasks), "scratch": str(self.scratch)}


class EvaluationFailed(Halted):
    """lm-eval ended with an error, or with results that are none; the end of its messages is in the text."""


def run_job(job: Job) -> None:
    """Evaluate in a process of its own, which gives its memory back and takes lm-eval's messages away with it.

    The worker ends when its standard input does, so it does not outlive this process.

    Raises:
        EvaluationFailed: lm-eval failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, messages = Path(folder) / "job.json", Path(folder) / "messages.txt"
        path.write_text(json.dumps(job.to_json()))
        with (
            messages.open("w") as stderr,
            subprocess.Popen(
                _command(job, path),
                cwd=job.tasks,
                env=_environment(job),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            ) as worker,
        ):
            assert worker.stdout is not None, "asked for a pipe"
            for line in worker.stdout:
                log.info(f"eval: {line.rstrip()}")
            # Closed only now: see above.
            worker.communicate()
        if worker.returncode:
            end = messages.read_text(errors="replace")[-4000:]
            raise EvaluationFailed(f"lm-eval ended with code {worker.returncode}:\n{end}")


def _command(job: Job, path: Path) -> list[str]:
    """One process, or with `hf` one a GPU: lm-eval then shares the questions out through Accelerate."""
    if job.backend == "hf" and job.gpus > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(job.gpus)]
    else:
        launcher = []
    return [sys.executable, *launcher, "-m", "pdapt.eval.harness.worker", str(path)]


def _environment(job: Job) -> dict[str, str]:
    caches = {
        "HF_DATASETS_CACHE": str(job.scratch / "datasets"),
        "LM_HARNESS_CACHE_PATH": str(job.scratch / "requests"),
    }
    return os.environ | OFFLINE | HEARD | caches
