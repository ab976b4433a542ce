"""Recipes for NeMo 2, made and trained by nemo-toolkit 2.7.3 on CPU ranks: `make test-nemo`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.verify import verify
from pdapt.core.errors import UserError
from pdapt.core.qwen3 import SIZES
from pdapt.recipes.load import load
from pdapt.training.run.folder import METRICS

pytestmark = pytest.mark.timeout(1200)
HERE = Path(__file__).parent
PYTHON = os.environ["PDAPT_NEMO_TOOLKIT"]
ALONE = {"HF_HUB_OFFLINE": "1", "TORCH_CUDA_ARCH_LIST": "9.0"}
RANKS = ALONE | {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
RECIPE = [
    "model.size=null",
    "model.shape={layers: 2, hidden: 64, ffn: 160, heads: 4, kv_heads: 2, head_dim: 16, vocab: 1024, tied: true, "
    "max_positions: 512}",
    *("model.precision=fp32", "data.seq_length=128", "batch.global_size=8", "batch.micro_size=2", "optimizer.lr=1e-3"),
    *("checkpoint.every=5", "checkpoint.keep_every=5", "checkpoint.reshardable=true", "checkpoint.asynchronous=false"),
    *("validation.every=5", "validation.batches=1", "steps=10"),
]
NEMOS_ROWS = ["data.layout=concat", "data.document_masks=false"]
REFUSED = {
    "data.layout=packed data.document_masks=null": "data.layout",
    "data.layout=paper data.document_masks=null": "data.layout",
    "data.document_masks=true": "data.document_masks",
    "model.fp8=true": "model.fp8",
    "optimizer.schedule=linear": "optimizer.schedule",
    "optimizer.schedule=wsd optimizer.decay_steps=100": "optimizer.schedule",
    "validation.batches=all": "validation.batches",
    "checkpoint.keep_every=1440": "checkpoint.keep_every",
    "guard.spike=skip": "guard",
    "log.wandb=mine": "log",
    "megatron.log-throughput=true": "megatron",
}
"""Overrides of a recipe -> the option by which it is refused."""


@dataclass(frozen=True)
class Trained:
    """A model that NeMo 2 has trained, and our engine from the same weights.

    Attributes:
        nemo: NeMo's folder of the experiment.
        losses: of NeMo's steps, by their number.
        ours: of our engine's.
    """

    nemo: Path
    losses: dict[int, float]
    ours: dict[int, float]

    def checkpoint(self, step: int) -> Path:
        """NeMo's checkpoint of a step; NeMo counts from 0."""
        found = [
            path for path in self.nemo.glob(f"cpt/checkpoints/*step={step - 1}-*") if not path.name.endswith("last")
        ]
        assert len(found) == 1, found
        return found[0]


