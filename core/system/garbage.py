"""Python's garbage collector and the objects of large libraries, of which there are hundreds of thousands."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import libraries that stay loaded, and exempt their objects from garbage collection.

    The collector would look through all objects again and again while torch and Megatron are imported, at some training
    steps, where all ranks wait for one, and at the process's end: on a CPU it took 3 of the 10 s of a rank's start and
    end. The garbage that the imports make stays in memory: 8 MB.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()
