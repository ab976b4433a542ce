"""Python's garbage collector and the objects of large libraries, of which there are hundreds of thousands."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import libraries that stay loaded, and exempt their objects from garbage collection.

    The collector looks through all that is there again and again while torch and Megatron are imported, in a step of
    training now and then, which keeps all ranks waiting for one, and at the process's end: of a rank's start and end
    on a CPU it took 3 of 10 s. What garbage the imports make stays: 8 MB.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()
