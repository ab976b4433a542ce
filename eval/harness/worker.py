"""The process in which lm-eval runs: `python -m pdapt.eval.harness.worker JOB.json`, started in the folder of tasks."""

import os
import sys
import threading
from pathlib import Path

from ...core.files import read_json
from ...core.system.garbage import importing
from .job import LmEvalJob


def main() -> None:
    """Do the job of a file, and end with the parent process, also while lm-eval is still being imported."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with importing():
        from .run_lm_eval import run

    run(LmEvalJob.from_json(read_json(Path(sys.argv[1]))))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
