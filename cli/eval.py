"""`pdapt eval`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core import log
from .options import Json, Verify, show

evaluation = typer.Typer()

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]RUN|FOLDER...",
        help="A Hugging Face folder, a training run (its checkpoints), or a folder of `pdapt run` (base, checkpoints, "
        "merged). The names base, tuned and merged say what a folder is; else whoever made it does: an export, or a "
        "merge. Beside a base, any other NAME=FOLDER is a tuned one and compared with it; a folder without a name is "
        "only ranked.",
    ),
]
Roles = Annotated[
    list[str] | None, typer.Option("--role", help="NAME=base|tuned|merged|other: what a model is; repeat.")
]
Tasks = Annotated[
    list[str] | None, typer.Option(help="A task, a group (FR-MEDICAL, ...) or a pattern; repeat. By default all 28.")
]
Questions = Annotated[int | None, typer.Option("--limit", help="Only so many questions of each task.")]
MaxLength = Annotated[
    int | None, typer.Option(help="Window in tokens, prompt and answer together; by default the model's own.")
]


@evaluation.command("fetch")
def fetch(
    baselines: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BASELINE]...", help="Models to download, by `pdapt eval baselines`; none: the data."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder to make; of baselines, the folder of their folders.")],
    source: Annotated[
        Path | None,
        typer.Option(help="Folder with the data sets' own files, as OWNER/NAME/FILE: nothing is downloaded."),
    ] = None,
    tasks: Tasks = None,
    french_shots: Annotated[
        Path | None, typer.Option(help="Records like French-full.json's, for French MMLU's worked examples.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prepare the 28 tasks' data, or baselines, for a machine without internet.

    English MMLU and MMLU-ProX come from the Hub, at pinned commits. So does French medical MMLU, of which pdapt ships
    task files and a converter, but no question: its data are BioMistral/BioInstructQA's data.zip (485 MB).
    """
    if baselines:
        from ..eval.benchmark.baselines import fetch_baseline, find

        chosen = [find(name) for name in baselines]
        found = {each.name: fetch_baseline(each, out / each.name).config for each in chosen}
        print(json.dumps(found, indent=None if as_json else 2))
        return
    from ..eval.tasks.fetch import fetch as run
    from ..eval.tasks.suite import choose

    show(run(out, source=source, french_shots=french_shots, tasks=tuple(choose(tasks or []))), as_json)


@evaluation.command("baselines")
def baselines(as_json: Json = False) -> None:
    """The 35 models of the paper's appendix: any of them, and any other, can be evaluated beside your own."""
    from dataclasses import asdict

    from ..eval.benchmark.baselines import BASELINES

    if as_json:
        print(json.dumps({"baselines": [asdict(baseline) for baseline in BASELINES]}))
        return
    for baseline in BASELINES:
        print(f"{baseline.name:26}{baseline.kind:10}{baseline.hub}")


@evaluation.command("run")
def run(
    models: Models,
    *,
    data: Annotated[Path, typer.Option(help="Folder made by `pdapt eval fetch`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of all results; the same command goes on with it.")],
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="A task, a group (FR-MEDICAL, ...) or a pattern; repeat. By default all 28."),
    ] = None,
    backend: Annotated[str, typer.Option(help="hf, or vllm, which has not been run yet.")] = "hf",
    gpus: Annotated[int, typer.Option(help="GPUs a task: hf shares its questions out, vllm splits the model.")] = 1,
    batch_size: Annotated[
        str,
        typer.Option(
            help="Sequences a forward pass, or auto: found by the longest prompt with its answer, once for each model "
            "and kind of task."
        ),
    ] = "auto",
    limit: Questions = None,
    max_length: MaxLength = None,
    max_gen_toks: Annotated[
        int | None, typer.Option(help="Tokens an answer may have; by default the task's, 2,048 in MMLU-ProX.")
    ] = None,
    role: Roles = None,
    chat_template: Annotated[
        bool,
        typer.Option(
            "--chat-template",
            help="Ask this command's models through their own chat templates, worked examples as turns. Others may be "
            "asked without, into the same OUT.",
        ),
    ] = False,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Run the paper's 28 tasks on any number of models and checkpoints, each task in a process of its own.

    Results are OUT/MODEL/TASK/results.json and samples.jsonl, as lm-eval writes them. What is finished is not repeated,
    and several such commands with one OUT share the work: start one on each GPU.
    """
    from ..eval.benchmark.results_folder import status
    from ..eval.benchmark.run import Settings, run_benchmark
    from ..eval.harness.backends import Limits
    from ..eval.scores import SPOKEN
    from ..eval.tasks.suite import choose
    from ..launch.hf_models import EXPORTS
    from ..launch.score_models import resolve

    settings = Settings(backend, Limits(limit, max_length, max_gen_toks), batch_size, gpus, chat_template)
    found = resolve(models, out / EXPORTS, role, verify=verify)
    log.info(f"eval: roles: {', '.join(f'{model.name}: {SPOKEN[model.role]}' for model in found)}")
    run_benchmark(found, choose(tasks or []), data, out, settings, verify=verify)
    _show_status(status(out), as_json)


@evaluation.command("status")
def show_status(
    out: Annotated[Path, typer.Argument(help="Folder of `pdapt eval run`.")],
    as_json: Json = False,
) -> None:
    """What is done and what is left."""
    from ..eval.benchmark.results_folder import status

    _show_status(status(out), as_json)


def _show_status(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    from .terminal import print_table

    states = ("done", "running", "left")
    rows = [[name, *(str(len(tasks[state])) for state in states)] for name, tasks in found["models"].items()]
    print_table(f"{found['done']} done, {found['running']} running, {found['left']} left", ["model", *states], rows)


@evaluation.command("proxy")
def proxy(
    models: Models,
    *,
    heldout: Annotated[
        list[str],
        typer.Option(
            help="DOMAIN=PLACE of held-out documents: a folder (TOKENS/heldout), a file, or a pattern such as "
            "'TOKENS/heldout/medical-*.jsonl'; repeat."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of all results; the same command adds new checkpoints.")],
    limit: Questions = None,
    batch_size: Annotated[int, typer.Option(help="Sequences a forward pass.")] = 8,
    max_length: MaxLength = None,
    role: Roles = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the training runs among them have ended.")
    ] = False,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Fast figures while training goes on: held-out perplexity by source, log-probability of true answers."""
    from ..eval.harness.backends import Limits
    from ..launch.score_models import proxy as measure

    limits = Limits(limit, max_length)
    found = measure(
        models, heldout, out, limits=limits, batch_size=batch_size, follow=follow, roles=role, verify=verify
    )
    print(json.dumps(found, ensure_ascii=False, indent=None if as_json else 2))
