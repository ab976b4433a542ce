"""The sides of `pdapt bench train` that are processes of their own: `python -m pdapt.bench.trainers SIDE JOB`.

- `prepare`, one process: the weights that all begin with, and the rows that all read.
- `trainer`, under torchrun: transformers.Trainer on such rows.
- `bare`, under torchrun: Megatron's trainer on its own mock data, as Megatron-LM's pretrain_gpt.py starts it.

A job is a JSON file; what is measured is written into its `out`, see `bench/train.py`.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from ..core.files import atomic_path, write_json
from ..core.system.process import die_with_parent
from ..data_prep.tokens.layouts import Layout
from ..recipes.schema import SAVED, Layers, Recipe, data_parallel, shape_of, transformer_impl
from .side_job import SideJob
from .train import IGNORED

Row = dict[str, np.ndarray]


def packed_inputs(sample: dict[str, Any]) -> Row:
    """Build the arguments of transformers' model from a packed sample.

    Positions restart at each document, and without an attention mask that is how the model tells documents apart. The
    labels are shifted already: the last slot of a row may have one, which is the first of the next.

    Args:
        sample: `tokens`, `labels`, `loss_mask`, `position_ids` as `PackedDataset` gives them, [sequence] each.
    """
    labels = np.where(np.asarray(sample["loss_mask"]) > 0, sample["labels"], IGNORED)
    ids, positions = np.asarray(sample["tokens"]), np.asarray(sample["position_ids"])
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "shift_labels": labels}


def padded_inputs(sample: dict[str, Any]) -> Row:
    """Build the arguments of transformers' model from a row of the paper's layout; it shifts the labels itself.

    Args:
        sample: `tokens`, `loss_mask` as `PaperDataset` gives them, [sequence] each.
    """
    ids = np.asarray(sample["tokens"])
    real = np.arange(len(ids)) <= np.count_nonzero(np.asarray(sample["loss_mask"]))  # the last token has no label
    return {"input_ids": ids, "attention_mask": real.astype(np.int64), "labels": np.where(real, ids, IGNORED)}


INPUTS = {Layout.PACKED: packed_inputs, Layout.PAPER: padded_inputs}


def prepare(job: SideJob) -> None:
    """Write `hf/`, random weights as Hugging Face keeps them, `base/`, the same for Megatron, and `LAYOUT.npz`."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from ..conversion.convert import import_hf
    from ..training.megatron.sequences import read_of_recipe

    recipe, out = job.recipe, job.out
    saved = SAVED[recipe.model.precision]
    torch.manual_seed(recipe.seed)
    model = Qwen3ForCausalLM(Qwen3Config(**shape_of(recipe).to_hf(saved)))
    model.to(getattr(torch, saved)).save_pretrained(out / "hf")
    import_hf(out / "hf", out / "base")
    for layout, inputs in INPUTS.items():
        laid_out = replace(recipe, data=replace(recipe.data, layout=layout, document_masks=None))
        numbers = range(recipe.steps * recipe.batch.global_size)
        rows = [inputs(sequence.sample) for sequence in read_of_recipe(job.tokens, laid_out, "train", numbers)]
        columns: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        with atomic_path(out / f"{layout}.npz") as partial, partial.open("wb") as file:
            np.savez(file, **columns)


