"""Start the recipe of a NeMo user's script on CPU ranks: `torchrun … train_on_cpu.py TOKENS OUT BASE OVERRIDES…`."""

import os
import sys

import fiddle
from environment import cpu_ranks

if __name__ == "__main__":
    cpu_ranks.before_nemo()
    from pdapt.recipes.nemo2 import cpt

    tokens, out, base, *overrides = sys.argv[1:]
    spread = ["parallel.nodes=1", f"parallel.ranks_per_node={os.environ['WORLD_SIZE']}"]
    # The published recipe whose values the overrides replace.
    recipe = cpt(
        "0p6b", tokens=tokens, base=base, dir=out, num_nodes=1, num_gpus_per_node=8, overrides=[*spread, *overrides]
    )
    cpu_ranks.before_training()
    cpu_ranks.fit_to_cpu(recipe)
    fiddle.build(recipe)()
