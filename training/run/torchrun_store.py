"""torchrun's store, in which the ranks of a run, on whatever node, leave each other notes."""

import os
from datetime import timedelta
from typing import Any, cast


def torchrun_store(purpose: str, timeout: float) -> Any:
    """The store under a prefix of its own; waits for whoever keeps it. Where torchrun has set MASTER_ADDR and _PORT.

    Args:
        purpose: what the notes are for: those for another purpose, or from before torchrun restarted the ranks, are
            not seen.
        timeout: seconds after which waiting for the store, or for a note, fails.
    """
    import torch

    c10d = cast(Any, torch.distributed)  # its stubs do not name the stores
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    client = c10d.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=timeout))
    return c10d.PrefixStore(f"pdapt/{purpose}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", client)
