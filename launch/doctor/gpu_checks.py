"""Whether driver, torch, NCCL and Transformer Engine fit each other, and which kernels are missing."""

import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from typing import Any, cast

from packaging.requirements import Requirement

from ...core.log import counted
from ...core.system.device import can_compile, has_gpu, has_transformer_engine
from .check import Check, Verdict
from .package_checks import INSTALL, PACKAGE

QUERY = "index,name,driver_version,memory.total"
PATIENCE = 30.0
"""Seconds for nvidia-smi, which takes up to 20 if it has to load the driver."""


def check_driver() -> Iterator[Check]:
    """Check NVIDIA's driver by the program that comes with it."""
    if not has_gpu():
        meaning = "ranks run on CPU cores: for tests and tiny models"
        yield Check(
            "driver",
            Verdict.SLOW,
            "no NVIDIA driver, or its GPUs are hidden",
            meaning=meaning,
            fix="use a node with GPUs",
        )
        return
    try:
        rows = _smi(f"--query-gpu={QUERY}", "--format=csv,noheader").splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        meaning = "the driver is loaded, and does not answer"
        yield Check(
            "driver", Verdict.WRONG, f"nvidia-smi: {error}", meaning=meaning, fix="have the node's driver looked at"
        )
        return
    cells = [[cell.strip() for cell in row.split(",")] for row in rows]
    kinds = {f"{row[1]} ({row[3]})" for row in cells}
    value = f"{cells[0][2]}, {counted(len(rows), 'GPU')}: {', '.join(sorted(kinds))}"
    if len(kinds) > 1:
        meaning = "ranks wait for the slowest GPU, and the smallest memory decides what fits"
        yield Check(
            "driver", Verdict.SLOW, value, meaning=meaning, fix="choose GPUs of one kind with CUDA_VISIBLE_DEVICES"
        )
    else:
        yield Check("driver", Verdict.OK, value)


def check_torch() -> Iterator[Check]:
    """Check that torch loads, and that it can use the GPUs that the driver has."""
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of CUDA's that is missing is an OSError
        yield Check("torch", Verdict.WRONG, f"cannot be loaded: {error}", meaning="nothing can be trained", fix=INSTALL)
        return
    value = f"{torch.__version__}, built for {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPUs'}"
    if not has_gpu():
        yield Check("torch", Verdict.OK, value)
        return
    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        most = _cuda_of_driver()
        listed = len(_smi("--query-gpu=index", "--format=csv,noheader").splitlines())
    except (OSError, subprocess.SubprocessError) as error:  # `check_driver` has said what that means
        meaning = f"torch finds {counted(usable, 'GPU')}, and nvidia-smi cannot be asked which there are: {error}"
        verdict = Verdict.UNTESTED if usable else Verdict.WRONG
        yield Check("torch", verdict, value, meaning=meaning, fix="have the node's driver looked at")
        return
    if not usable:
        meaning = f"torch finds no GPU; the driver supports CUDA up to {most}"
        fix = "a newer driver, or a torch that was built for that CUDA" if torch.version.cuda else INSTALL
        yield Check("torch", Verdict.WRONG, value, meaning=meaning, fix=fix)
        return
    yield Check("torch", Verdict.OK, f"{value}; the driver supports CUDA up to {most}")
    yield _compare_counts(usable, listed)
    nccl = cast(Any, torch.cuda).nccl  # its stubs do not name it
    yield Check("NCCL", Verdict.OK, ".".join(map(str, nccl.version())))


def _compare_counts(usable: int, listed: int) -> Check:
    value = f"torch uses {usable} of {listed}"
    if usable == listed:
        return Check("GPUs", Verdict.OK, value)
    meaning = "the others are hidden, or in a state in which torch cannot use them"
    return Check(
        "GPUs",
        Verdict.SLOW,
        value,
        meaning=meaning,
        fix="look at CUDA_VISIBLE_DEVICES, at MIG, and at nvidia-smi's list",
    )


def check_transformer_engine() -> Iterator[Check]:
    """Check the layers that GPUs are fast with, and the compiler of kernels."""
    if not has_gpu():
        return
    wanted = next(each for each in _extra("gpu") if each.name == "transformer-engine")
    if not has_transformer_engine():
        meaning = "Megatron's local layers take its place, without FP8"
        fix = f"pip install '{PACKAGE}[gpu]', or NVIDIA's PyTorch image"
        yield Check(
            "Transformer Engine", Verdict.SLOW, "not installed, or not its part for PyTorch", meaning=meaning, fix=fix
        )
    else:
        version = metadata.version("transformer-engine")
        if wanted.specifier.contains(version, prereleases=True):
            yield Check("Transformer Engine", Verdict.OK, version)
        else:
            meaning = f"pdapt's versions were resolved with {wanted.specifier}"
            fix = "compare a base's logits there (--base), and train a few steps, before a long run"
            yield Check("Transformer Engine", Verdict.UNTESTED, version, meaning=meaning, fix=fix)
    if can_compile():
        yield Check("compiler", Verdict.OK, "a C compiler and Python's headers are there")
    else:
        meaning = "torch cannot compile fused operations"
        yield Check(
            "compiler",
            Verdict.SLOW,
            "no C compiler with Python's headers",
            meaning=meaning,
            fix="install gcc, python3-dev",
        )


def check_cpu_kernels() -> Iterator[Check]:
    """Check, where ranks run on cores, whether these multiply in BF16."""
    if has_gpu():
        return
    try:
        from ...core.system.bf16_products import multiplies_bf16
    except (ImportError, OSError):  # torch cannot be loaded, as `check_torch` has said
        return
    if multiplies_bf16():
        yield Check("BF16", Verdict.OK, "this CPU has kernels for products in BF16")
        return
    meaning = "products of BF16 matrices are computed in FP32 and rounded: several times slower"
    fix = "model.precision=fp32 for trials on this CPU, or a CPU with AVX-512 or AMX"
    yield Check("BF16", Verdict.SLOW, "this CPU has no kernels for products in BF16", meaning=meaning, fix=fix)


def _extra(name: str) -> list[Requirement]:
    requirements = map(Requirement, metadata.requires(PACKAGE) or [])
    return [each for each in requirements if each.marker and each.marker.evaluate({"extra": name})]


def _cuda_of_driver() -> str:
    """The newest CUDA that the driver supports, as the head of nvidia-smi's table says."""
    match = re.search(r"CUDA Version: *([\d.]+)", _smi())
    return match.group(1) if match else "an unknown version"


def _smi(*options: str) -> str:
    command = ["nvidia-smi", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
