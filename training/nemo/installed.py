"""Whether Megatron-Bridge is installed, in the tested versions; checked before anything starts."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from ...core.errors import UserError
from ...recipes.schema import Engine, Recipe

REQUIREMENTS = "requirements/nemo.txt"
VERSIONS = {"megatron-bridge": "0.6.2", "megatron-core": "0.19.2", "transformers": "5.12.1"}
"""Package -> the version that pdapt's adapter is tested with, as in REQUIREMENTS."""
KERNELS = ("transformer_engine", "nvidia_resiliency_ext")
"""Packages that Megatron-Bridge always imports, and that can be built only for GPUs."""
_FIX = f"install {REQUIREMENTS} in an environment of its own, or set engine=megatron; docs/nemo.md says how"


def check_installed(recipe: Recipe) -> None:
    """Check that the recipe's engine can run in this process's environment. Megatron's always can.

    Raises:
        UserError: packages are missing, or have other versions; the message names them all.
    """
    if recipe.engine != Engine.NEMO:
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


def wrong_version(name: str, wanted: str) -> str:
    """Describe what is wrong with a package; empty if nothing is."""
    try:
        present = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    return "" if present == wanted else f"{name} is {present}, not {wanted}"
