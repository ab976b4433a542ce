"""The two bodies of the local layers' attention: torch's kernel for packs, and one document after the other."""

from collections.abc import Callable

import pytest
import torch
from packaging.version import Version

from pdapt.training.megatron.attention import by_document, kernel

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("lengths", [(2048,), (700, 1, 0, 129, 1218)], ids=["one", "several"])
def test_both_bodies_attend_alike(
    dtype: torch.dtype, lengths: tuple[int, ...], figure: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    """Forward and backward, with grouped heads as Qwen3 has them; rounding of the type is what may differ."""
    fused = kernel()
    if fused is None:
        assert Version(torch.__version__) < Version("2.10"), "this torch has the kernel, and it cannot be imported"
        pytest.skip(f"torch {torch.__version__} has no torch.nn.attention.varlen")
    torch.manual_seed(0)
    borders = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).cuda()
    given = [torch.randn(2048, heads, 128, device="cuda", dtype=dtype, requires_grad=True) for heads in (16, 8, 8)]
    found, expected = fused(*given, borders, max(lengths)), by_document(*given, borders)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((output * weights).sum(), given) for output in (found, expected)]
    name = request.node.callspec.id
    allowed = 1e-2 if dtype == torch.bfloat16 else 2e-3
    worst = max(map(relative, *gradients))
    figure(f"attention, {name}: output", relative(found, expected), "of its norm", allowed=allowed)
    figure(f"attention, {name}: worst gradient", worst, "of its norm", allowed=2 * allowed)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over that of what is expected."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())
