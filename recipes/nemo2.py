"""The published recipes as a user of NeMo 2 expects them: functions that give a `run.Partial` of `llm.pretrain`.

    import nemo_run as run
    from pdapt.recipes.nemo2 import qwen3_8b_cpt

    recipe = qwen3_8b_cpt(tokens="tokens", base="qwen3-8b-nemo", dir="experiments", name="cpt", num_nodes=12)
    run.run(recipe, executor=...)

In the environment of nemo-toolkit 2.7.3, the last one that trains language models; `nemo.py` is for Megatron-Bridge,
which NVIDIA has put in its place. NeMo 2 reads our tokens without documents' masks and packing: see `data.layout`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..core import log
from .load import load

LOST = (
    "NeMo 2 joins documents and cuts them at the row's end: they see each other, and rows are not packed by best fit. "
    "`pdapt train` keeps both"
)


def cpt(
    size: str,
    *,
    tokens: str | Path,
    base: str | Path | None,
    dir: str | Path = "experiments",
    name: str = "cpt",
    num_nodes: int = 12,
    num_gpus_per_node: int = 4,
    overrides: Sequence[str] = (),
) -> Any:
    """Configure continued pre-training of a Qwen3 on H100s.

    Args:
        size: 0p6b, 1p7b, 4b or 8b.
        tokens: folder made by `pdapt tokens build`.
        base: NeMo 2 checkpoint, such as `llm.import_ckpt` makes; None for random weights.
        dir: folder of NeMo's experiments.
        name: of this one.
        num_nodes, num_gpus_per_node: spread; there is a published recipe for 48, 16, 8, 4 and, of small models, 1 GPU.
        overrides: options of the recipe, `key=value`.

    Returns:
        `run.Partial(llm.pretrain, …)`, with the tokens' files as its `PreTrainingDataModule`.

    Raises:
        UserError: there is no such recipe, an option is wrong or NeMo 2 has nothing for it, or nemo-toolkit is not
            installed as it was tried.
    """
    from ..training.nemo.installed import check_toolkit

    check_toolkit()
    from ..training.nemo2.pretrain_partial import pretrain_partial
    from ..training.nemo2.refused import check_options

    spread = [f"parallel.nodes={num_nodes}", f"parallel.ranks_per_node={num_gpus_per_node}"]
    rows = ["data.layout=concat", "data.document_masks=false"]
    recipe = load(f"qwen3_{size}_cpt_{num_nodes * num_gpus_per_node}xh100_packed", [*spread, *rows, *overrides])
    check_options(recipe)
    log.warn(LOST)
    start = str(Path(base).resolve()) if base is not None else None
    folder = str(Path(dir).resolve())
    return pretrain_partial(recipe, tokens=Path(tokens).resolve(), base=start, dir=folder, name=name)


qwen3_0p6b_cpt: Callable[..., Any] = partial(cpt, "0p6b")
qwen3_1p7b_cpt: Callable[..., Any] = partial(cpt, "1p7b")
qwen3_4b_cpt: Callable[..., Any] = partial(cpt, "4b")
qwen3_8b_cpt: Callable[..., Any] = partial(cpt, "8b")
