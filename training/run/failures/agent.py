"""torchrun, and a file of how each rank ended that it saw end first: `CODES TORCHRUN-ARGUMENTS…`."""

import sys
from pathlib import Path

from ....core.files import write_json
from ....core.system.garbage import importing

with importing():
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run


def main() -> None:
    """Run torchrun; of a failure, write `{rank: exit code}`, a signal's negative, to the file that is named first."""
    try:
        run(parse_args(sys.argv[2:]))
    except ChildFailedError as failed:
        write_json(Path(sys.argv[1]), {rank: failure.exitcode for rank, failure in failed.failures.items()})
        raise


if __name__ == "__main__":
    main()
