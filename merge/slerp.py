"""SLERP as mergekit 0.1.5 computes it (Shoemake 1985, each tensor as one vector), for many t from one reading."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..core.errors import UserError
from ..core.hf.weights import Weights, one_thread

CHUNK = 2**20
"""Values at once, as in mergekit: norms and dot products are sums over such chunks, so they round as mergekit's do."""
DOT_THRESHOLD = 0.9995
"""Vectors whose cosine is larger in absolute value than this are interpolated linearly."""
EPS = 1e-8
"""A vector up to this length is not scaled to length 1."""


@dataclass(frozen=True)
class Angle:
    """The angle between a tensor of one parent and the other's.

    Attributes:
        cosine: cosine of the two as vectors, [1, 1], in FP32, from -1 to 1; 0 if one of them is zero.
    """

    cosine: torch.Tensor

    def shares(self, t: float) -> tuple[float, float]:
        """The factors of base and tuned, in FP32."""
        share = torch.tensor(t, dtype=torch.float32)
        if self.linear:
            return float(1 - share), float(share)
        theta = torch.acos(self.cosine)
        sine = torch.sin(theta)
        return float(torch.sin((1 - share) * theta) / sine), float(torch.sin(share * theta) / sine)

    @property
    def linear(self) -> bool:
        """Whether the two tensors are nearly parallel."""
        return bool(self.cosine.abs() > DOT_THRESHOLD)


def measure(base: Weights, tuned: Weights, name: str) -> Angle:
    """Measure the angle between the two tensors of a name; they may have any float type.

    If a merged value is a small difference of large ones, the last place of a sum here changes several last places of
    that value. Therefore the sums are made as mergekit makes them: in its shapes, and with as many threads as torch
    has, since both decide the order of addition.

    Raises:
        UserError: one of them holds a NaN or an infinity.
    """
    x, y = buffers(base.get(name).numel(), 2)
    norms = []
    for parent in (base, tuned):
        parts = [_norm(filled(x, chunk)) for chunk in chunks(parent, name)]
        norm = torch.linalg.vector_norm(torch.stack(parts), dim=0) if parts else torch.zeros(1, 1)
        if not norm.isfinite():
            check_finite(parent, name)
        norms.append(torch.where(norm > EPS, norm, 1))
    pairs = zip(chunks(base, name), chunks(tuned, name), strict=True)
    products = (_product(filled(x, of_base), filled(y, of_tuned), norms) for of_base, of_tuned in pairs)
    dots = [product[None].sum(dim=1, keepdim=True) for product in products]
    dot = torch.stack(dots).sum(dim=0) if dots else torch.zeros(1, 1)
    return Angle(dot.clamp(-1, 1))


def _norm(values: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(values[None], dim=1, keepdim=True)


@one_thread()
def filled(buffer: torch.Tensor, chunk: torch.Tensor) -> torch.Tensor:
    """Copy a chunk's values into a buffer, and return the part of the buffer that holds them."""
    return buffer[: chunk.numel()].copy_(chunk)


@one_thread()
def _product(x: torch.Tensor, y: torch.Tensor, norms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Scale both to length 1 (before the product, which might overflow) and multiply them, in the memory of `x`."""
    return x.div_(norms[0][0]).mul_(y.div_(norms[1][0]))


@one_thread()
def combine(x: torch.Tensor, y: torch.Tensor, shares: tuple[float, float], scratch: Sequence[torch.Tensor]) -> None:
    """Write share_x x + share_y y, for FP32 chunks, into the first of two scratch tensors.

    Two products and a sum, each rounded, as in mergekit, not fused.
    """
    first, second = (tensor[: x.numel()] for tensor in scratch)
    torch.mul(x, shares[0], out=first)
    torch.mul(y, shares[1], out=second)
    first.add_(second)


def buffers(size: int, count: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Allocate memory for chunks of a tensor of `size` values, once: new pages cost ten times the arithmetic."""
    return [torch.empty(min(size, CHUNK), dtype=dtype) for _ in range(count)]


def chunks(weights: Weights, name: str) -> Iterator[torch.Tensor]:
    """Yield a tensor's values in order, CHUNK at a time."""
    yield from weights.get(name).flatten().split(CHUNK) if weights.tensors[name].nbytes else ()


def check_finite(weights: Weights, name: str) -> None:
    """Check that all values of a tensor are finite.

    Raises:
        UserError: one is a NaN or an infinity.
    """
    begin = 0
    for chunk in chunks(weights, name):
        # Minimum and maximum are NaN if any value is.
        low, high = torch.aminmax(chunk)
        if not (low.isfinite() and high.isfinite()):
            wrong = ~chunk.isfinite()
            first = int(wrong.int().argmax())
            raise UserError(
                f"{name} holds {float(chunk[first])} at position {begin + first}, which is not a finite number",
                where=str(weights.file(name)),
                fix="use a checkpoint from before training diverged",
            )
        begin += chunk.numel()
