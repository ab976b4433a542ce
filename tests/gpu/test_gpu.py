"""What only a GPU can show: the trainer with NCCL and Transformer Engine instead of the CPU backend. Not run yet."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.core.qwen3 import read_config
from pdapt.recipes.load import load
from pdapt.recipes.run_folder import METRICS, checkpoints
from pdapt.recipes.train import train

pytestmark = [
    pytest.mark.gpu,
    # By the driver's own device, not by torch: where there is a GPU that torch cannot use, the tests have to fail.
    pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="this machine has no GPU"),
]
Maker = Callable[..., Path]


def test_a_gpu_trains_from_a_base_as_transformers_scores_it(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """One BF16 step at a vanishing learning rate: the loss is that of transformers on the same packed batch's text."""
    from transformers import Qwen3ForCausalLM

    assert torch.cuda.is_available(), "there is a GPU, and torch cannot use it"
    from pdapt.data_prep.corpus import build_corpus, discover
    from pdapt.data_prep.tokens import Options, build_tokens

    # Heads of 64: Transformer Engine's attention kernels want a multiple of 8, flash attention none below 32.
    source = tiny_qwen3(head_dim=64, hidden_size=128)
    notes = tmp_path / "notes.jsonl"
    notes.write_text(
        "".join(json.dumps({"text": f"Le patient {n} reçoit {n * 5} mg. " * 9}) + "\n" for n in range(200))
    )
    build_corpus(discover([str(notes)]), tmp_path / "corpus")
    build_tokens([str(tmp_path / "corpus")], source, tmp_path / "tokens", Options(valid_fraction=0.1))
    import_hf(source, tmp_path / "base")
    shape = read_config(source)
    recipe = tmp_path / "gpu.yaml"
    recipe.write_text(
        f"model: {{shape: {{layers: {shape.layers}, hidden: 128, ffn: {shape.ffn}, heads: 4, kv_heads: 2, head_dim: 64,"
        " vocab: 1024, tied: true, max_positions: 512}}\n"
        "data: {seq_length: 256}\nbatch: {global_size: 8, micro_size: 2}\noptimizer: {lr: 1e-9}\n"
        "checkpoint: {every: 2}\nvalidation: {every: 2, batches: 1}\nsteps: 2\n"
    )
    train(load(str(recipe)), tmp_path / "tokens", tmp_path / "run", base=tmp_path / "base")
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    first = next(row["loss"] for row in rows if "loss" in row)

    model = Qwen3ForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.no_grad():
        losses = [model(ids[None], labels=ids[None]).loss.item() for ids in _documents(tmp_path / "tokens")[:50]]
    assert first == pytest.approx(sum(losses) / len(losses), rel=0.02)
    export_hf(checkpoints(tmp_path / "run")[-1], tmp_path / "hf")
    Qwen3ForCausalLM.from_pretrained(tmp_path / "hf")


def _documents(tokens: Path) -> list[torch.Tensor]:
    import numpy as np
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    data = IndexedDataset(str(tokens / "train" / "notes"))
    return [torch.from_numpy(np.asarray(data[number]).astype("int64")) for number in range(len(data))]
