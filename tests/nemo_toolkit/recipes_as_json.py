"""Print, as JSON, what the recipes for NeMo 2 are and what they refuse: `recipes_as_json.py TOKENS OVERRIDES…`.

In the environment of nemo-toolkit, without a network.
"""

import json
import socket
import sys
from typing import Any

import fiddle
from nemo_run.core.serialization.zlib_json import ZlibJSONSerializer

from pdapt.core.errors import UserError
from pdapt.recipes import nemo2

SIZES = {
    "0p6b": nemo2.qwen3_0p6b_cpt,
    "1p7b": nemo2.qwen3_1p7b_cpt,
    "4b": nemo2.qwen3_4b_cpt,
    "8b": nemo2.qwen3_8b_cpt,
}
SHAPE = ["num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "kv_channels"]
SHAPE += ["vocab_size", "share_embeddings_and_output_weights", "rotary_base", "layernorm_epsilon"]


def refuse_network(*_: Any) -> None:
    raise OSError("a recipe is made without a network")


def facts(partial: Any) -> dict[str, Any]:
    """Facts of a recipe that tests compare."""
    config, trainer, strategy = fiddle.build(partial.model.config), partial.trainer, partial.trainer.strategy
    scheduler, data = partial.optim.lr_scheduler, partial.data
    serializer = ZlibJSONSerializer()
    return {
        "shape": [getattr(config, name) for name in SHAPE],
        "seq_length": [config.seq_length, data.seq_length],
        "batch": [data.global_batch_size, data.micro_batch_size],
        "spread": [trainer.num_nodes, trainer.devices, strategy.tensor_model_parallel_size, strategy.sequence_parallel],
        "steps": [trainer.max_steps, trainer.val_check_interval, partial.log.ckpt.every_n_train_steps],
        "optimizer": [partial.optim.config.lr, partial.optim.config.adam_beta2, partial.optim.config.weight_decay],
        "scheduler": [fiddle.get_callable(scheduler).__name__, scheduler.warmup_steps, scheduler.max_steps],
        "grads": strategy.ddp.grad_reduce_in_fp32,
        "paths": data.paths,
        "log": [partial.log.log_dir, partial.log.name],
        "function": fiddle.get_callable(partial).__name__,
        "serialised": serializer.deserialize(serializer.serialize(partial)) == partial,
    }


def main() -> None:
    """Make the recipes of every size and number of GPUs, then those that are refused."""
    tokens, *refused = sys.argv[1:]
    socket.socket.connect = refuse_network  # pyright: ignore[reportAttributeAccessIssue]
    made: dict[str, Any] = {"recipes": {}, "refused": {}}
    for size, function in SIZES.items():
        for nodes, each in ((12, 4), (1, 8)):
            partial = function(
                tokens=tokens, base="base", dir="runs", name="mine", num_nodes=nodes, num_gpus_per_node=each
            )
            made["recipes"][f"{size} {nodes * each}"] = facts(partial)
    for override in refused:
        try:
            nemo2.qwen3_8b_cpt(tokens=tokens, base=None, overrides=override.split(" "))
        except UserError as error:
            made["refused"][override] = str(error)
    print(json.dumps(made))


if __name__ == "__main__":
    main()
