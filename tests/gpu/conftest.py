"""The machine that the GPU tests share, the data trained on it, and the table of figures."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from pdapt.core.system.device import DRIVER

Run = Callable[..., Path]

# What torch says of the GPUs, from a process of its own: pytest's would hold a CUDA context for the whole session.
PROBE = """
import json, torch
from pdapt.core.system.device import has_transformer_engine
assert torch.cuda.is_available(), "there is a GPU, and torch cannot use it"
engine = has_transformer_engine()
if engine:
    import transformer_engine.pytorch
print(json.dumps({
    "engine": engine, "name": torch.cuda.get_device_name(), "count": torch.cuda.device_count(),
    "capability": torch.cuda.get_device_capability(), "cudnn": torch.backends.cudnn.version(),
}))
"""
# A tiny Qwen3 with what is peculiar to the real ones: as in the 0.6B, heads * head_dim is not the hidden size. Heads
# of 64, because fused attention wants a multiple of 8 from 32 on; widths in multiples of 16, because FP8 does.
SHAPE = {
    "layers": 2, "hidden": 128, "ffn": 384, "heads": 4, "kv_heads": 2, "head_dim": 64, "vocab": 1024, "tied": True,
    "max_positions": 512,
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "model": {"shape": SHAPE},
    "data": {"seq_length": 256},
    "batch": {"global_size": 8, "micro_size": 2},
    "optimizer": {"lr": 1e-3},
    # Reshardable: another order of the layers' parameters (Transformer Engine's, the local ones') has to load it, too.
    "checkpoint": {"every": 10, "reshardable": True},
    "validation": {"every": 10, "batches": 1},
    "steps": 20,
}


@dataclass(frozen=True)
class Gpu:
    """The GPU that the tests run on.

    Attributes:
        name: of the first GPU.
        count: GPUs that torch sees.
        capability: compute capability, such as (9, 0).
        cudnn: version number of cuDNN.
        engine: whether Transformer Engine is installed; tests of what needs it are skipped otherwise.
    """

    name: str
    count: int
    capability: tuple[int, int]
    cudnn: int
    engine: bool


@dataclass(frozen=True)
class Figure:
    """A line of the table; `allowed` is the largest value that passes, None where nothing is asserted."""

    name: str
    value: float
    unit: str
    allowed: float | None
    predicted: float | None


FIGURES = pytest.StashKey[list[Figure]]()
MACHINE = pytest.StashKey[str]()


def given_gpus() -> list[str]:
    """The GPUs that this process is given: by name, else all that the driver has devices for."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    return sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))


@pytest.fixture(scope="session", autouse=True)
def gpu(pytestconfig: pytest.Config) -> Gpu:
    """The machine's GPU. Skips by the driver's own device: where there is a GPU that torch cannot use, tests fail."""
    if not DRIVER.exists():
        pytest.skip(f"this machine has no GPU (no {DRIVER})")
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"torch or Transformer Engine cannot use this machine's GPU:\n{done.stderr[-3000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    # One that torch has lost would otherwise only leave out the tests of several GPUs.
    assert found["count"] == len(given_gpus()), f"torch sees {found['count']} GPUs, given are {given_gpus()}"
    installed = ("torch", "megatron-core", *(["transformer-engine"] if found["engine"] else []))
    packages = [*(f"{name} {version(name)}" for name in installed), *([] if found["engine"] else ["local layers"])]
    pytestconfig.stash[MACHINE] = f"{found['count']} x {found['name']}, cuDNN {found['cudnn']}, {', '.join(packages)}"
    return Gpu(**found | {"capability": tuple(found["capability"])})


@pytest.fixture
def engine(gpu: Gpu) -> None:
    """For tests of what only Transformer Engine does."""
    if not gpu.engine:
        pytest.skip("needs Transformer Engine, which is not installed")


