"""One rank of tests/core/test_state_layout.py: what Megatron allocates, by `python allocated.py RECIPE OUT`."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pdapt.recipes.load import load
from pdapt.recipes.megatron_args import Places, megatron_args
from pdapt.training.megatron.engine import layer_spec, prepare


def main() -> None:
    """Set Megatron up as its trainer does, write down what it holds, and end before it trains."""
    recipe, out = load(sys.argv[1]), Path(sys.argv[2])
    gpu = prepare()
    from megatron.core.enums import ModelType
    from megatron.training import pretrain, training
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    sys.argv = [sys.argv[0], *megatron_args(recipe, Places(out, None, out, out, out, eod=7), gpu=gpu)]
    args = parse_and_validate_args()
    model = gpt_config_from_args(args)
    model.transformer_layer_spec = layer_spec
    container = pretrain_cfg_container_from_args(args, model)
    inner = training.setup_model_and_optimizer

    def observed(*given: Any, **further: Any) -> Any:
        models, optimizer, _ = inner(*given, **further)
        write(out, models, optimizer)
        raise Written

    training.setup_model_and_optimizer = observed
    with suppress(Written):
        pretrain(container, cast(Any, None), ModelType.encoder_or_decoder, cast(Any, None))


class Written(BaseException):
    """All is written: nothing is to be trained."""


def write(out: Path, models: list[Any], optimizer: Any) -> None:
    """Write bytes of weights, of gradients and of main weights, and the elements of the buffers."""
    from megatron.core import parallel_state

    parts = getattr(optimizer, "chained_optimizers", [optimizer])
    mains = [
        tensor
        for part in parts
        for group in (*part.shard_fp32_groups, *part.shard_fp32_from_float16_groups)
        for tensor in group
        if tensor is not None
    ]
    buffers = [buffer for model in models for buffer in model.buffers]
    found = {
        "parameters": sum(p.numel() for model in models for p in model.parameters()),
        "weights": sum(buffer.param_data.numel() * buffer.param_data.element_size() for buffer in buffers),
        "gradients": sum(buffer.grad_data.numel() * buffer.grad_data.element_size() for buffer in buffers),
        "main": sum(tensor.numel() for tensor in mains),
        "stage": parallel_state.get_pipeline_model_parallel_rank(),
        "shard": parallel_state.get_data_parallel_rank(with_context_parallel=True),
    }
    rank = int(os.environ.get("RANK", "0"))
    (out / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
