"""Run a script as the ranks of one job: `forked_ranks.py RANKS SCRIPT ARGUMENTS…`.

Megatron is imported once, and the ranks are forks: its imports take longer than what these scripts do.
"""

import runpy
import sys
import uuid


def run(*words: str) -> None:
    """Run the script in a rank."""
    sys.argv = [*words]
    runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    """Start the ranks and wait for them."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from pdapt.training.megatron.engine import prepare

    prepare()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=int(sys.argv[1]),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=str(uuid.uuid4()),
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, run)(*sys.argv[2:])


if __name__ == "__main__":
    main()
