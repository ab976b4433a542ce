"""Logits, loss and gradients of the model that the trainer builds, for comparison with another implementation.

`python -m pdapt.training.megatron.parity JOB OUT.safetensors`, one process.
"""

import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.files import read_json, write_json
from ...core.qwen3 import Qwen3Config
from ...recipes.megatron_args import Places, megatron_args
from ...recipes.schema import Batch, Data, Layers, Model, Recipe, Shape
from .engine import layer_spec, prepare


def build(arguments: list[str]) -> Any:
    """Build the trainer's model with a checkpoint's weights, in a world of one rank.

    Args:
        arguments: Megatron's command line; its `--pretrained-checkpoint` holds the weights.
    """
    prepare(local=arguments[arguments.index("--transformer-impl") + 1] == Layers.LOCAL)
    from megatron.core.process_groups_config import ProcessGroupCollection
    from megatron.training import training
    from megatron.training.argument_utils import gpt_config_from_args
    from megatron.training.arguments import parse_and_validate_args
    from megatron.training.checkpointing import load_checkpoint

    sys.argv = [sys.argv[0], *arguments]
    args = parse_and_validate_args()
    training.initialize_megatron()
    config = gpt_config_from_args(args)
    config.transformer_layer_spec = layer_spec
    builder = config.get_builder_cls()(config)
    models = builder.build_distributed_models(ProcessGroupCollection.use_mpu_process_groups(), wrap_with_ddp=False)
    load_checkpoint(models, None, None)
    return models[0]


def measure(model: Any, ids: Any, lengths: list[int]) -> dict[str, Any]:
    """Run documents through the model as one pack.

    Args:
        model: from `build`.
        ids: the documents' token ids, one after the other, int64 [tokens].
        lengths: their lengths.

    Returns:
        `logits` [tokens, vocabulary]; `loss`, the mean over predictions within documents; its gradients `grad.<name>`.
    """
    import torch

    from .batch import packed_parameters

    borders = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).cuda()
    packed = packed_parameters(borders.unsqueeze(0), torch.tensor(max(lengths)))
    positions = torch.cat([torch.arange(length) for length in lengths])
    labels, counts = ids.roll(-1), predictions(lengths)

    def run(**labelled: Any) -> Any:
        return model(ids[None].cuda(), positions[None].cuda(), None, packed_seq_params=packed, **labelled)

    # Not eval(): Transformer Engine's attention keeps what its backward pass needs only in training. No dropout is set.
    with torch.no_grad():
        logits = run()[0]
    loss = (run(labels=labels[None].cuda())[0].float() * counts.cuda()).sum() / counts.sum()
    loss.backward()
    gradients = {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"logits": logits, "loss": loss.detach(), **gradients}


def predictions(lengths: list[int]) -> Any:
    """Which tokens of a pack predict one, float32 [tokens]: not a document's last, whose next token is another's."""
    import torch

    return torch.cat([(torch.arange(length) < length - 1).float() for length in lengths])


def measure_checkpoint(checkpoint: Path, shape: Qwen3Config, documents: list[list[int]]) -> dict[str, Any]:
    """Run `measure` on a checkpoint in a process of its own, in FP32.

    Args:
        checkpoint: Megatron checkpoint root.
        shape: the model's.
        documents: token ids of each document.

    Raises:
        RuntimeError: the process failed; its last lines are in the error.
    """
    model = Model(shape=Shape(**asdict(shape)), precision="fp32")
    data = Data(seq_length=min(max(map(len, documents)), shape.max_positions))
    recipe = Recipe(model=model, data=data, batch=Batch(global_size=1), steps=1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        places = Places(
            checkpoints=work / "none",
            base=checkpoint.resolve(),
            tensorboard=work / "tensorboard",
            cache=work / "cache",
            achieved=work / "achieved",
            eod=0,
        )
        # On the CPU everywhere: FP32 on a GPU may be TF32, and the local layers are compared.
        return measure_job(megatron_args(recipe, places, gpu=False), documents, CUDA_VISIBLE_DEVICES="")


def measure_job(arguments: list[str], documents: list[list[int]], **environment: str) -> dict[str, Any]:
    """Run `measure` in a process of its own.

    Args:
        arguments: as in `build`.
        documents: token ids of each document.
        environment: environment variables that are different in that process.

    Raises:
        RuntimeError: the process failed; its last lines are in the error.
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as work:
        job, out = Path(work) / "job.json", Path(work) / "out.safetensors"
        write_json(job, {"arguments": arguments, "documents": documents})
        environment = os.environ | {"MASTER_PORT": str(_free_port())} | environment
        command = [sys.executable, "-m", "pdapt.training.megatron.parity", str(job), str(out)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the comparison failed:\n{done.stderr[-3000:]}")
        return load_file(out)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def main() -> None:
    """Measure the job's documents: `{"arguments": [...], "documents": [[id, ...], ...]}`."""
    import torch
    from safetensors.torch import save_file

    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1")
    job, out = read_json(Path(sys.argv[1])), sys.argv[2]
    model = build(job["arguments"])
    ids = torch.tensor([token for document in job["documents"] for token in document])
    result = measure(model, ids, [len(document) for document in job["documents"]])
    save_file({name: tensor.cpu().contiguous() for name, tensor in result.items()}, out)


if __name__ == "__main__":
    main()
