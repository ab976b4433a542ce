"""`pdapt merge …`."""

from pathlib import Path
from typing import Annotated

import typer

from ..launch.run_defaults import MAX_LOSS
from .options import AnyTasks, BatchSize, Heldout, Json, LimitQuestions, MaxLength, MaxLoss, Verify, json_text, show

merge = typer.Typer()

Base = Annotated[Path, typer.Argument(help="Hugging Face folder of the base.")]
Tuned = Annotated[
    Path,
    typer.Argument(help="Hugging Face folder of the adapted model, or a Megatron checkpoint, which is exported first."),
]


TasksData = Annotated[
    Path | None,
    typer.Option(
        help="Folder of `pdapt eval fetch`: base, tuned and proposed point are then evaluated on its tasks (--tasks)."
    ),
]


@merge.command("run")
def merge_run(
    base: Base,
    tuned: Tuned,
    out: Annotated[Path, typer.Argument(help="Hugging Face folder to make.")],
    *,
    method: Annotated[
        str, typer.Option(help="Merge method: slerp, linear, task_arithmetic, ties, dare_linear or dare_ties.")
    ] = "slerp",
    t: Annotated[
        list[str] | None,
        typer.Option(
            help="0 is the base, 1 the adapted model; 0.2,0.8 goes from one to the other over the layers; MODULE=0.3 "
            "(attention, mlp, norms, embeddings) is for that module alone and may be repeated. By default 0.5."
        ),
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Share of the difference kept by TIES, DARE; by default 0.5.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of DARE's draw; by default 0.")] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Merge a model with its base, through mergekit."""
    from ..launch.hf_models import exported
    from ..merge.factors import parse_factors
    from ..merge.methods import choose_method
    from ..merge.run import merge as run

    factors = parse_factors(t or [])
    choose_method(method, factors, density, seed)  # reports a mistake before a checkpoint is exported
    with exported([tuned], out, verify=verify) as (model,):
        show(run(base, model, out, method=method, t=factors, density=density, seed=seed, verify=verify), as_json)


@merge.command("sweep")
def merge_sweep(
    base: Base,
    tuned: Tuned,
    out: Annotated[Path, typer.Argument(help="Folder to make; each point is a folder in it: OUT/t0.1, OUT/t0.2, …")],
    *,
    t: Annotated[
        str, typer.Option(help="Values of t: BEGIN:END:STEP, the end included, or a list such as 0.2,0.5.")
    ] = "0.1:0.9:0.1",
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Merge with the base by SLERP at many t: nine points cost less than two merges.

    Points that exist already are kept.
    """
    from dataclasses import asdict

    from ..launch.hf_models import EXPORTS, as_hf
    from ..merge.factors import parse_points, point_name
    from ..merge.sweep import sweep

    points = parse_points(t)
    made = sweep(base, as_hf(tuned, out / EXPORTS, verify=verify), out, points, verify=verify)
    if as_json:
        print(json_text({point_name(point): asdict(manifest) for point, manifest in made.items()}))
    else:
        print("\n".join(str(out / point_name(point)) for point in made))


@merge.command("average")
def merge_average(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(metavar="CHECKPOINT...", help="Checkpoints of one run, oldest first: Hugging Face or Megatron."),
    ],
    *,
    out: Annotated[
        Path, typer.Option(help="Hugging Face folder to make; in a sweep's folder it becomes a point of the curve.")
    ],
    decay: Annotated[
        float | None, typer.Option(help="Decay of an exponential moving average; by default all have the same weight.")
    ] = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Average checkpoints along a run, through mergekit."""
    from ..launch.hf_models import exported
    from ..merge.run import average

    with exported(checkpoints, out, verify=verify) as models:
        show(average(models, out, decay=decay, verify=verify), as_json)


@merge.command("choose")
def merge_choose(
    base: Base,
    tuned: Tuned,
    sweep: Annotated[Path, typer.Argument(help="Folder of the points, made by `pdapt merge sweep`.")],
    *,
    heldout: Heldout,
    out: Annotated[Path, typer.Option(help="Folder to make, with scores and curve.")],
    domain: Annotated[str | None, typer.Option(help="Domain that should improve, if there are several.")] = None,
    general: Annotated[str, typer.Option(help="Domain that must not lose more than --max-loss.")] = "general",
    max_loss: MaxLoss = MAX_LOSS,
    limit: LimitQuestions = None,
    batch_size: BatchSize = 8,
    max_length: MaxLength = None,
    data: TasksData = None,
    tasks: AnyTasks = None,
    verify: Verify = True,
    as_json: Json = False,
) -> None:
    """Evaluate a sweep on held-out text, plot the domain against general text, and propose a point by a rule.

    The rule: of the points that lose at most --max-loss in the general domain (the upper bound of the change of
    perplexity per byte against the base, paired over documents, one-sided at 0.05 shared by all points), the one with
    the lowest perplexity in the domain; the base if there is no such point, or if none is better. Held-out text
    decides, never the tasks that are reported: with --data or --tasks these are run afterwards.
    """
    from ..eval.benchmark.run import BenchmarkSettings
    from ..eval.benchmark.task_files import files_of_tasks
    from ..eval.harness.backends import Limits
    from ..eval.statistics.tradeoff import Tradeoff
    from ..eval.tasks.select_tasks import select_tasks
    from ..launch.choose_merge import Rule, choose, run_tasks, table
    from ..launch.hf_models import EXPORTS, as_hf

    asked = select_tasks(tasks or []) if tasks or data else []
    files_of_tasks(asked, data)  # now, and not after an hour
    tuned = as_hf(tuned, sweep / EXPORTS, verify=verify)
    rule, limits = Rule(general, domain, max_loss), Limits(limit, max_length)
    manifest = choose(
        base,
        tuned,
        sweep,
        heldout=heldout,
        out=out,
        rule=rule,
        limits=limits,
        batch_size=batch_size,
        verify=verify,
    )
    if asked:
        settings = BenchmarkSettings(limits=limits, batch_size=batch_size)
        run_tasks(base, tuned, sweep, out, data=data, tasks=asked, settings=settings, verify=verify)
    if as_json:
        print(json_text(Tradeoff.read(out / "curve").to_json() | {"sentence": manifest.counts["sentence"]}))
        return
    print("\n".join([*table(out), manifest.counts["sentence"], f"Curve: {out / 'curve'}"]))
