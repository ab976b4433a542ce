"""The process in which lm-eval runs: how it is started and followed."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ...core import log
from ...core.errors import Halted
from .job import LmEvalJob

OFFLINE_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
# Warnings are kept whatever the user's shell says; progress bars would fill the log.
LOG_ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "warning",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
}
ERROR_CHARACTERS = 4000
"""Characters of the process's last messages that an error shows."""


class EvaluationFailed(Halted):
    """lm-eval ended with an error, or its results are incomplete; the text has the end of its messages."""


def run_job(job: LmEvalJob) -> None:
    """Evaluate in a separate process, which frees its memory at its end and keeps lm-eval's messages apart.

    The process ends when its standard input does, so it does not outlive this one.

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
            # Closes standard input, which ends the worker; so only now.
            worker.communicate()
        if worker.returncode:
            end = messages.read_text(errors="replace")[-ERROR_CHARACTERS:]
            raise EvaluationFailed(f"lm-eval ended with code {worker.returncode}:\n{end}")


def _command(job: LmEvalJob, path: Path) -> list[str]:
    """One process, or with `hf` one a GPU: lm-eval then shares the questions out through Accelerate."""
    if job.backend == "hf" and job.gpus > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(job.gpus)]
    else:
        launcher = []
    return [sys.executable, *launcher, "-m", "pdapt.eval.harness.worker", str(path)]


def _environment(job: LmEvalJob) -> dict[str, str]:
    caches = {
        "HF_DATASETS_CACHE": str(job.scratch / "datasets"),
        "LM_HARNESS_CACHE_PATH": str(job.scratch / "requests"),
    }
    return os.environ | OFFLINE_ENVIRONMENT | LOG_ENVIRONMENT | caches
