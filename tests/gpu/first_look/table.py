"""A first look for people."""

from collections.abc import Callable, Iterator
from typing import Any

Found = Any


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The look's results, step by step.

    Args:
        found: as `first_look.json` has it.
    """
    for step in found["steps"]:
        yield f"== {step['name']}: {step['state']}, {step['seconds']:.0f} s"
        if step["result"] is not None:
            yield from SHOWN[step["name"]](step["result"])
        yield from (f"  | {line}" for line in step.get("log", "").splitlines()[-6:])
    yield f"{found['seconds']:.0f} s in all"


def _facts(found: Found) -> Iterator[str]:
    if found["rehearsal"]:
        yield "REHEARSAL without a GPU: tiny shapes; nothing here says anything about a GPU"
    yield from (f"  {name}: {value}" for name, value in found.items())


def _ceilings(found: Found) -> Iterator[str]:
    for kind in ("products", "fp8"):
        for name, one in found.get(kind, {}).items():
            if "left_out" in one:
                yield f"  {kind}, {name}: left out: {one['left_out']}"
                continue
            share = "" if one["share"] is None else f", {one['share']:.1%} of the peak in a layer"
            speeds = ", ".join(f"{row['tflops']:.4g}" for row in one["products"])
            yield f"  {kind}, {name}: {speeds} TFLOP/s{share}"
    for name, speed in found.get("copy", {}).get("copies", {}).items():
        yield f"  copy {name}: {speed:,.0f} GB/s"


def _numbers(found: Found) -> Iterator[str]:
    for name, one in found.items():
        values = ", ".join(f"{key} {value:.2g}" for key, value in one.items() if isinstance(value, float))
        yield f"  {name}: {'as expected' if one['passed'] else 'NOT AS EXPECTED'}: {values}"


def _speeds(found: Found) -> Iterator[str]:
    heads = ("model", "micro", "s/step", "tokens/s", "planned", "off", "MFU", "GiB", "planned", "waits for data")
    rows = [heads, *(_speed(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, one in zip(rows, [{}, *found], strict=True):
        yield "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        if "error" in one:
            yield f"    {one['error'].splitlines()[-1]}"


def _speed(one: Found) -> tuple[str, ...]:
    name, micro = one["name"], str(one["micro"])
    planned = one["planned_tokens_per_second"]
    if "error" in one:
        return (name, micro, "-", "-", f"{planned:,.0f}", "-", "-", "-", f"{one['planned_gib']:.1f}", "-")
    tokens = one["tokens_per_second"]
    mfu = "-" if one["mfu"] is None else f"{one['mfu']:.1%}"
    memory = "-" if one["max_allocated_gib"] is None else f"{one['max_allocated_gib']:.1f}"
    off = f"{planned / tokens - 1:+.0%}"
    waits = f"{one['data_wait_share']:.1%}"
    step = f"{one['step_seconds']:.3f}"
    return (
        name,
        micro,
        step,
        f"{tokens:,.0f}",
        f"{planned:,.0f}",
        off,
        mfu,
        memory,
        f"{one['planned_gib']:.1f}",
        waits,
    )


def _checkpoint(found: Found) -> Iterator[str]:
    yield "  " + ", ".join(f"{name} {value}" for name, value in found.items())


def _profile(found: Found) -> Iterator[str]:
    yield (
        f"  {found['name']}: kernels fill {found['busy_share']:.0%} of a step of {found['step_seconds']:.3f} s; "
        f"the longest of {found['kinds']}:"
    )
    for kernel in found["kernels"]:
        yield f"  {kernel['share']:6.1%} {kernel['ms']:9.2f} ms {kernel['calls']:7.0f} x  {kernel['name'][:90]}"


def _data(found: Found) -> Iterator[str]:
    yield f"  one process reads {found['slots_per_second']:,.0f} slots/s, after {found['start_seconds']:.1f} s"


SHOWN: dict[str, Callable[[Found], Iterator[str]]] = {
    "facts": _facts,
    "ceilings": _ceilings,
    "numbers": _numbers,
    "speeds": _speeds,
    "sweep": _speeds,
    "checkpoint": _checkpoint,
    "profile": _profile,
    "layouts": _speeds,
    "data": _data,
}