@pytest.fixture(params=["transformer_engine", "local"])
def layers(request: pytest.FixtureRequest, gpu: Gpu) -> str:
    """Whose layers compute on the GPU."""
    if request.param == "transformer_engine" and not gpu.engine:
        pytest.skip("needs Transformer Engine, which is not installed")
    return request.param


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Put a figure into the table, and fail where it is above what is allowed.

    `figure(name, value, unit="", allowed=None, predicted=None)`
    """
    figures = pytestconfig.stash.setdefault(FIGURES, [])

    def put(
        name: str, value: float, unit: str = "", *, allowed: float | None = None, predicted: float | None = None
    ) -> None:
        figures.append(Figure(name, value, unit, allowed, predicted))
        # Said this way round, because NaN is not below anything.
        assert allowed is None or value <= allowed, f"{name}: {value:.4g} {unit}, allowed up to {allowed:.4g}"

    return put


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    figures = config.stash.get(FIGURES, [])
    if not figures:
        return
    terminalreporter.section("GPU figures")
    terminalreporter.write_line(config.stash.get(MACHINE, ""))
    rows = [("name", "value", "unit", "allowed", "predicted")]
    rows += [(row.name, _shown(row.value), row.unit, _shown(row.allowed), _shown(row.predicted)) for row in figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        terminalreporter.write_line(line.rstrip())


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _tokens(folder: Path, tokenizer: Path, words: list[int]) -> Path:
    """A tokens folder of documents of so many words."""
    from pdapt.data_prep.corpus import build_corpus, discover
    from pdapt.data_prep.tokens.build import Options, build_tokens

    draw = random.Random(0)
    known = ["le", "patient", "reçoit", "mg", "de", "paracétamol", "puis", "la", "ville", "compte", "des", "écoles"]
    lines = [" ".join(draw.choices(known, k=count)) + f" {number}" for number, count in enumerate(words)]
    text = folder / "notes.jsonl"
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    build_corpus(discover([str(text)]), folder / "corpus")
    build_tokens([str(folder / "corpus")], tokenizer, folder / "tokens", Options(valid_fraction=0.1))
    return folder / "tokens"


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A small tokens folder, of documents of very different lengths."""
    draw = random.Random(1)
    return _tokens(tmp_path_factory.mktemp("tokens"), tokenizer_folder, [draw.randint(5, 90) for _ in range(500)])


