"""Products of BF16 matrices that are computed in FP32: their values, their gradients, and what is left alone."""

from collections.abc import Callable

import pytest
import torch

from pdapt.core.system import bf16_products
from pdapt.core.system.bf16_products import ProductsInFp32, replace_products

WEIGHT = torch.randn(3, 64, 16, generator=torch.Generator().manual_seed(1)).bfloat16()


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (lambda x: torch.matmul(x, WEIGHT), lambda x, w: x @ w),
        (lambda x: x @ WEIGHT, lambda x, w: x @ w),
        (lambda x: x.matmul(WEIGHT), lambda x, w: x @ w),
        (lambda x: torch.bmm(x, WEIGHT), lambda x, w: x @ w),
        (lambda x: torch.mm(x[0], WEIGHT[0]), lambda x, w: x[0] @ w[0]),
        (lambda x: torch.nn.functional.linear(x, WEIGHT[0].T), lambda x, w: x @ w[0]),
        (lambda x: torch.addmm(x[1][:, :16], x[0], WEIGHT[0]), lambda x, w: x[1][:, :16] + x[0] @ w[0]),
        (lambda x: torch.baddbmm(x[:, :, :16], x, WEIGHT, beta=2), lambda x, w: 2 * x[:, :, :16] + x @ w),
    ],
)
def test_products_that_the_cpu_lacks_are_fp32s_rounded(
    product: Callable[[torch.Tensor], torch.Tensor], expected: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    """To the last bit of a BF16, as the exact product in FP64; and so are the gradients."""
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    with ProductsInFp32():
        made = product(x)
        towards = torch.randn(made.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
        made.backward(towards)
    exact_x = x.detach().double().requires_grad_()
    exact = expected(exact_x, WEIGHT.double())
    exact.backward(towards.double())
    assert made.dtype == torch.bfloat16
    assert x.grad is not None
    assert exact_x.grad is not None
    assert torch.allclose(made.double(), exact, rtol=2**-8, atol=2**-12)
    assert torch.allclose(x.grad.double(), exact_x.grad, rtol=2**-8, atol=2**-5), "of two terms each is rounded"


def test_other_products_are_left_alone() -> None:
    """Those of FP32, and those into a tensor that is given."""
    x, out = torch.randn(4, 4), torch.empty(4, 4, dtype=torch.bfloat16)
    plain = x @ x
    with ProductsInFp32():
        assert torch.equal(x @ x, plain)
        torch.matmul(x.bfloat16(), x.bfloat16(), out=out)
    assert torch.equal(x.bfloat16() @ x.bfloat16(), out)


@pytest.mark.parametrize(("gpu", "kernels", "needed"), [(0, 0, True), (0, 1, False), (1, 0, False), (1, 1, False)])
def test_products_are_replaced_only_on_a_cpu_that_lacks_them(
    gpu: int, kernels: int, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[ProductsInFp32] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpu))
    monkeypatch.setattr(bf16_products, "multiplies_bf16", lambda: bool(kernels))
    monkeypatch.setattr(ProductsInFp32, "__enter__", lambda mode: entered.append(mode))
    assert replace_products() is needed
    assert len(entered) == needed