def toolkit(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run NeMo's Python."""
    command = [PYTHON, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=HERE, env=os.environ | ALONE | environment
    )


@pytest.fixture(scope="session")
def made(tokens: Path) -> dict[str, Any]:
    """The recipes as NeMo 2 has them, and those that are refused."""
    done = toolkit("recipes_as_json.py", tokens, *REFUSED)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_recipes_are_nemos_own_of_that_size_with_the_published_values(
    made: dict[str, Any], subtests: pytest.Subtests
) -> None:
    assert len(made["recipes"]) == 8
    for name, facts in made["recipes"].items():
        size, gpus = name.split()
        shape, recipe = SIZES[size], load(f"qwen3_{size}_cpt_{gpus}xh100_packed")
        nodes, each = recipe.parallel.nodes, recipe.parallel.ranks_per_node
        with subtests.test(name):
            assert facts["shape"] == [
                *(shape.layers, shape.hidden, shape.ffn, shape.heads, shape.kv_heads, shape.head_dim),
                *(shape.vocab, shape.tied, shape.rope_base, shape.norm_eps),
            ]
            assert facts["seq_length"] == [recipe.data.seq_length] * 2
            assert facts["batch"] == [recipe.batch.global_size, recipe.batch.micro_size]
            assert facts["spread"] == [nodes, each, recipe.parallel.tp, recipe.parallel.tp > 1]
            assert facts["steps"] == [recipe.steps, recipe.validation.every, recipe.checkpoint.every]
            assert facts["optimizer"] == [recipe.optimizer.lr, recipe.optimizer.beta2, recipe.optimizer.weight_decay]
            assert facts["scheduler"] == ["WarmupPolicyScheduler", recipe.optimizer.warmup_steps, recipe.steps]
            assert facts["grads"] == (recipe.optimizer.grads == "fp32")
            assert facts["log"] == [str(HERE / "runs"), "mine"]
            assert (facts["function"], facts["serialised"]) == ("pretrain", True)


def test_the_data_module_reads_the_data_sets_in_the_shares_of_our_engine(made: dict[str, Any], tokens: Path) -> None:
    from pdapt.training.blend import train_blend

    recipe = load("qwen3_8b_cpt_48xh100_packed", NEMOS_ROWS)
    members = train_blend(tokens, recipe.data, recipe.steps * recipe.batch.global_size)
    paths = made["recipes"]["8b 48"]["paths"]
    assert paths["train"] == [text for member in members for text in (repr(member.share), member.prefix)]
    assert len(paths["validation"]) == len(members) == 2
    assert all(Path(f"{prefix}.bin").is_file() for prefix in paths["validation"])


@pytest.mark.parametrize("override", REFUSED)
def test_what_nemo_2_has_nothing_for_is_refused_by_name(made: dict[str, Any], override: str) -> None:
    said = made["refused"][override]
    assert said.startswith(f"a recipe for NeMo 2 does not support {REFUSED[override]}: ")
    assert f"where: {REFUSED[override]}\n" in said
    if REFUSED[override].startswith("data."):
        assert "they see each other" in said


def train(tokens: Path, base: Path, out: Path, ranks: int, *more: str) -> str:
    """Train, or go on, with NeMo 2; what it prints."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    done = toolkit(*torchrun, "train_on_cpu.py", tokens, out, base, *RECIPE, *more, **RANKS)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout + done.stderr


def losses(nemo: Path) -> dict[int, float]:
    """Losses of NeMo's steps, from 1, as its event files have them: without rounding."""
    found: dict[int, float] = {}
    for events in sorted(nemo.glob("tb_logs/**/events*"), key=lambda path: path.stat().st_mtime):
        reader = EventAccumulator(str(events)).Reload()
        found |= {row.step + 1: row.value for row in reader.Scalars("reduced_train_loss")}
    return found


@pytest.fixture(scope="session")
def weights(qwen3_at: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model (`hf`), as our base (`base`) and as NeMo's (`nemo`)."""
    folder = tmp_path_factory.mktemp("weights")
    import_hf(qwen3_at(folder / "hf"), folder / "base")
    import_hf(folder / "hf", folder / "nemo", nemo2=True)
    return folder


@pytest.fixture(scope="session")
def trained(tokens: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Ten steps of both, NeMo's on two data-parallel ranks."""
    folder = tmp_path_factory.mktemp("trained")
    train(tokens, weights / "nemo", folder / "nemo", 2)
    recipe = ["qwen3_0p6b_cpt_8xh100_packed", *RECIPE, *NEMOS_ROWS, "parallel.ranks_per_node=1"]
    places = ["--tokens", tokens, "--base", weights / "base", "--out", folder / "ours"]
    command = [sys.executable, "-m", "pdapt.cli.main", "train", *recipe, *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [json.loads(line) for line in (folder / "ours" / METRICS).read_text().splitlines()]
    ours = {row["iteration"]: row["loss"] for row in rows if "loss" in row}
    return Trained(folder / "nemo", losses(folder / "nemo"), ours)


def test_ten_steps_have_the_losses_of_our_engine_without_masks(trained: Trained) -> None:
    """From the same weights, over the same rows in the same order, in FP32."""
    assert len(trained.ours) == 10
    assert trained.losses == pytest.approx(trained.ours, abs=1e-6, rel=0)


@pytest.mark.parametrize("source", ["parameters", "master"])
def test_its_checkpoint_is_exported_without_a_reference(
    trained: Trained, weights: Path, tmp_path: Path, source: str
) -> None:
    """By its own `context/model.yaml`: the same tensors, and the configuration of the base it came from."""
    checkpoint = trained.checkpoint(5)
    export_hf(checkpoint, tmp_path / "ours", source=source)
    assert verify(tmp_path / "ours", checkpoint).identical
    assert not verify(tmp_path / "ours", weights / "hf").config
    assert (tmp_path / "ours" / "tokenizer.json").is_file()


def test_nemos_own_export_is_ours_to_the_bit(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained.checkpoint(5)
    export_hf(checkpoint, tmp_path / "ours")
    done = toolkit("export_with_nemo.py", checkpoint, tmp_path / "nemos", **RANKS)
    assert done.returncode == 0, done.stderr[-4000:]
    with pytest.raises(UserError, match="NeMo 2's exporter leaves memory that nothing was written to there"):
        verify(tmp_path / "ours", tmp_path / "nemos")
    tensors = load_file(tmp_path / "nemos/model.safetensors")
    tensors.pop("lm_head.weight")
    save_file(tensors, tmp_path / "nemos/model.safetensors")
    compared = verify(tmp_path / "ours", tmp_path / "nemos")
    assert (compared.tensors, compared.different) == (len(tensors), [])
    assert set(compared.config) == {"bos_token_id", "eos_token_id"}  # NeMo writes Qwen3's, whatever the tokenizer


def test_it_goes_on_from_its_last_checkpoint(tokens: Path, weights: Path, trained: Trained, tmp_path: Path) -> None:
    """On one rank instead of two, from step 5 on: no checkpoint later than that is there."""
    checkpoints = tmp_path / "cpt" / "checkpoints"
    checkpoints.mkdir(parents=True)
    name = trained.checkpoint(5).name
    (checkpoints / f"{name}-last").symlink_to(trained.checkpoint(5))
    train(tokens, weights / "nemo", tmp_path, 1)
    after = losses(tmp_path)
    assert list(after) == [6, 7, 8, 9, 10]
    assert after == pytest.approx({step: trained.ours[step] for step in after}, abs=1e-6, rel=0)


def test_nemo_runs_pdapts_verbs(weights: Path, tmp_path: Path) -> None:
    nemo = Path(PYTHON).with_name("nemo")
    environment = os.environ | ALONE | {"NEMORUN_HOME": str(tmp_path)}
    words = [f"checkpoint={weights / 'nemo'}", f"out={tmp_path / 'hf'}", "--yes"]
    for arguments in (["train", "--help"], ["export", *words]):
        done = subprocess.run(
            [nemo, "pdapt", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert verify(tmp_path / "hf", weights / "hf").identical


def test_the_stand_ins_refuse_to_load_where_a_gpu_is() -> None:
    code = "import torch\ntorch.cuda.is_available = lambda: True\nfrom environment import cpu_ranks"
    done = toolkit("-c", code)
    assert done.returncode == 1
    assert "these stand-ins are for tests without a GPU" in done.stderr
