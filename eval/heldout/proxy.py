"""What can be known of a checkpoint in a minute, while training goes on.

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
from ..scores import Model, Scores
from ..scoring import score
from .build_tasks import read_tasks
from .evaluate import check_models, models_damage_first, prompts_cut, run_units, tell, warnings_of

PROXY = "proxy.json"


def measure(
    models: list[Model],
    tasks: Path,
    out: Path,
    *,
    limits: Limits | None = None,
    batch_size: int = 8,
    verify: bool = True,
) -> Scores:
    """Score models on held-out text (stage `proxy`, a folder `<out>/<model>` each).

    A model that was measured before is not measured again, so this is called once more for every new checkpoint.
    Writes `<out>/proxy.json`: the scores of all of them, paired with the base's where there is one.

    Args:
        models: all that are to be compared; checkpoints in order of training.
        tasks: a folder made by `heldout.build_tasks`.
        out: folder of all results.
        limits: see `Limits`; questions are in random order.
        batch_size: sequences per forward pass.
        verify: see `eval.run.evaluate`.

    Raises:
        UserError: a model's folder is unusable, or `<out>/<model>` holds other results.
        EvaluationFailed: lm-eval failed.
    """
    limits = limits or Limits()
    with models_damage_first(models, verify=verify):
        check_models(models)
        told = tell(models, limits)
    left = {model.name: model.path for model in models if not (out / model.name / MANIFEST_FILE).is_file()}
    if left:
        check("eval", {tasks: file_names(tasks)}, verify=verify)
    check_weights(left, verify=verify)
    config = {"questions": limits.questions, "max_length": limits.max_length}
    for model in models:

        def body(work: Path, name: str = model.name) -> dict[str, Any]:
            run_units([(name, work)], told, tasks, limits, batch_size)
            return {"tasks": len(list(work.glob("[!.]*")))} | prompts_cut(work) | {"warnings": warnings_of(work)}

        inputs = {"model": model.path, "tasks": tasks}
        run_stage("proxy", inputs, config, out / model.name, body, resumes=True)
    found = score(out, models, read_tasks(tasks))
    write_json(out / PROXY, found.to_json())
    return found
