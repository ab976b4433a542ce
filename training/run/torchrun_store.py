"""The store in which the ranks of a run, on any node, leave notes for each other."""

import os
from datetime import timedelta
from typing import Any, cast


def torchrun_store(purpose: str, timeout: float) -> Any:
    """The store under a prefix of its own: torchrun's or, if srun has started the ranks, one that rank 0 keeps.

    A store that rank 0 keeps ends with the object returned on rank 0. Megatron's store, at the same port, is the same
    one while both exist.

    Args:
        purpose: what the notes are for; notes for another purpose, or from before torchrun restarted the ranks, are
            not visible.
        timeout: seconds after which waiting for the store, or for a note, fails.
    """
    import torch

    c10d = cast(Any, torch.distributed)  # its stubs do not name the stores
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    keeps = not kept_by_torchrun() and os.environ["RANK"] == "0"
    patience = timedelta(seconds=timeout)
    client = c10d.TCPStore(address, port, is_master=keeps, timeout=patience, wait_for_workers=False, multi_tenant=keeps)
    return c10d.PrefixStore(f"pdapt/{purpose}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", client)


def kept_by_torchrun() -> bool:
    """Whether torchrun keeps a store before any rank has started."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
