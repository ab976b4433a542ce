"""The merge stage: parents in, one model out, computed by mergekit on the CPU, one tensor at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import log
from ..core.errors import UserError
from ..core.files import remove
from ..core.hf.config import write_settings
from ..core.hf.weights import DTYPES, NAMES
from ..core.integrity import UnchangedFiles, hf_files
from ..core.log import counted
from ..core.manifest import Manifest, input_fingerprints, run_stage
from ..core.system.disk import check_space
from .card import describe
from .factors import Factors
from .methods import Average, Merge, choose_method
from .parents import check_values, open_parents, parameters, settings_folder, type_of, view

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration

SHARD_BYTES = 2_000_000_000
"""Size of an output shard, which mergekit holds in memory; its own default is 5 GB."""


def merge(
    base: Path,
    tuned: Path,
    out: Path,
    *,
    method: str = "slerp",
    t: float | Factors = 0.5,
    density: float | None = None,
    seed: int | None = None,
    verify: bool = True,
) -> Manifest:
    """Merge `tuned` into `base`, both Hugging Face Qwen3 folders of safetensors.

    SLERP (Shoemake 1985, as mergekit applies it to each tensor as one vector): with theta the angle between the two,
    sin((1-t) theta)/sin(theta) base + sin(t theta)/sin(theta) tuned, computed in FP32 and stored in the parents' dtype;
    linear if they are almost parallel (|cos theta| > 0.9995). Linear: (1-t) base + t tuned. The others add t times the
    difference tuned - base, in FP32, to the base: all of it (task arithmetic, Ilharco et al. 2023), its largest values
    (TIES, Yadav et al. 2023), or values drawn at random and scaled up (DARE, Yu et al. 2024).

    Args:
        base: the model that `t = 0` gives; the tokenizer is that of `settings_folder`.
        tuned: the model that `t = 1` gives (except for what TIES and DARE leave out).
        out: folder to make: weights, config.json, tokenizer, mergekit_config.yml, README.md, manifest.json.
        method: one of `METHODS`.
        t: how far to go from base to tuned, in [0, 1].
        density: share of the difference's values that TIES and DARE keep, in (0, 1]; by default 0.5.
        seed: seed of DARE's draw; by default 0.
        verify: whether the parents' files are compared with the hashes that were written with them.

    Raises:
        UserError: an unknown method, an option that is out of range or does not belong to the method, parents that
            cannot be merged, hold a NaN or are damaged, or another result at `out`; nothing is written then.
    """
    factors = t if isinstance(t, Factors) else Factors((float(t),))
    plan = choose_method(method, factors, density, seed)
    return _run("merge", plan, [base, tuned], out, verify=verify)


def average(models: Sequence[Path], out: Path, *, decay: float | None = None, verify: bool = True) -> Manifest:
    """Average checkpoints of one run, Hugging Face Qwen3 folders of safetensors, in FP32.

    Args:
        models: the checkpoints, the oldest first; for the tokenizer see `settings_folder`.
        out: folder to make, as by `merge`.
        decay: decay of an exponential moving average (see `Average.weights`), in (0, 1); by default all count equally.
        verify: as in `merge`.

    Raises:
        UserError: fewer than two models, a decay out of range, models that cannot be merged, hold a NaN or are damaged,
            or another result at `out`; nothing is written then.
    """
    if len(models) < 2:
        raise UserError("an average needs at least two checkpoints", where="CHECKPOINT...")
    if decay is not None and not 0 < decay < 1:
        raise UserError(f"decay is {decay}", where="--decay", allowed="between 0 and 1")
    return _run("average", Average(len(models), decay), models, out, verify=verify)


def _run(stage: str, plan: Merge | Average, folders: Sequence[Path], out: Path, *, verify: bool) -> Manifest:
    unchanged = UnchangedFiles({folder: hf_files(folder) for folder in folders})
    models = open_parents(folders, verify=verify)
    checked = check_values(stage, models, verify=verify)
    dtype, settings = type_of(models[0]), settings_folder(folders)

    def body(work: Path) -> dict[str, Any]:
        check_space(work, sum(tensor.nbytes for tensor in models[0].tensors.values()))
        log.info(f"{stage}: {plan}, {counted(len(models[0].tensors), 'tensor')}")
        views = work / ".parents"
        seen = [view(model, views / role) for role, model in zip(plan.roles, models, strict=True)]
        _run_mergekit(plan.mergekit([str(folder.resolve()) for folder in seen], dtype), work, plan.seed)
        remove(views)
        write_settings(settings, work, NAMES[DTYPES[dtype]])  # over what mergekit wrote
        unchanged.check()  # mergekit has read the files again after they were compared
        role = plan.roles[folders.index(settings)]
        describe(plan, input_fingerprints(work), dtype, folder=work, name=out.name, settings=role)
        return {"tensors": len(models[0].tensors), "parameters": parameters(models[0])} | checked

    return run_stage(stage, dict(zip(plan.roles, folders, strict=True)), plan.to_json(), out=out, body=body)


def _run_mergekit(config: "MergeConfiguration", work: Path, seed: int | None) -> None:
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    options = MergeOptions(
        device="cpu",
        copy_tokenizer=False,
        write_model_card=False,
        out_shard_size=SHARD_BYTES,
        random_seed=seed,
        quiet=True,
    )
    run_merge(config, str(work), options)
    # mergekit would keep the parents' files open, and remember them by their paths, until the process ends.
    LoaderCache().loaders.clear()
