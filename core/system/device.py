"""Detection of a GPU and of the packages that its kernels need, without loading torch."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

DRIVER = Path("/dev/nvidiactl")
"""File that exists if NVIDIA's driver is loaded."""


def has_gpu() -> bool:
    """Whether NVIDIA's driver is loaded, and its GPUs are not hidden."""
    return DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") != ""


def has_transformer_engine() -> bool:
    """Whether Transformer Engine is installed with its PyTorch part, which is compiled separately."""
    package_spec = find_spec("transformer_engine")
    if package_spec is None or not package_spec.submodule_search_locations:
        return False
    package = Path(next(iter(package_spec.submodule_search_locations)))
    # Built in a checkout, installed from one, or from the package index: the places where its own loader looks.
    places = (package.parent, package, package / "wheel_lib", Path(sysconfig.get_path("purelib")))
    return any(next(place.glob("transformer_engine_torch*.so"), None) for place in places)


def can_compile() -> bool:
    """Whether Triton can build the launchers of its kernels: with a C compiler, and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # Debian's, which Triton maps, too
    return bool(compiler) and (Path(sysconfig.get_path("include", scheme)) / "Python.h").is_file()
