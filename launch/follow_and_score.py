"""Follow a run, and evaluate what is exported."""

from collections.abc import Callable
from pathlib import Path

from ..conversion.follow import follow
from .hf_models import TASKS


def follow_run(
    run: Path, out: Path | None, heldout: list[str], *, keep_last: int | None, poll: float, once: bool, verify: bool
) -> list[str]:
    """Export each checkpoint of a run; where held-out text is given, evaluate it before the next.

    Args:
        run: run folder of `pdapt train`.
        out: see `follow`; by default `hf` in the run folder.
        heldout: `DOMAIN=PATH`; scores go to `<out>/scores/<checkpoint>`.
        keep_last, poll, once, verify: see `follow`.
    """
    out = out or run / "hf"
    then = _evaluation(heldout, out, verify=verify) if heldout else None
    return follow(run, out, keep_last=keep_last, poll=poll, once=once, then=then, verify=verify)


def _evaluation(heldout: list[str], out: Path, *, verify: bool) -> Callable[[Path], None]:
    from ..eval.heldout.build_tasks import build_tasks
    from ..eval.heldout.domains import read_domains
    from ..eval.heldout.evaluate import evaluate
    from ..eval.models import Model, Role

    tasks, scores = out / TASKS, out / "scores"
    build_tasks(read_domains(heldout, verify=verify), tasks)

    def then(folder: Path) -> None:
        evaluate([Model(folder.name, Role.CHECKPOINT, folder)], tasks, scores / folder.name, verify=verify)

    return then
