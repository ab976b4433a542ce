"""Megatron's trainer, started for a recipe. One process of a run: `torchrun -m pdapt.recipes.engine JOB`."""

import os
import sys
from pathlib import Path
from typing import Any

from ..core import log
from ..core.files import read_json


def prepare() -> bool:
    """Import Megatron, with the CPU backend where there is no GPU. Returns whether there is one."""
    import torch

    gpu = torch.cuda.is_available()
    if not gpu:
        # Nothing is compiled on the CPU: kernels would be built for minutes to run for seconds.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
        from . import cpu_backend

        cpu_backend.replace_cuda()
    import megatron.training

    if not gpu:
        from . import cpu_backend

        cpu_backend.replace_in_megatron()
    from . import seams

    seams.apply()
    del megatron
    return gpu


def layer_spec(config: Any) -> Any:
    """Megatron's own layer, with our attention where Transformer Engine is not there.

    Args:
        config: Megatron's `GPTModelConfig`.
    """
    from megatron.training.models.gpt import default_layer_spec

    spec = default_layer_spec(config, vp_stage=0)
    if config.transformer.transformer_impl == "local":
        from .attention import DocumentAttention

        spec.submodules.self_attention.submodules.core_attention = DocumentAttention
    return spec


def train(arguments: list[str], tokens: Path) -> None:
    """Train until the recipe's last step.

    Args:
        arguments: Megatron's command line.
        tokens: the tokens stage's folder.
    """
    prepare()
    from megatron.core.enums import ModelType
    from megatron.training import pretrain
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    from .batch import forward_step
    from .datasets import Provider

    sys.argv = [sys.argv[0], *arguments]  # where Megatron reads its arguments
    args = parse_and_validate_args()
    model = gpt_config_from_args(args)
    model.transformer_layer_spec = layer_spec
    container = pretrain_cfg_container_from_args(args, model)
    pretrain(container, Provider(tokens), ModelType.encoder_or_decoder, forward_step)


def main() -> None:
    """Run the job file named on the command line: `{"arguments": [...], "tokens": "..."}`."""
    job = read_json(Path(sys.argv[1]))
    train(job["arguments"], Path(job["tokens"]))
    if os.environ.get("RANK") == "0":
        log.info("trainer finished")


if __name__ == "__main__":
    main()
