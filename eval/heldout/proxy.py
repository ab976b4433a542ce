"""`pdapt eval proxy`: scores of checkpoints in a minute, while training goes on.

Held-out perplexity of every source, and the log-probability of true answers, which moves long before the 28 tasks'
accuracies do.
"""

from pathlib import Path
from typing import Any

from ...core.files import write_json
from ...core.integrity import check, file_names
from ...core.manifest import MANIFEST_FILE, run_stage
from ..harness.backends import Limits
from ..harness.check_weights import check_weights
from ..models import Model
from ..scores import PROXY_FILE, Scores
from .evaluate import (
    check_models,
    document_arguments,
    models_damage_first,
    notes_and_warnings,
    run_evaluations,
)
from .scoring import compute_scores
from .task_index import read_tasks


def run_proxy(
    models: list[Model],
    tasks: Path,
    out: Path,
    *,
    limits: Limits | None = None,
    batch_size: int = 8,
    verify: bool = True,
) -> Scores:
    """Score models on held-out text (stage `proxy`, a folder `<out>/<model>` each).

    A model that has its scores is not scored again, so this may be called again for every new checkpoint.
    Writes `<out>/proxy.json`: the scores of all of them, paired with the base's where there is one.

    Args:
        models: the models to compare; checkpoints in order of training.
        tasks: a folder made by `heldout.build_tasks`.
        out: folder of all results.
        limits: see `Limits`; questions are in random order.
        batch_size: sequences per forward pass.
        verify: see `evaluate`.

    Raises:
        UserError: a model's folder is unusable, or `<out>/<model>` holds other results.
        EvaluationFailed: lm-eval failed.
    """
    limits = limits or Limits()
    with models_damage_first(models, verify=verify):
        check_models(models)
        arguments = document_arguments(models, limits)
    unfinished = {model.name: model.path for model in models if not (out / model.name / MANIFEST_FILE).is_file()}
    if unfinished:
        check("eval", {tasks: file_names(tasks)}, verify=verify)
    check_weights(unfinished, verify=verify)
    config = {"questions": limits.questions, "max_length": limits.max_length}
    for model in models:

        def body(work: Path, name: str = model.name) -> dict[str, Any]:
            run_evaluations([(name, work)], arguments, tasks, limits=limits, batch_size=batch_size)
            return {"tasks": len(list(work.glob("[!.]*")))} | notes_and_warnings(work)

        inputs = {"model": model.path, "tasks": tasks}
        run_stage("proxy", inputs, config, out=out / model.name, body=body, resumes=True)
    scores = compute_scores(out, models, read_tasks(tasks))
    write_json(out / PROXY_FILE, scores.to_json())
    return scores