def trainer(job: SideJob) -> None:
    """Train with transformers.Trainer, each choice the one that is fast here.

    In BF16 it computes in BF16 and keeps the weights in FP32 (autocast), as pdapt keeps main weights in FP32.
    """
    from transformers import Qwen3ForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        """Notes when steps end."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.monotonic())

    clock = Clock()
    arguments = TrainingArguments(**training_options(job.recipe, job.out.with_suffix("")))
    model = Qwen3ForCausalLM.from_pretrained(job.model, dtype=torch.float32, attn_implementation="sdpa")
    running = Trainer(model, arguments, train_dataset=_Rows(job.rows), callbacks=[clock])
    running.train()
    if arguments.process_index == 0:
        write_json(job.out, {"ends": clock.ends, "loss": running.state.log_history[0]["loss"]})


def training_options(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Options of `TrainingArguments` that train as a recipe does, on the cores."""
    optimizer, batch = recipe.optimizer, recipe.batch
    return {
        "output_dir": str(out),
        "use_cpu": True,
        "ddp_backend": "gloo",
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": False,
        "bf16": recipe.model.precision == "bf16",
        "max_steps": recipe.steps,
        "per_device_train_batch_size": batch.micro_size,
        "gradient_accumulation_steps": batch.global_size // (batch.micro_size * data_parallel(recipe)),
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,  # shift_labels is not in the signature of the model's forward
        "learning_rate": optimizer.lr,
        "lr_scheduler_type": "constant",
        "adam_beta1": optimizer.beta1,
        "adam_beta2": optimizer.beta2,
        "adam_epsilon": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": optimizer.clip,
        "logging_first_step": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


class _Rows(Dataset[dict[str, torch.Tensor]]):
    """Rows of a file, as a data set."""

    def __init__(self, path: Path) -> None:
        self.columns = {name: torch.from_numpy(column) for name, column in np.load(path).items()}

    def __len__(self) -> int:
        return len(self.columns["input_ids"])

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {name: column[number] for name, column in self.columns.items()}


# What is pdapt's own way to read, write and follow a run. All else decides what is computed, and how.
OURS = (
    "--log-interval", "--tensorboard-", "--wandb-", "--profile", "--save", "--load", "--pretrained-checkpoint",
    "--ckpt-", "--dist-ckpt-", "--async-", "--use-persistent-ckpt-worker", "--data-cache-path",
)  # fmt: skip


def bare_arguments(arguments: list[str]) -> list[str]:
    """Megatron's command line for a recipe, less what is pdapt's own, on Megatron's mock data."""
    kept: list[str] = []
    flag = ""
    for word in arguments:
        flag = word if word.startswith("--") else flag
        if not flag.startswith(OURS):
            kept.append(word)
    return [*kept, "--mock-data"]


class BareStep:
    """Megatron-LM's own step, for one rank a model; notes when it is called."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, samples: Iterator[dict[str, Any]], model: Any) -> tuple[Any, Any]:
        """The model's output on the next micro-batch, and what makes a loss of it."""
        self.calls.append(time.monotonic())
        batch = {name: tensor.cuda(non_blocking=True) for name, tensor in next(samples).items()}
        output = model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"])
        mask = batch["loss_mask"].view(-1).float()

        def loss(output: torch.Tensor) -> tuple[Any, Any, dict[str, Any]]:
            total, count = torch.sum(output.view(-1).float() * mask), mask.sum().detach().to(torch.int)
            return total, count, {"lm loss": torch.stack([total.detach(), count.to(total.dtype)])}

        return output, loss


def bare(job: SideJob) -> None:
    """Train with Megatron's trainer alone, with pdapt's layers for the CPU: it has none of its own."""
    from ..recipes.megatron_args import Places, megatron_args
    from ..training.megatron.engine import layer_spec
    from ..training.megatron.engine import prepare as prepare_megatron

    recipe, out = job.recipe, job.out
    gpu = prepare_megatron(local=transformer_impl(recipe, gpu=True) == Layers.LOCAL)
    from megatron.core.enums import ModelType
    from megatron.training import pretrain
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    unused = out.with_suffix("")
    places = Places(unused, None, tensorboard=unused, cache=unused, achieved=unused, eod=job.eod)
    sys.argv = [sys.argv[0], *bare_arguments(megatron_args(recipe, places, gpu=gpu))]
    args = parse_and_validate_args()
    model = gpt_config_from_args(args)
    model.transformer_layer_spec = layer_spec
    container, step = pretrain_cfg_container_from_args(args, model), BareStep()
    pretrain(container, cast(Any, MockProvider()), ModelType.encoder_or_decoder, cast(Any, step))
    if torch.distributed.get_rank() == 0:
        each = recipe.batch.global_size // (recipe.batch.micro_size * data_parallel(recipe))
        write_json(out, {"begins": step.calls[: recipe.steps * each : each]})  # later calls are of validation


class MockProvider:
    """Megatron's mock data, as Megatron-LM's pretrain_gpt.py builds them."""

    is_distributed = True

    def __call__(self, sizes: list[int]) -> Any:
        """Training, validation and test sets of `sizes` samples."""
        from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
        from megatron.core.datasets.gpt_dataset import GPTDatasetConfig, MockGPTDataset
        from megatron.training import get_args, get_tokenizer

        args = cast(Any, get_args())
        config = GPTDatasetConfig(
            random_seed=args.seed,
            sequence_length=args.seq_length,
            split="90,5,5",
            tokenizer=get_tokenizer(),
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            create_attention_mask=False,
        )
        return BlendedMegatronDatasetBuilder(MockGPTDataset, sizes, lambda: True, config).build()


SIDES = {"prepare": prepare, "trainer": trainer, "bare": bare}

if __name__ == "__main__":
    die_with_parent()
    SIDES[sys.argv[1]](SideJob.read(Path(sys.argv[2])))
