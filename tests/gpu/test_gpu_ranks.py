"""Several GPUs over NCCL compute what one does."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

# Another order of summing changes the losses of these steps by up to 5e-4 (two gloo ranks on a CPU against one).
TOLERANCE = 5e-3
OVERLAP = {"overlap_grad_reduce": True, "overlap_param_gather": True}


@pytest.mark.parametrize(
    ("ranks", "overrides", "arguments"),
    [
        (2, [], OVERLAP),
        (2, ["parallel.tp=2", "parallel.sp=false"], {"tensor_model_parallel_size": 2, "sequence_parallel": False}),
        (2, ["parallel.tp=2", "parallel.sp=true"], {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
        (4, ["parallel.tp=2"], OVERLAP | {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    ],
    ids=["dp2", "tp2", "tp2-sp", "tp2-sp-dp2"],
)
def test_several_gpus_give_the_losses_of_one(
    ranks: int,
    overrides: list[str],
    arguments: dict[str, Any],
    gpu: Any,
    on_gpu: Callable[..., Path],
    gpu_run: Path,
    losses: Callable[..., dict[int, float]],
    figure: Callable[..., None],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    if gpu.count < ranks:
        pytest.skip(f"needs {ranks} GPUs, this machine has {gpu.count}")
    if arguments.get("sequence_parallel") and not gpu.engine:
        pytest.skip("sequence parallelism needs Transformer Engine, which is not installed")
    run = on_gpu(tmp_path / "run", f"parallel.ranks_per_node={ranks}", *overrides)
    # What Megatron says that it was told: the losses alone would not tell whether anything overlapped.
    log = (run / "train.log").read_text(errors="replace")
    told = {name: re.findall(rf"^ *{name} \.+ (\S+)$", log, re.MULTILINE) for name in arguments}
    assert told == {name: [str(value)] for name, value in arguments.items()}
    found, expected = losses(run), losses(gpu_run)
    assert found.keys() == expected.keys()
    worst = max(abs(found[step] - loss) for step, loss in expected.items())
    figure(f"{request.node.callspec.id}: loss of 20 steps - one GPU's", worst, "nats", allowed=TOLERANCE)