@pytest.fixture(scope="session")
def long_tokens(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A tokens folder for rows of 2,048 slots: lengths as of real text, a few hundred words, some of thousands."""
    draw = random.Random(2)
    words = [min(4000, max(20, int(draw.lognormvariate(5.5, 1)))) for _ in range(1500)]
    return _tokens(tmp_path_factory.mktemp("long"), tokenizer_folder, words)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Run:
    """Make a tiny random Qwen3 of `SHAPE` as a Hugging Face folder in FP32: `tiny(tied=True)`."""

    def make(tied: bool = True) -> Path:
        import shutil

        from transformers import AutoConfig, Qwen3ForCausalLM

        from pdapt.core.qwen3 import Qwen3Config

        folder = tmp_path_factory.mktemp("qwen3") / "hf"
        values: Any = SHAPE | {"tied": tied}
        # Weights larger than Qwen3's 0.02: then the loss depends on what is attended to.
        hf = Qwen3Config(**values).to_hf("float32") | {"initializer_range": 0.05}
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(cast(Any, AutoConfig.for_model(**hf)))
        for name, parameter in model.named_parameters():
            if "norm" in name:  # of exactly 1 they would hide a norm that is left out or swapped with another
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
        model.save_pretrained(folder)
        for file in tokenizer_folder.iterdir():
            shutil.copy(file, folder / file.name)
        return folder

    return make


@pytest.fixture(scope="session")
def base(tiny: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a checkpoint root. Random weights would differ from a CPU's, and from one TP to another."""
    from pdapt.conversion.convert import import_hf

    out = tmp_path_factory.mktemp("base") / "base"
    import_hf(tiny(), out)
    return out


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`RECIPE` as a file."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(json.dumps(RECIPE))  # JSON is YAML
    return path


@pytest.fixture(scope="session")
def on_gpu(recipe_file: Path, tokens: Path, base: Path) -> Run:
    """Train the tiny recipe on the machine's GPUs: `on_gpu(out, *overrides, stop_at=None)`; gives `out`."""
    from pdapt.recipes.load import load
    from pdapt.training.train import train

    def run(out: Path, *overrides: str, stop_at: int | None = None) -> Path:
        train(load(str(recipe_file), list(overrides)), tokens, out, base=base, stop_at=stop_at)
        return out

    return run


@pytest.fixture(scope="session")
def on_cpu(recipe_file: Path, tokens: Path, base: Path) -> Run:
    """The same by `pdapt train`, in a process that sees no GPU."""

    def run(out: Path, *overrides: str, stop_at: int | None = None) -> Path:
        command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), *overrides]
        command += ["--tokens", str(tokens), "--base", str(base), "--out", str(out)]
        command += [] if stop_at is None else ["--stop-at", str(stop_at)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return out

    return run


@pytest.fixture(scope="session")
def gpu_run(on_gpu: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe's twenty steps in BF16 on one GPU, never interrupted."""
    return on_gpu(tmp_path_factory.mktemp("gpu") / "run")


@pytest.fixture(scope="session")
def losses() -> Callable[..., dict[int, float]]:
    """Loss by step of a run: `losses(run, name="loss")`, or with `valid_loss`."""
    from pdapt.training.run.folder import METRICS

    def read(run: Path, name: str = "loss") -> dict[int, float]:
        rows = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
        return {row["iteration"]: row[name] for row in rows if name in row}

    return read


@pytest.fixture(scope="session")
def transformers_loss(tokens: Path) -> Callable[..., float]:
    """transformers' mean loss over the labels that count of a recipe's samples, each document by itself.

    `transformers_loss(model, recipe, split, numbers)`
    """
    import numpy as np
    from torch.nn.functional import cross_entropy

    from pdapt.training.megatron.sequences import read_of_recipe

    def mean(model: Any, recipe: Any, split: str, numbers: range) -> float:
        total, count = 0.0, 0
        for found in read_of_recipe(tokens, recipe, split, numbers):
            sample = {name: torch.from_numpy(np.array(value)) for name, value in found.sample.items()}
            for start, stop in pairwise(sample["cu_seqlens"].unique().tolist()):
                counted = sample["loss_mask"][start:stop].bool()
                if counted.any():
                    logits = model(sample["tokens"][None, start:stop]).logits[0][counted].float()
                    total += cross_entropy(logits, sample["labels"][start:stop][counted], reduction="sum").item()
                    count += int(counted.sum())
        return total / count

    return mean


@pytest.fixture
def gpu_layers(tmp_path: Path, layers: str) -> Callable[..., dict[str, torch.Tensor]]:
    """Logits, loss and gradients of packs from the GPU's layers: see `measure.py`.

    `gpu_layers(checkpoint, shape, packs, precision, **environment)`; gradients have the local layers' names.
    """
    from safetensors.torch import load_file

    from pdapt.recipes.megatron_args import Places, megatron_args
    from pdapt.recipes.schema import Batch, Data, Layers, Model, Recipe, Shape

    def measure(
        checkpoint: Path, shape: Any, packs: list[list[list[int]]], precision: str, **environment: str
    ) -> dict[str, torch.Tensor]:
        model = Model(shape=Shape(**asdict(shape)), precision=precision, transformer_impl=layers)
        recipe = Recipe(model=model, data=Data(seq_length=shape.max_positions), batch=Batch(global_size=1), steps=1)
        if layers == Layers.TRANSFORMER_ENGINE:
            # Fused, gradients would go into buffers of the trainer's that are not there.
            recipe.megatron["no-gradient-accumulation-fusion"] = True
        places = Places(
            tmp_path / "none", checkpoint, *(tmp_path / name for name in ("events", "cache", "read")), eod=0
        )
        job, out = tmp_path / "job.json", tmp_path / "out.safetensors"
        job.write_text(json.dumps({"arguments": megatron_args(recipe, places, gpu=True), "packs": packs}))
        command = [sys.executable, str(Path(__file__).with_name("measure.py")), str(job), str(out)]
        needed = {"MASTER_PORT": str(_free_port()), "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
        done = subprocess.run(
            command, env=os.environ | needed | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return {_local(name): tensor for name, tensor in load_file(out).items()}

    return measure


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _local(name: str) -> str:
    """Transformer Engine keeps a norm in the linear layer behind it; here by the local layers' name."""
    for engine, local in (("self_attention.linear_qkv", "input_layernorm"), ("mlp.linear_fc1", "pre_mlp_layernorm")):
        name = name.replace(f"{engine}.layer_norm_weight", f"{local}.weight")
    return name
