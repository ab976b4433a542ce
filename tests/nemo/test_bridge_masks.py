"""Documents of a pack stay apart where Megatron-Bridge's own forward step runs the model of a recipe."""

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pdapt.recipes.load import load
from pdapt.recipes.megatron_args import Places
from pdapt.training.megatron import engine as megatron_engine
from pdapt.training.nemo import bridge
from pdapt.training.rank_task import RankTask
from pdapt.training.run.events import Events
from pdapt.training.run.sums import DataSets

LENGTH = 128
PACKS = [[0, 50, 90, LENGTH], [0, LENGTH]]
"""Borders of the documents in the rows of a micro-batch."""


@pytest.fixture(scope="module")
def losses(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Losses [tokens] that Bridge's forward step gives of a micro-batch, in a world of one rank."""
    bridge.prepare()
    from megatron.core import parallel_state, tensor_parallel
    from megatron.core.process_groups_config import ProcessGroupCollection
    from megatron.core.timers import Timers
    from megatron.core.utils import StragglerDetector

    from pdapt.training.megatron.measuring import Measuring
    from pdapt.training.nemo.bridge_rows import Flat, Rows
    from pdapt.training.nemo.container import carry_over
    from pdapt.training.nemo.forward_step import ForwardStep

    folder = tmp_path_factory.mktemp("masks")
    recipe = load(str(recipe_file), ["engine=nemo", "checkpoint.asynchronous=false", "model.precision=fp32"])
    places = Places(folder, None, tensorboard=folder, cache=folder, achieved=folder / "achieved.json", eod=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
        patch.setattr(sys, "argv", ["rank"])
        task = RankTask(recipe, places, folder, 0.0)
        megatron, _ = megatron_engine.configure(task, bridge.parse, gpu=False)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=0, world_size=1)
    parallel_state.initialize_model_parallel()
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    builder = megatron.model.get_builder_cls()(megatron.model)
    (model,) = builder.build_distributed_models(ProcessGroupCollection.use_mpu_process_groups(), wrap_with_ddp=False)
    provider: Any = None
    container = carry_over(megatron, Rows(provider=provider), LENGTH)
    state: Any = SimpleNamespace(cfg=container, timers=Timers(0, "minmax"), straggler_timer=StragglerDetector())
    step = ForwardStep(Events([]), Measuring(0, 1, DataSets(["train"], ["valid"])))

    def run(rows: list[dict[str, torch.Tensor]]) -> torch.Tensor:
        with torch.no_grad():
            return step(state, iter([Flat.collate_fn(rows)]), model)[0].flatten()

    yield run
    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()


def row(tokens: torch.Tensor, borders: list[int]) -> dict[str, torch.Tensor]:
    """A row as our data sets give it; the borders are filled up with its length."""
    filled = torch.tensor(borders + [LENGTH] * (LENGTH + 1 - len(borders)), dtype=torch.int32)
    positions = torch.cat([torch.arange(end - begin) for begin, end in pairwise(borders)])
    return {
        "tokens": tokens,
        "labels": torch.arange(LENGTH),  # the same ones, so that a loss is of what its token sees
        "position_ids": positions,
        "loss_mask": torch.ones(LENGTH),
        "cu_seqlens": filled,
        "max_seqlen": filled.diff().max(),
    }


def micro_batch(tokens: torch.Tensor, packs: list[list[int]]) -> list[dict[str, torch.Tensor]]:
    return [row(part, borders) for part, borders in zip(tokens, packs, strict=True)]


@pytest.mark.parametrize(("begin", "end"), [(0, 50), (50, 90), (90, 128), (128, 256)])
def test_another_document_changes_no_loss_to_the_bit(losses: Any, begin: int, end: int) -> None:
    tokens = torch.randint(8, 1000, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    changed = tokens.flatten().clone()
    changed[begin:end] = changed[begin:end].flip(0)
    before, after = (losses(micro_batch(each, PACKS)) for each in (tokens, changed.view(2, LENGTH)))
    apart = torch.ones(2 * LENGTH, dtype=torch.bool)
    apart[begin:end] = False
    assert torch.equal(before[apart], after[apart])
    assert (before[begin:end] != after[begin:end]).all()


def test_without_the_border_the_next_document_would_see_it(losses: Any) -> None:
    """The comparison above can fail."""
    tokens = torch.randint(8, 1000, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, :50] = changed[0, :50].flip(0)
    without = [[0, 90, LENGTH], [0, LENGTH]]
    before, after = (losses(micro_batch(each, without)) for each in (tokens, changed))
    assert (before[50:90] != after[50:90]).all()
    assert torch.equal(before[90:], after[90:])
