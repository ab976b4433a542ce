"""The process in which lm-eval runs: `python -m pdapt.eval.harness.worker JOB.json`, started in the folder of tasks."""

import os
import sys
import threading
from pathlib import Path

from ...core.exit_codes import ExitCode
from ...core.files import read_json


def main() -> None:
    """Do a job's units. What lm-eval needs is imported when somebody already looks whether the parent lives."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from .units import run

    run(read_json(Path(sys.argv[1])))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
