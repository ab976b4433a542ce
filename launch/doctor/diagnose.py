"""All checks of the doctor, in the order in which they are known: the quick ones first, then those that load torch."""

from collections.abc import Iterator
from pathlib import Path

from .check import Check
from .gpu_checks import check_cpu_kernels, check_driver, check_torch, check_transformer_engine
from .machine_checks import check_cores, check_disk, check_open_files, check_shared_memory
from .network_checks import check_network
from .package_checks import check_packages, check_python
from .site_checks import check_site


def diagnose(folder: Path, site: str | None = None) -> Iterator[Check]:
    """Check this machine, this environment and, where one is given, a site; each result as soon as it is known.

    Args:
        folder: an existing folder on the disk that runs will be written to.
        site: name or path, as `read_site` takes it.
    """
    yield from check_python()
    yield from check_packages()
    if site is not None:
        yield from check_site(site)
    yield from check_cores()
    yield from check_shared_memory()
    yield from check_open_files()
    yield from check_disk(folder)
    yield from check_network()
    yield from check_driver()
    yield from check_torch()
    yield from check_transformer_engine()
    yield from check_cpu_kernels()
