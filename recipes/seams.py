"""What we change in Megatron beyond its interfaces, wherever it runs, with the reason.

The CPU-only replacements are in `cpu_backend`. `tests/recipes/test_seams.py` fails when megatron-core changes what
these rest on.
"""

from importlib.util import find_spec

SEAMS = {
    "megatron.core.datasets.utils.compile_helpers": (
        "runs `make` in a folder that the wheel ships without a Makefile, and exits the process when that fails; "
        "the wheel ships the compiled `helpers_cpp` instead"
    ),
}


def apply() -> None:
    """Put the seams in place. After megatron is imported, before the trainer starts."""
    from megatron.core.datasets import utils

    assert find_spec("megatron.core.datasets.helpers_cpp"), "megatron-core's wheel must ship its compiled helpers"
    utils.compile_helpers = lambda: None
