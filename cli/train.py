"""`pdapt train` and `pdapt launch`: a recipe trained here, or as a Slurm job."""

from pathlib import Path
from typing import Annotated

import typer

from .options import AllowEnv, Json, Overrides, RecipeName, Verify, json_text, show

Tokenizer = Annotated[Path | None, typer.Option(help="Folder of the base's tokenizer.json, for a root without hf/.")]


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    *,
    tokens: Annotated[Path | None, typer.Option(help="Folder made by `pdapt tokens build`.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same command continues it.")] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="Run (its newest checkpoint) or checkpoint root to start from; by default random weights."),
    ] = None,
    tokenizer: Tokenizer = None,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Stop after this step; run again to continue.")] = None,
    wall_time: Annotated[
        float | None, typer.Option(min=0, help="Minutes after which training saves and ends, with exit code 75.")
    ] = None,
    other_data: Annotated[
        bool, typer.Option("--other-data", help="Continue although the data or the tokenizer changed.")
    ] = False,
    verify: Verify = True,
    allow_env: AllowEnv = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Show what would be done on GPUs, without one.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe, or continue its run.

    Started alone, it starts the recipe's ranks on this machine; started by torchrun, it is one of them.

    On SIGTERM, SIGUSR1 or Ctrl-C it saves a checkpoint and ends.
    """
    from ..recipes.load import load

    loaded = load(recipe, overrides, allow_env=allow_env)
    if dry:
        from dataclasses import asdict

        from ..scaling.predicted_speed import predicted_speed
        from ..training.dry_run import as_text, dry_run
        from ..training.inputs import Inputs

        inputs = tokens and Inputs(tokens, base, tokenizer, verify)
        report = dry_run(loaded, out or Path("run"), base, inputs, speed=predicted_speed(loaded, tokens))
        print(json_text(asdict(report)) if as_json else as_text(recipe, loaded, report))
        return
    tokens, out = _given(tokens, "--tokens"), _given(out, "--out")
    _check_base(recipe, base)
    from ..scaling.predicted_speed import warn_of_local_layers
    from ..training.train import train as run

    warn_of_local_layers(loaded)
    manifest = run(
        loaded,
        tokens,
        out,
        base=base,
        tokenizer=tokenizer,
        stop_at=stop_at,
        wall_time=wall_time,
        other_data=other_data,
        verify=verify,
    )
    if manifest is not None:
        show(manifest, as_json)


def launch(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|FLOW", help="A recipe; with --on, the YAML file of a flow.")],
    overrides: Overrides = None,
    *,
    tokens: Annotated[Path, typer.Option(help="Folder made by `pdapt tokens build`.")] = Path("tokens"),
    base: Annotated[Path | None, typer.Option(help="Run or checkpoint root to start from.")] = None,
    tokenizer: Tokenizer = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("run"),
    on: Annotated[
        str | None,
        typer.Option(
            help="slurm: run all steps of FLOW, as jobs that wait for each other (docs/launch.md). nemo-run: the same "
            "as an experiment of NeMo-Run, on Slurm, or at the site local_cpu on this machine (docs/nemo.md)."
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            help="Where it runs: a site's name (generic, jean_zay_h100, local_cpu), or a YAML file; by default the "
            "flow's, or generic."
        ),
    ] = None,
    exclude_failed: Annotated[
        bool, typer.Option("--exclude-failed-nodes", help="After a crash, leave out the node whose rank ended first.")
    ] = False,
    verify: Verify = True,
    allow_env: AllowEnv = False,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the script, submit nothing. A recipe's script can only be printed.")
    ] = False,
) -> None:
    """Submit a flow as a chain of Slurm jobs (--on slurm) or to NeMo-Run, or write a recipe's Slurm script.

    Steps of a flow that are done are not run again. `pdapt status` works on --out; after --on slurm so do `logs` and
    `cancel`. Whatever `train` would refuse is refused here, before a job waits in the queue.

    With --on slurm, and with a recipe's script, a training job that is asked to stop saves a checkpoint and requeues
    itself; a job that a guard ended is held, with the reason; slurm/history.tsv in the run folder says how each start
    ended. With --on nemo-run, jobs are not held: docs/nemo.md says what they do.
    """
    from ..core.errors import UserError, check_known

    if on is not None:
        from .chain import On, launch_flow

        check_known(on, list(On), "place to run a flow", "--on")
        if overrides or tokens != Path("tokens") or base or tokenizer or exclude_failed or not verify or allow_env:
            raise UserError(
                "with a flow, only --out, --site and --print may be given",
                where=f"pdapt launch --on {on}",
                fix=f"write the rest into {recipe}",
            )
        launch_flow(recipe, out, site, on=On(on), only_print=print_)
        return
    from ..core import log
    from ..launch.job_time import describe_time
    from ..launch.recipe_job import recipe_job, train_command, wants_gpus
    from ..launch.sbatch import render_sbatch
    from ..launch.slurm_site import GENERIC, read_site
    from ..recipes.load import load
    from ..training.requested_run import Run
    from ..training.train import check_run

    if not print_:
        raise UserError(
            "`pdapt launch RECIPE` only prints the job",
            where="pdapt launch",
            fix="`pdapt launch RECIPE --print | sbatch`",
        )
    site = site or GENERIC
    loaded = load(recipe, overrides, allow_env=allow_env)
    run = Run(loaded, tokens, out, base, tokenizer=tokenizer, verify=verify)
    _check_base(recipe, base)
    check_run(run)
    name = Path(recipe).stem
    command = train_command(recipe, overrides or [], run, allow_env=allow_env)
    job, time = recipe_job(
        run, command, name=name, site=site, gpu=wants_gpus(name), measured=tokens, exclude_failed=exclude_failed
    )
    for sentence in describe_time(time, loaded, read_site(site)):
        log.info(f"launch: {sentence}")
    print(render_sbatch(job))


def _given(path: Path | None, option: str) -> Path:
    """The value of an option that only a dry run can do without."""
    from ..core.errors import UserError

    if path is None:
        raise UserError(f"{option} is missing", where="pdapt train", fix="give it, or try --dry-run")
    return path


def _check_base(recipe: str, base: Path | None) -> None:
    """Check that a recipe of continued pre-training, or of fine-tuning, is given what it starts from."""
    from ..core.errors import UserError

    name = Path(recipe).stem
    does = {"_cpt_": "continues the pre-training of a base model", "_sft_": "fine-tunes a model"}
    if base is None and (what := next((does[kind] for kind in does if kind in name), "")):
        raise UserError(
            f"{name} {what}, and --base is missing",
            where="--base",
            allowed="a run, or the folder that `pdapt convert import HF_FOLDER OUT` makes",
            fix="give it; to start from random weights, use a pre-training recipe or a file of your own",
        )
