"""Export a checkpoint with NeMo 2's own exporter of Qwen3, on a CPU: `export_with_nemo.py CHECKPOINT OUT`."""

import sys
from pathlib import Path
from typing import Any

from environment import cpu_ranks

if __name__ == "__main__":
    cpu_ranks.before_nemo()
    from nemo.collections.llm.gpt.model.qwen3 import HFQwen3Exporter
    from nemo.lightning.io.state import _ModelState

    class Exporter(HFQwen3Exporter):
        """NeMo's exporter, which knows the norms by the names that Transformer Engine's layers have."""

        def convert_state(self, source: Any, target: Any) -> Any:
            """Give the norms of Megatron's local layers those names."""
            names = {
                "input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight",
                "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight",
            }
            state = {}
            for name, value in source.module.state_dict().items():
                for local, fused in names.items():
                    name = name.replace(local, fused)
                state[name] = value
            return super().convert_state(_ModelState(state, source.config), target)

    checkpoint, out = map(Path, sys.argv[1:])
    cpu_ranks.before_training()
    Exporter(checkpoint).apply(out)
