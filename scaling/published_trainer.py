"""The trainer and the machine of a published row, read from the texts of its fields."""

import re
from enum import StrEnum
from typing import Any

from ..core.errors import UserError
from ..core.gpus import GPUS, H100, H200
from .read_row import Row
from .work import Kernel


class Stack(StrEnum):
    """Kinds of trainers: Megatron's, PyTorch's FSDP under any name, and any other."""

    MEGATRON = "Megatron"
    FSDP = "FSDP"
    OTHERS = "others"


FAST_ATTENTION = 2024.6
"""Year from which NVIDIA's software attends with cuDNN's kernels for Hopper by default: Transformer Engine 1.9."""
UNSTATED_YEAR = 2025.5
HBM2E = 2.4e12
"""Memory speed, in bytes per second, of the H100 96 GB HBM2e on which torchtitan's rows of 2024-12 were measured."""
GRADIENTS = {"fp32": 4, "bf16": 2}
"""Bytes of a gradient in its reduction, by what the row states."""
RECOMPUTED = {"none": 0.0, "selective": 0.5, "full": 1.0}
"""Share of the forward pass that is recomputed."""


def stack_of(row: Row) -> Stack:
    """Determine the kind of a row's trainer."""
    software, sharding = row.text("software").lower(), row.text("sharding").lower()
    if "fsdp" in sharding or re.search("foundry|titan|automodel", software):
        return Stack.FSDP
    if re.search("paxml|jax|nanotron|zero", f"{software} {sharding}"):
        return Stack.OTHERS
    if not software:
        row.assumed.append("software is taken as Megatron's")
    return Stack.MEGATRON


def software_of(row: Row, stack: Stack) -> dict[str, Any]:
    """Determine the software's part of a `Work` from its name and the row's fields."""
    software, sharding = row.text("software").lower(), row.text("sharding").lower()
    year = _year(software)
    if year is None:
        row.assumed.append(f"the software's year is taken as {UNSTATED_YEAR:g}")
        year = UNSTATED_YEAR
    local = "local layers" in software  # Megatron's own, with FlashAttention 2
    compiled = re.search(
        r"(?<!\bno )(?<!\bno-)(?<!\bnot )(?<!\bwithout )(?<!un)compile", sharding
    ) is not None or "te" in re.split(r"\W+", sharding)
    nvidia = stack == Stack.MEGATRON or "nemo" in software or "paxml" in software
    wide = "nanotron" in software or "titan" in software or "grad_reduce_in_fp32=true" in sharding
    gathers = 0
    if stack == Stack.FSDP:
        gathers = 1 if "grad_op" in sharding else 2
    elif "paxml" in software:
        gathers = 2
    return {
        "grad_bytes": GRADIENTS.get(row.text("grads"), 4 if wide else 2),
        "gathers": gathers,
        "recompute": recomputed(row) or 0.0,
        "dp_overlap": float(stack != Stack.OTHERS),
        "tp_overlap": float(stack == Stack.MEGATRON or "async" in sharding),
        "fused": float((nvidia and not local) or compiled or "foundry" in software),
        "attention": _kernel(software, fast=nvidia and not local and year >= FAST_ATTENTION),
        "year": year,
    }


def _kernel(software: str, *, fast: bool) -> Kernel:
    if "foundry" in software:
        return Kernel.TRITON
    return Kernel.FLASH_3 if fast else Kernel.FLASH_2


def recomputed(row: Row) -> float | None:
    """Share of the forward pass that is recomputed; None if the row does not state it."""
    text = row.text("recompute").lower()
    if re.match(r"(none|no|off|false)\b", text):
        return RECOMPUTED["none"]
    if re.search(r"sel|\bsac\b", text):
        return RECOMPUTED["selective"]
    return RECOMPUTED["full"] if re.search(r"\bfull\b", text) else None


def _year(software: str) -> float | None:
    """Year and month in a software's name as a number: `NeMo 24.09`, `(2024-07)`, `2023`."""
    match = re.search(r"(20\d\d)-(0[1-9]|1[0-2])", software) or re.search(r"\b(2\d)\.(0[1-9]|1[0-2])\b", software)
    if match:
        year, month = int(match.group(1)) % 100, int(match.group(2))
        return 2000 + year + (month - 0.5) / 12
    match = re.search(r"\b(20\d\d)\b", software)
    return int(match.group(1)) + 0.5 if match else None


def hardware_of(row: Row) -> dict[str, Any]:
    """Read GPUs per node, power limit and memory from the row's `hw`; by default an H100 SXM in nodes of 8.

    An H200 is an H100's chip with faster memory.

    Raises:
        UserError: it is another GPU, or states something impossible.
    """
    text = row.text("hw")
    if not text:
        row.assumed.append(f"hw is taken as H100 SXM, {H100.watts} W, nodes of {H100.node}")
    gpus = set(re.findall(r"\b(?:A|B|H|L|V|GB|GH|MI)\d{2,3}\w?\b", text))
    if gpus and not gpus & set(GPUS):
        allowed = f"{' or '.join(GPUS)}: speeds of other GPUs are not predicted"
        raise UserError(f"hw is {text!r}", where=row.where, allowed=allowed)
    patterns = {"node": r"(\d+)(?: GPUs?)?/node", "watts": r"(\d+) ?W\b", "memory": r"(\d+(?:\.\d+)?) ?TB/s"}
    matches = {name: re.search(pattern, text) for name, pattern in patterns.items()}
    stated = Row({name: float(match.group(1)) for name, match in matches.items() if match}, f"{row.where}: hw")
    gpu = H200 if H200.name in gpus else H100
    terabytes, node = stated.number("memory"), stated.number("node") or gpu.node
    memory = terabytes * 1e12 if terabytes else HBM2E if "HBM2e" in text else gpu.bandwidth
    return {"node": node, "nics": node, "watts": stated.number("watts") or gpu.watts, "memory": memory}
