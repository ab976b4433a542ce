"""Products of BF16 matrices on CPUs without kernels for them: computed in FP32, and rounded."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

PRODUCTS = (
    *(torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.nn.functional.linear),
    *(torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm, torch.Tensor.bmm),
    *(torch.Tensor.addmm, torch.Tensor.addmm_, torch.Tensor.baddbmm),
)
"""The functions by which the layers of torch, Megatron and transformers multiply matrices."""


def multiplies_bf16() -> bool:
    """Whether torch has kernels for products in BF16 on this CPU: with AVX-512, AMX, or Arm's BF16."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def replace_products() -> bool:
    """Compute BF16 products in FP32 from here on, if there is no GPU and the CPU needs it; return whether it does."""
    needed = not torch.cuda.is_available() and not multiplies_bf16()
    if needed:
        ProductsInFp32().__enter__()  # for the life of the process
    return needed


class ProductsInFp32(TorchFunctionMode):
    """Compute products of BF16 matrices in FP32, and round them to BF16, as kernels for BF16 do.

    Without such kernels torch multiplies one pair of numbers at a time: a linear layer took 83 ms instead of 6, and a
    plain product 21 ms instead of 5.5. torch's attention is not so slow, and is not changed.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if func not in PRODUCTS or not any(map(_is_bf16, args)) or "out" in kwargs:
            return func(*args, **kwargs)
        wide = {name: _in_fp32(value) for name, value in kwargs.items()}
        return func(*map(_in_fp32, args), **wide).to(torch.bfloat16)


def _in_fp32(value: Any) -> Any:
    return value.float() if _is_bf16(value) else value


def _is_bf16(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
