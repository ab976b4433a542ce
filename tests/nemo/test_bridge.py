"""Parts of the adapter to Megatron-Bridge, in one process: batches, configuration, stand-ins."""

import os
import subprocess
import sys
from dataclasses import fields
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

ENVIRONMENT = Path(__file__).parent / "environment"


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """Import Megatron and Bridge as a rank does."""
    bridge.prepare()


def sample(length: int, borders: list[int]) -> dict[str, torch.Tensor]:
    """A row of documents that end at `borders`."""
    filled = borders + [length] * (length + 1 - len(borders))
    names = ("tokens", "labels", "position_ids")
    return {name: torch.arange(length) for name in names} | {
        "loss_mask": torch.ones(length),
        "cu_seqlens": torch.tensor(filled, dtype=torch.int32),
        "max_seqlen": torch.tensor(max(b - a for a, b in pairwise(borders)), dtype=torch.int32),
    }


def test_a_micro_batch_names_all_its_documents_borders_as_bridge_reads_them() -> None:
    from megatron.bridge.training.gpt_step import get_batch_from_iterator
    from megatron.bridge.training.utils.packed_seq_utils import get_packed_seq_params

    from pdapt.training.nemo.bridge_rows import Flat

    batch = Flat.collate_fn([sample(8, [0, 3, 8]), sample(8, [0, 8])])
    assert batch["tokens"].shape == (1, 16)
    read = get_batch_from_iterator(iter([batch]), is_first_pp_stage=True, is_last_pp_stage=True)
    packed = get_packed_seq_params({name: value for name, value in read.items() if "seqlen" in name})
    assert packed.cu_seqlens_q.unique().tolist() == [0, 3, 8, 16]
    assert packed.cu_seqlens_kv.unique().tolist() == [0, 3, 8, 16]
    assert int(packed.max_seqlen_q) == 8


def test_the_middle_stages_of_a_pipeline_read_the_borders_too() -> None:
    from megatron.bridge.training.gpt_step import _middle_pp_stage_needs_batch

    from pdapt.training.nemo.bridge_rows import Rows

    provider: Any = None
    assert _middle_pp_stage_needs_batch(SimpleNamespace(dataset=Rows(provider=provider)))


def test_rows_without_masks_stay_rows() -> None:
    from pdapt.training.nemo.bridge_rows import Flat

    rows = [{"tokens": torch.arange(8)}, {"tokens": torch.arange(8)}]
    assert Flat.collate_fn(rows)["tokens"].shape == (2, 8)


def test_imported_weights_have_no_arguments_and_count_as_weights_alone() -> None:
    from megatron.bridge.training import checkpointing

    assert checkpointing._extract_megatron_lm_args_from_state_dict({}) == bridge.WEIGHTS_ALONE


def test_every_value_of_megatrons_configuration_is_carried_over(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sections that are not are named, so that nothing new is left behind unseen."""
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    recipe = load(str(recipe_file), ["engine=nemo", "checkpoint.asynchronous=false", "log.profile=[1,2]"])
    places = Places(tmp_path, None, tensorboard=tmp_path, cache=tmp_path, achieved=tmp_path / "achieved.json", eod=7)
    task = RankTask(recipe, places, tmp_path, 0.0, stop_at=4)
    monkeypatch.setattr(sys, "argv", ["rank"])
    megatron, _ = megatron_engine.configure(task, bridge.parse, gpu=False)
    rows: Any = None
    from pdapt.training.nemo import container

    bridges = container.carry_over(megatron, rows, recipe.data.seq_length)
    assert {item.name for item in fields(megatron)} - container.CLASSES.keys() == {"model", "straggler"}
    assert bridges.model is megatron.model
    assert bridges.model.seq_length == recipe.data.seq_length
    pairs = {
        f"{name}.{item.name}": (getattr(getattr(bridges, name), item.name), getattr(section, item.name))
        for name in container.CLASSES
        for section in [getattr(megatron, name)]
        for item in fields(section)
    }
    assert len(pairs) > 200
    differing = {name for name, (theirs, ours) in pairs.items() if theirs != ours}
    # Bridge pads no vocabulary in its tokenizer, and takes one of two profilers.
    assert differing == {"tokenizer.pad_vocab_size", "profiling.use_nsys_profiler"}
    assert (bridges.profiling.use_pytorch_profiler, bridges.profiling.use_nsys_profiler) == (True, False)
    assert (bridges.train.train_iters, bridges.train.exit_interval, bridges.optimizer.lr) == (10, 4, 1e-3)


def test_a_checkpoints_configuration_has_the_layers_fields_beside_the_models() -> None:
    read = bridge.with_flat_model(lambda path: {"model": {"vocab": 9, "transformer": {"layers": 2}}, "path": path})
    assert read("file") == {"model": {"vocab": 9, "layers": 2, "transformer": {"layers": 2}}, "path": "file"}


@pytest.mark.parametrize("package", ["transformer_engine", "nvidia_resiliency_ext"])
def test_a_stand_in_refuses_to_load_where_a_gpu_is_and_to_be_made_where_none_is(package: str) -> None:
    code = (
        f"import torch\ntorch.cuda.is_available = lambda: {{gpu}}\nimport {package}\n"
        f"print({package}.__file__)\n{package}.Linear()"
    )
    said = []
    for gpu in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", code.format(gpu=gpu)], capture_output=True, text=True, check=False, env=os.environ
        )
        assert done.returncode == 1
        said.append(done)
    assert "is a stand-in for tests without a GPU" in said[0].stderr
    assert str(ENVIRONMENT) in said[1].stdout
    assert f"{package}.Linear needs a GPU" in said[1].stderr
