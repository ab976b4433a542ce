"""Merge the last checkpoint with the base: at one point, or at several, of which a rule chooses one."""

from ...core import log
from ...core.errors import UserError
from ...core.log import counted
from ...core.manifest import renew
from ...merge.factors import point_name
from ..hf_models import CHOICE, CURVE, MERGES_FOLDER
from ..preflight import GENERAL
from ..prepare_text import general_files
from ..whole_run import WholeRun, base_folder
from .evaluate_models import SCORES, evaluate_heldout
from .export_checkpoints import exported_folders


def merge_models(whole: WholeRun) -> None:
    """Make the merge, or the merges of a sweep; a point that is there is not made again."""
    from ...merge.run import merge
    from ...merge.sweep import sweep

    points, base, last = whole.request.t, base_folder(whole), exported_folders(whole)[-1]
    if len(points) > 1:
        log.info(f"merge: SLERP of {last.name} with its base, {counted(len(points), 'point')}")
        sweep(base, last, whole.out / MERGES_FOLDER, points, verify=whole.verify)
        return
    log.info(f"merge: SLERP of {last.name} with its base, t = {points[0]:g}")
    merged = whole.hf / "merged"
    renew(merged, lambda _: merge(base, last, merged, t=points[0], verify=whole.verify))


def check_choice(whole: WholeRun) -> None:
    """Check, before training, that a rule can choose among several merges: it needs general text.

    Raises:
        UserError: it cannot.
    """
    if len(whole.request.t) > 1 and not general_files(whole.text):
        raise UserError(
            "several merges are asked for, and without general text no rule can choose one of them",
            where="--t",
            fix="give general text (--general PATH), or one t",
        )


def choose_merge(whole: WholeRun) -> None:
    """Evaluate base, merges and last checkpoint on the held-out documents, and choose one by the rule of `tradeoff`."""
    from ...eval.models import Model, Role
    from ...eval.statistics.tradeoff import build_tradeoff

    request, out, last = whole.request, whole.out / CHOICE, exported_folders(whole)[-1]
    merges = [whole.out / MERGES_FOLDER / point_name(t) for t in sorted(request.t)]
    tuned = [] if 1 in request.t else [last]  # the same weights
    models = [Model(folder.name, Role.CHECKPOINT, folder) for folder in [*merges, *tuned]]
    log.info(f"choose: {counted(len(merges), 'merge')}, with base and {last.name}")
    evaluate_heldout(whole, [Model("base", Role.BASE, base_folder(whole)), *models], out / SCORES)
    manifest = renew(
        out / CURVE,
        lambda _: build_tradeoff(
            out / SCORES, out / CURVE, domain=request.domain, general=GENERAL, max_loss=request.max_loss
        ),
    )
    log.info(f"choose: {manifest.counts['sentence']}")
