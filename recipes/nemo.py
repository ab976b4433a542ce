"""The published recipes as a user of NeMo expects them: functions that give Megatron-Bridge's `ConfigContainer`.

    from megatron.bridge.training.gpt_step import forward_step
    from megatron.bridge.training.pretrain import pretrain
    from pdapt.recipes.nemo import qwen3_8b_cpt

    pretrain(qwen3_8b_cpt(tokens="tokens", base="base", dir="run", num_nodes=12), forward_step)

under torchrun. This is the one module of `recipes` that imports `training`, when a function is called. What `pdapt
train` does around the loop (guards, hashes, journal, recovery) is not included: for that, use `engine=nemo`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..core.checkpoint import CHECKPOINTS, root_of
from ..data_prep.tokens.tokens_record import read_record
from .load import load
from .megatron_args import Places


def cpt(
    size: str,
    *,
    tokens: str | Path,
    base: str | Path | None,
    dir: str | Path = "run",
    num_nodes: int = 12,
    num_gpus_per_node: int = 4,
    layout: str = "packed",
    overrides: Sequence[str] = (),
) -> Any:
    """Configure continued pre-training of a Qwen3 on H100s.

    Args:
        size: 0p6b, 1p7b, 4b or 8b.
        tokens: folder made by `pdapt tokens build`.
        base: folder made by `pdapt convert import`, or a run; None for random weights.
        dir: folder of checkpoints, caches and event files.
        num_nodes, num_gpus_per_node: machine; published recipes exist for 48, 16, 8, 4 and, for small models, 1 GPU.
        layout: packed, or paper for the paper's padded rows.
        overrides: options of the recipe, `key=value`.

    Returns:
        Bridge's `ConfigContainer`, with pdapt's rows as its data set.

    Raises:
        UserError: there is no such recipe, an option is wrong, or Bridge is not installed in the tested version.
    """
    from ..training.nemo.installed import check_installed
    from ..training.nemo.recipe_container import recipe_container
    from ..training.rank_task import RankTask

    name = f"qwen3_{size}_cpt_{num_nodes * num_gpus_per_node}xh100_{layout}"
    spread = [f"parallel.nodes={num_nodes}", f"parallel.ranks_per_node={num_gpus_per_node}"]
    recipe = load(name, ["engine=nemo", "checkpoint.asynchronous=false", *spread, *overrides])
    check_installed(recipe)
    out, folder = Path(dir).resolve(), Path(tokens).resolve()
    places = Places(
        checkpoints=out / CHECKPOINTS,
        base=root_of(Path(base)).resolve() if base is not None else None,
        tensorboard=out / "tensorboard",
        cache=out / "cache",
        achieved=out / "achieved.json",
        eod=read_record(folder).eod_id,
    )
    return recipe_container(RankTask(recipe, places, folder, begun=0.0), gpu=True)


qwen3_0p6b_cpt: Callable[..., Any] = partial(cpt, "0p6b")
qwen3_1p7b_cpt: Callable[..., Any] = partial(cpt, "1p7b")
qwen3_4b_cpt: Callable[..., Any] = partial(cpt, "4b")
qwen3_8b_cpt: Callable[..., Any] = partial(cpt, "8b")
