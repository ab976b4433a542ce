"""The merge stage: two parents in, one model out, computed by mergekit on the CPU, one tensor at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import log
from ..core.errors import UserError, nearest
from ..core.files import copy_present, write_text
from ..core.manifest import Manifest, input_fingerprints, run_stage
from ..core.qwen3 import SIDE_FILES
from .card import CONFIG_NAME, model_card
from .parents import check_parents, count_parameters

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration

METHODS = ("slerp",)
SHARD_BYTES = 2_000_000_000
"""mergekit holds one output shard in memory; its own default is 5 GB."""


def merge(base: Path, tuned: Path, out: Path, *, method: str = "slerp", t: float = 0.5) -> Manifest:
    """Merge `tuned` into `base`, both Hugging Face Qwen3 folders of safetensors.

    SLERP (Shoemake 1985, as mergekit applies it to each tensor as one vector): with theta the angle between the two,
    sin((1-t) theta)/sin(theta) base + sin(t theta)/sin(theta) tuned, computed in FP32 and stored in the parents' dtype;
    linear where they are all but parallel (|cos theta| > 0.9995).

    Args:
        base: the model that `t = 0` gives back; the tokenizer is taken from it.
        tuned: the model that `t = 1` gives back.
        out: folder to make: weights, config.json, tokenizer, mergekit_config.yml, README.md, manifest.json.
        method: one of `METHODS`.
        t: how far to go from base to tuned, in [0, 1].

    Raises:
        UserError: an unknown method, `t` out of range, parents that cannot be mixed, or another result at `out`;
            nothing has been written then.
    """
    _check_options(method, t)
    tensors = check_parents(base, tuned)

    def body(work: Path) -> dict[str, Any]:
        log.info(f"merge: {method}, t = {t:g}, {len(tensors)} tensors")
        _run_mergekit(_mergekit_config(method, t, str(base.resolve()), str(tuned.resolve())), work)
        copy_present(base, work, SIDE_FILES)
        # Written with names in place of paths: it can be run in a folder that holds the parents under these names.
        config_text = _mergekit_config(method, t, "./base", "./tuned").to_yaml() + "\n"
        write_text(work / CONFIG_NAME, config_text)
        write_text(work / "README.md", model_card(out.name, method, t, input_fingerprints(work), config_text))
        return {"tensors": len(tensors), "parameters": count_parameters(tensors)}

    return run_stage("merge", {"base": base, "tuned": tuned}, {"method": method, "t": float(t)}, out, body)


def _check_options(method: str, t: float) -> None:
    if method not in METHODS:
        raise UserError(
            f"unknown merge method '{method}'",
            where="--method",
            allowed=", ".join(METHODS),
            mend=nearest(method, [*METHODS]),
        )
    if not 0 <= t <= 1:
        raise UserError(f"t is {t}", where="--t", allowed="from 0 (base) to 1 (tuned)")


def _mergekit_config(method: str, t: float, base: str, tuned: str) -> "MergeConfiguration":
    from mergekit.common import ModelPath, ModelReference
    from mergekit.config import InputModelDefinition, MergeConfiguration

    # ModelPath spelled out, because mergekit reads '@' and '+' in a plain string as revision and adapter.
    first, second = (ModelReference(model=ModelPath(path=path)) for path in (base, tuned))
    return MergeConfiguration(
        merge_method=method,
        base_model=first,
        models=[InputModelDefinition(model=first), InputModelDefinition(model=second)],
        parameters={"t": t},
    )


def _run_mergekit(config: "MergeConfiguration", work: Path) -> None:
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    options = MergeOptions(
        device="cpu", copy_tokenizer=False, write_model_card=False, out_shard_size=SHARD_BYTES, quiet=True
    )
    run_merge(config, str(work), options)
    # mergekit would keep the parents' files open, and known by their paths, for as long as the process lives.
    LoaderCache().loaders.clear()
