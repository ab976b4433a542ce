"""Megatron's trainer, started for a recipe: one rank of a run."""

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from ..core.files import read_json
from ..core.process import die_with_parent
from .load import from_dict, to_dict
from .megatron_args import Places, megatron_args
from .schema import Recipe


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

    spec = cast(Any, default_layer_spec(config, vp_stage=0))
    if config.transformer.transformer_impl == "local":
        from .attention import DocumentAttention

        spec.submodules.self_attention.submodules.core_attention = DocumentAttention
    return spec


@dataclass(frozen=True)
class Job:
    """What one rank has to know."""

    recipe: Recipe
    places: Places
    tokens: Path
    stop_at: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for a rank in another process."""
        places = {
            name: value if value is None or name == "eod" else str(value) for name, value in asdict(self.places).items()
        }
        return {"recipe": to_dict(self.recipe), "places": places, "tokens": str(self.tokens), "stop_at": self.stop_at}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Job":
        """Read back what `to_json` wrote."""
        given = value["places"]
        paths = {name: Path(given[name]) for name in ("checkpoints", "tensorboard", "cache", "achieved")}
        places = Places(**paths, base=given["base"] and Path(given["base"]), eod=given["eod"])
        return Job(from_dict(value["recipe"]), places, Path(value["tokens"]), value["stop_at"])


def start(job: Job) -> None:
    """Be one rank of a run: train until the recipe's last step."""
    gpu = prepare()
    from megatron.core.enums import ModelType
    from megatron.training import pretrain
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    from .batch import forward_step
    from .datasets import Provider

    arguments = megatron_args(job.recipe, job.places, gpu=gpu)
    if job.stop_at is not None:
        arguments += ["--exit-interval", str(job.stop_at)]
    sys.argv = [sys.argv[0], *arguments]  # where Megatron reads its arguments
    args = parse_and_validate_args()
    model = gpt_config_from_args(args)
    model.transformer_layer_spec = layer_spec
    container = pretrain_cfg_container_from_args(args, model)
    provider = Provider(job.tokens, job.recipe.data, job.places.achieved, _saves(job))
    pretrain(container, provider, ModelType.encoder_or_decoder, forward_step)


def _saves(job: Job) -> list[int]:
    """The steps after which a checkpoint may be saved."""
    last = job.recipe.steps
    intervals = [job.recipe.checkpoint.every, job.stop_at or last]  # Megatron stops at any multiple of `stop_at`
    return sorted({last, *(step for interval in intervals for step in range(interval, last, interval))})


def main() -> None:
    """Run the job file named on the command line."""
    die_with_parent()
    start(Job.from_json(read_json(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
