"""Whether Python and the installed packages are those that pdapt requires, and fit each other."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from .check import Check, Verdict

PACKAGE = "pdapt"
SHOWN = 5
"""Requirements that a message names."""
INSTALL = "install pdapt there again with all that it requires (pip install pdapt, or `make setup`)"
NVIDIA_IMAGE = "NVIDIA_PYTORCH_VERSION"
"""Variable that NVIDIA's PyTorch image sets to its release, such as 25.10."""
OF_THE_IMAGE = {"torch", "triton"}
"""Packages that the image has its own builds of, which pip is not to replace."""


def check_python() -> Iterator[Check]:
    """Check Python's version."""
    wanted = metadata.metadata(PACKAGE)["Requires-Python"]
    version = platform.python_version()
    value = f"{version} in {sys.prefix}, pdapt {metadata.version(PACKAGE)}"
    if SpecifierSet(wanted).contains(version):
        yield Check("Python", Verdict.OK, value)
    else:
        yield Check(
            "Python",
            Verdict.WRONG,
            value,
            meaning=f"pdapt requires Python {wanted}",
            fix="make the environment with a Python of that version",
        )


def check_packages() -> Iterator[Check]:
    """Check every requirement of pdapt, and those of the packages that it requires."""
    unmet, count = _unmet(PACKAGE)
    image = os.environ.get(NVIDIA_IMAGE)
    untested = [each for each in unmet if image and each.package in OF_THE_IMAGE and each.installed]
    wrong = [each for each in unmet if each not in untested]
    if wrong:
        names = "; ".join(map(str, wrong[:SHOWN])) + (f"; and {len(wrong) - SHOWN} more" if wrong[SHOWN:] else "")
        yield Check(
            "packages",
            Verdict.WRONG,
            names,
            meaning="they do not fit together: imports may fail, or results be wrong",
            fix=INSTALL,
        )
    if untested:
        yield Check(
            "packages",
            Verdict.UNTESTED,
            "; ".join(map(str, untested)),
            meaning=f"NVIDIA's image {image} has builds of its own, which pdapt's tests have not run with",
            fix="compare a base's logits there (--base), and train a few steps, before a long run",
        )
    if not unmet:
        yield Check("packages", Verdict.OK, f"{count} packages fit pdapt's requirements and each other")


class Unmet:
    """A requirement that the installed version does not meet."""

    def __init__(self, by: str, requirement: Requirement, installed: str | None) -> None:
        """Note it: `by` requires, and `installed` is the version that is there, or None."""
        self.by, self.requirement, self.installed = by, requirement, installed
        self.package = requirement.name.lower().replace("_", "-")

    def __str__(self) -> str:
        """For people."""
        there = f"{self.package} {self.installed}" if self.installed else f"no {self.package}"
        return f"{there} is installed, {self.by} requires {self.requirement.name}{self.requirement.specifier}"


def _unmet(root: str) -> tuple[list[Unmet], int]:
    """Follow the requirements from a package; those that are not met, and how many packages were followed."""
    unmet: list[Unmet] = []
    seen: set[tuple[str, str]] = set()
    open_ = [(root, "")]
    while open_:
        name, extra = open_.pop()
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            installed = _version(requirement.name)
            if installed is None or not requirement.specifier.contains(installed, prereleases=True):
                unmet.append(Unmet(name, requirement, installed))
            if installed is not None:
                nodes = {(requirement.name.lower(), part) for part in ("", *requirement.extras)}
                open_ += sorted(nodes - seen)
                seen |= nodes
    return unmet, len({name for name, _ in seen})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
