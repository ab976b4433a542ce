"""Whether Megatron-Bridge, or NeMo 2, is installed, in the tested versions; checked before anything starts."""

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from packaging.version import Version

from ...core.errors import UserError
from ...core.system.device import has_gpu
from ...recipes.schema import Engine, Recipe

REQUIREMENTS = "requirements/nemo.txt"
VERSIONS = {"megatron-bridge": "0.6.2", "megatron-core": "0.19.2", "transformers": "5.12.1"}
"""Package -> the version that pdapt's adapter is tested with, as in REQUIREMENTS."""
TOOLKIT_REQUIREMENTS = "requirements/nemo-toolkit.txt"
TOOLKIT_VERSIONS = {"nemo-toolkit": "2.7.3", "megatron-core": "0.15.3", "nemo-run": "0.4.0"}
"""As `VERSIONS`, of the recipes for NeMo 2."""
OLDEST_CORE = "0.19"
"""The first Megatron-Core whose trainer masks documents."""
ARCHITECTURES = "TORCH_CUDA_ARCH_LIST"
"""Environment variable by which torch compiles kernels for GPUs that it does not see."""
KERNELS = ("transformer_engine", "nvidia_resiliency_ext")
"""Packages that Megatron-Bridge always imports, and that can be built only for GPUs."""
_FIX = f"install {REQUIREMENTS} in an environment of its own, or set engine=megatron; docs/nemo.md says how"


def check_installed(recipe: Recipe) -> None:
    """Check that the recipe's engine can run in this process's environment.

    Raises:
        UserError: packages are missing, or have other versions; the message names them all.
    """
    if recipe.engine != Engine.NEMO:
        _check_core()
        return
    wrong = [text for name, wanted in VERSIONS.items() if (text := wrong_version(name, wanted))]
    if wrong:
        raise UserError(f"engine=nemo cannot run here: {'; '.join(wrong)}", where="engine", fix=_FIX)
    missing = [name for name in KERNELS if find_spec(name) is None]
    if missing:
        raise UserError(
            f"engine=nemo cannot run here: Megatron-Bridge needs {' and '.join(missing)}, which this environment lacks",
            where="engine",
            allowed="NVIDIA's container, or a GPU machine where they are built",
            fix="install them, or set engine=megatron; docs/nemo.md says how",
        )


def _check_core() -> None:
    """Check that Megatron-Core is not older than what the default engine needs, as it is in NeMo 2's environment."""
    present = version("megatron-core")
    if Version(present) < Version(OLDEST_CORE):
        raise UserError(
            f"engine=megatron cannot run here: megatron-core is {present}, which has no masks between documents",
            where="engine",
            allowed=f"{OLDEST_CORE} or later",
            fix="run it in pdapt's own environment: NeMo 2's is for pdapt.recipes.nemo2",
        )


def check_toolkit() -> None:
    """Check that nemo-toolkit is installed in this process's environment, and can be imported.

    Raises:
        UserError: a package is missing, or has another version; all of them are named. Or nothing says which GPU it
            is for: Model Optimizer, which NeMo imports, asks for that at once.
    """
    wrong = [text for name, wanted in TOOLKIT_VERSIONS.items() if (text := wrong_version(name, wanted))]
    if wrong:
        raise UserError(
            f"a recipe for NeMo 2 cannot be made here: {'; '.join(wrong)}",
            where="pdapt.recipes.nemo2",
            fix=f"install {TOOLKIT_REQUIREMENTS} in an environment of its own; docs/nemo.md says how",
        )
    if ARCHITECTURES not in os.environ and not has_gpu():
        raise UserError(
            f"a recipe for NeMo 2 cannot be made here: there is no GPU, and {ARCHITECTURES} does not name one",
            where=ARCHITECTURES,
            allowed="compute capabilities, such as 9.0 for H100",
            fix=f"export {ARCHITECTURES}=9.0",
        )


def wrong_version(name: str, wanted: str) -> str:
    """Describe what is wrong with a package; empty if nothing is."""
    try:
        present = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    return "" if present == wanted else f"{name} is {present}, not {wanted}"
