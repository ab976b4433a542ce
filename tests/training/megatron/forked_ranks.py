"""Run scripts as the ranks of jobs, each a line of standard input: `{"ranks": 2, "words": ["script.py", "argument"]}`.

Megatron is imported once, and all ranks are forks of this process: its imports take longer than what these scripts do.
Each job is answered by a line, `{"failed": null}` or the error's text; what ranks print goes to standard error.
"""

import json
import os
import runpy
import sys
import uuid


def run(*words: str) -> None:
    """Run the script in a rank."""
    sys.argv = [*words]
    runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    """Do the jobs one after another, until standard input ends."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from pdapt.training.megatron.engine import prepare

    prepare()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            job, failed = json.loads(line), None
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=job["ranks"],
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                run_id=str(uuid.uuid4()),
                max_restarts=0,
                start_method="fork",
            )
            try:
                elastic_launch(config, run)(*job["words"])
            except ChildFailedError as error:
                failed = str(error)
            answers.write(json.dumps({"failed": failed}) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
