"""`pdapt eval …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core import log
from .options import AnyTasks, BatchSize, Heldout, Json, LimitQuestions, MaxLength, Tasks, Verify, json_text, show

if TYPE_CHECKING:
    from ..eval.benchmark.results_folder import Status

evaluation = typer.Typer()

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]RUN|FOLDER...",
        help="A Hugging Face folder, a training run (its checkpoints), or a folder of `pdapt run` (base, checkpoints, "
        "merged). A folder's role follows from its name if that is base, tuned or merged, and otherwise from the stage "
        "that made it (export or merge). If there is a base, any other NAME=FOLDER is a tuned model and is compared "
        "with it; a folder without a name is only ranked.",
    ),
]
Roles = Annotated[
    list[str] | None, typer.Option("--role", help="NAME=base|tuned|merged|other: role of a model; may be repeated.")
]
Backend = Annotated[str, typer.Option(help="lm-eval's backend: hf, or vllm (not tested yet).")]
AnyBatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size",
        help="Sequences in a forward pass, or auto: measured on the longest prompt and its answer, once for each model "
        "and kind of task.",
    ),
]
MaxAnswer = Annotated[
    int | None,
    typer.Option(
        "--max-gen-toks",
        help="Largest number of tokens of an answer; by default the task's, such as 2,048 in MMLU-ProX.",
    ),
]
ChatTemplate = Annotated[
    bool,
    typer.Option(
        "--chat-template",
        help="Prompt the models through their own chat templates, with worked examples as turns. Other models may be "
        "evaluated without them into the same OUT.",
    ),
]


@evaluation.command("fetch")
def fetch(
    baselines: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BASELINE]...", help="Models of `pdapt eval baselines` to download; by default the tasks' data."
        ),
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to make; with models, the folder that will contain theirs.")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data sets' own files, as OWNER/NAME/FILE or by `pdapt corpus collect`: no download."
        ),
    ] = None,
    tasks: Tasks = None,
    french_shots: Annotated[
        Path | None, typer.Option(help="Records in the form of French-full.json, for French MMLU's worked examples.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prepare the 28 tasks' data, or baselines, for a machine without internet.

    English MMLU and MMLU-ProX come from the Hub, at pinned commits. So does French medical MMLU (data.zip of
    BioMistral/BioInstructQA, 485 MB): pdapt includes its task files and a converter, but none of its questions. Tasks
    on numbers (--tasks FR-NUMBERS) are generated, without a download; tasks on clinical documents (--tasks FR-CLINICAL)
    are made from a folder of `pdapt corpus collect` (--source).
    """
    if baselines:
        from ..eval.benchmark.baselines import fetch_baseline, find_baseline

        chosen = [find_baseline(name) for name in baselines]
        fetched = {baseline.name: fetch_baseline(baseline, out / baseline.name).config for baseline in chosen}
        print(json_text(fetched, indent=None if as_json else 2))
        return
    from ..eval.tasks.all_tasks import choose_tasks
    from ..eval.tasks.fetch import fetch_tasks

    show(fetch_tasks(out, source=source, french_shots=french_shots, tasks=choose_tasks(tasks or [])), as_json)


@evaluation.command("baselines")
def baselines(as_json: Json = False) -> None:
    """List the 35 models of the paper's appendix. Any of them, or any other model, can be evaluated beside your own."""
    from dataclasses import asdict

    from ..eval.benchmark.baselines import BASELINES

    if as_json:
        print(json_text({"baselines": [asdict(baseline) for baseline in BASELINES]}))
        return
    for baseline in BASELINES:
        print(f"{baseline.name:26}{baseline.kind:10}{baseline.hub}")


@evaluation.command("run")
def run(
    models: Models,
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder made by `pdapt eval fetch`; tasks of your own need none.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of all results; the same command continues it.")],
    tasks: AnyTasks = None,
    backend: Backend = "hf",
    gpus: Annotated[int, typer.Option(help="GPUs for each task: hf divides the questions, vllm the model.")] = 1,
    batch_size: AnyBatchSize = "auto",
    limit: LimitQuestions = None,
    max_length: MaxLength = None,
    max_gen_toks: MaxAnswer = None,
    role: Roles = None,
    chat_template: ChatTemplate = False,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Run tasks, the paper's 28 or your own, on any number of models and checkpoints, each in a process of its own.

    Results are OUT/MODEL/TASK/results.json and samples.jsonl, as lm-eval writes them. Finished tasks are not repeated.
    Several such commands with one OUT share the work: start one on each GPU.
    """
    from ..eval.benchmark.results_folder import read_status
    from ..eval.benchmark.run import BenchmarkSettings, run_benchmark
    from ..eval.benchmark.task_files import files_of_tasks
    from ..eval.harness.backends import Limits
    from ..eval.models import ROLE_NAMES
    from ..eval.tasks.select_tasks import select_tasks
    from ..launch.hf_models import EXPORTS
    from ..launch.score_models import resolve

    limits = Limits(limit, max_length, max_gen_toks)
    settings = BenchmarkSettings(backend, limits, batch_size, gpus=gpus, chat_template=chat_template)
    selected = select_tasks(tasks or [])
    files_of_tasks(selected, data)  # reports missing files before a checkpoint is exported
    resolved = resolve(models, out / EXPORTS, role, verify=verify)
    log.info(f"eval: roles: {', '.join(f'{model.name}: {ROLE_NAMES[model.role]}' for model in resolved)}")
    run_benchmark(resolved, selected, data, out, settings=settings, verify=verify)
    _show_status(read_status(out), as_json)


@evaluation.command("status")
def show_status(
    out: Annotated[Path, typer.Argument(help="Folder of `pdapt eval run`.")],
    as_json: Json = False,
) -> None:
    """Show which tasks of which models are done, running and left."""
    from ..eval.benchmark.results_folder import read_status

    _show_status(read_status(out), as_json)


def _show_status(status: "Status", as_json: bool) -> None:
    if as_json:
        print(json_text(status.to_json()))
        return
    from .terminal import print_table

    rows = [[name, *(str(len(tasks)) for tasks in states.values())] for name, states in status.models.items()]
    totals = ", ".join(f"{status.count(state)} {state}" for state in status.states)
    print_table(totals, ["model", *status.states], rows)


@evaluation.command("proxy")
def proxy(
    models: Models,
    *,
    heldout: Heldout,
    out: Annotated[Path, typer.Option("--out", help="Folder of all results; the same command adds new checkpoints.")],
    limit: LimitQuestions = None,
    batch_size: BatchSize = 8,
    max_length: MaxLength = None,
    role: Roles = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue until the training runs among them have ended.")
    ] = False,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Measure held-out perplexity by source, and the log-probability of true answers: fast, while training goes on."""
    from ..eval.harness.backends import Limits
    from ..launch.score_models import proxy as measure

    limits = Limits(limit, max_length)
    scores = measure(
        models, heldout, out, limits=limits, batch_size=batch_size, follow=follow, roles=role, verify=verify
    )
    print(json_text(scores, indent=None if as_json else 2))
