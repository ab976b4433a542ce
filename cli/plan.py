"""`pdapt plan …`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.log import counted
from ..scaling.goodput import Failures
from .options import Json, Overrides, json_text, show

if TYPE_CHECKING:
    from ..recipes.schema import Recipe
    from ..scaling.fit import ErrorSummary
    from ..scaling.predict_run import Site as Machines

plan = typer.Typer()

Site = Annotated[
    str | None,
    typer.Option(
        help="Site, by name or YAML file, as `pdapt launch` takes it; or a JSON file of constants, as `pdapt bench "
        "scaling` writes it."
    ),
]


@plan.command("recipe")
def recipe(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    *,
    tokens: Annotated[
        Path | None, typer.Option(help="Folder of tokens; by default documents have the lengths of PARCOMED's Table 1.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Key of the recipe whose value stays, such as optimizer.grads; may be repeated."),
    ] = None,
    nics: Annotated[
        int | None, typer.Option(min=1, help="Network cards of a node; by default one for each GPU.")
    ] = None,
    nic_gbits: Annotated[
        float | None, typer.Option(min=1, help="Bandwidth of a network card in Gbit/s; by default the site's, or 400.")
    ] = None,
    gpu_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of a GPU-hour; by default the site's, if it has one.")
    ] = None,
    kwh: Annotated[float | None, typer.Option(min=0, help="Price of a kWh.")] = None,
    watts: Annotated[
        float | None,
        typer.Option(
            min=1, help="Power of a GPU in watts, with its share of node and cooling; by default the site's, or 1,000."
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder whose measured energy is shown for comparison.")] = None,
    site: Site = None,
    out: Annotated[Path | None, typer.Option(help="Recipe file to write, with the best settings.")] = None,
    as_json: Json = False,
) -> None:
    """Find the best parallelism of a recipe on its GPUs: what fits, how fast it is, what limits it, its cost."""
    from ..launch.planning.plan_recipe import Prices, lines, plan_recipe
    from ..recipes.load import load

    loaded = load(name, overrides, fitting=False)
    machines, price = _machines(site, {"nics": nics, "nic_gbits": nic_gbits, "watts": watts, "gpu_hour": gpu_hour})
    prices = Prices(gpu_hour=price, kwh=kwh)
    result = plan_recipe(loaded, tokens, _speed(site), site=machines, prices=prices, keep=tuple(keep or ()), run=run)
    if out is not None:
        _write(result.choice.recipe, out)
    if as_json:
        print(json_text(result.to_json()))
        return
    for line in lines(name, result):
        print(line)


def _speed(site: str | None) -> Path | None:
    """The file of a site's constants; None where no site is given."""
    from ..launch.slurm_site import speed_path

    return None if site is None else speed_path(site)


def _machines(site: str | None, given: dict[str, float | None]) -> tuple["Machines", float | None]:
    """The machines, and the price of a GPU-hour: as options say, else as the site does."""
    from ..launch.slurm_site import GENERIC, read_site

    cluster = read_site(GENERIC if site is None or site.endswith(".json") else site)
    chosen = replace(cluster, **{name: value for name, value in given.items() if value is not None})
    return chosen.machines(), chosen.gpu_hour


def _write(recipe: "Recipe", out: Path) -> None:
    from ..core.errors import UserError
    from ..core.files import write_text
    from ..recipes.load import to_yaml

    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"{out} is not the name of a recipe file", where="--out", allowed="a name that ends in .yaml")
    write_text(out, "# Chosen by `pdapt plan recipe`; predicted, not measured.\n" + to_yaml(recipe))


@plan.command("score")
def score(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON rows of measured speeds, as docs/planner.md describes.")
    ],
    site: Site = None,
    as_json: Json = False,
) -> None:
    """Predict measured speeds, and show the errors of the predictions."""
    from ..scaling.score_predictions import score_predictions

    result = score_predictions(file, _speed(site))
    if as_json:
        print(json_text(result.to_json()))
        return
    for row in result.rows:
        low, high = row.interval
        print(
            f"{row.id}  {row.model}: predicted {row.predicted:,.0f} ({low:,.0f} to {high:,.0f}), published "
            f"{row.published:,.0f} tokens/s/GPU, {row.error_pct:+.1f} %"
        )
        for note in (*row.assumed, *row.beyond):
            print(f"    {note}")
    print(f"mean absolute error {result.errors.mean:.2f} %, largest {result.errors.max:.2f} %")


@plan.command("fit")
def fit(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="Measured rows, as docs/planner.md describes; by default the published ones."
        ),
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="File to write the constants to.")] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="Site whose `speed` is fitted to FILE: two constants, and their errors.")
    ] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Show each row.")] = False,
    as_json: Json = False,
) -> None:
    """Fit the constants to the published calibration rows, and test them on models that were left out.

    With FILE, adjust that fit to speeds measured on your own machines; --out is then a file for --site. With FILE and
    --for, fit what a site has of its own, its network and a step's fixed cost, and leave the rest as published.
    """
    if for_ is not None:
        _fit_for(file, for_, out, as_json=as_json)
        return
    if file is not None:
        _adjust(file, out, as_json=as_json)
        return
    from ..scaling.fit import report, write_fit

    if out is not None:
        write_fit(out)
    fitted = report()
    if as_json:
        print(json_text(fitted.to_json()))
        return
    for name, value in asdict(fitted.constants).items():
        print(f"{name}: {value:.4g}")
    for name, stacks in fitted.sets.items():
        for stack, errors in stacks.items():
            print(f"{name}, {stack}: {_sizes(errors)}")
    for model, errors in fitted.models.items():
        print(f"left out, {model}: {_sizes(errors)}")
    for name, entries in fitted.rows.items() if rows else ():
        for row in entries:
            print(f"{name} {row.id} {row.model} ({row.stack}): {row.error_pct:+.1f} %")


def _fit_for(file: Path | None, site: str, out: Path | None, *, as_json: bool) -> None:
    """Fit a site's constants to its rows, and print how far off each row is."""
    from ..core.errors import UserError
    from ..launch.planning.site_speed import fit_for_site, lines

    if file is None or out is not None:
        raise UserError(
            "--for needs rows of measured speeds, and writes beside the site's file",
            where="--for",
            fix="`pdapt plan fit ROWS --for SITE`",
        )
    result, path = fit_for_site(file, site)
    if as_json:
        print(json_text(result.to_json() | {"out": str(path)}))
        return
    for line in lines(result):
        print(line)
    print(f"written: {path}")


def _adjust(file: Path, out: Path | None, *, as_json: bool) -> None:
    """Fit to a file's rows, and print how far off each was before and is now."""
    from ..core.files import write_json
    from ..scaling.measured import adjust

    result = adjust(file)
    if out is not None:
        write_json(out, result.site())
    if as_json:
        print(json_text(result.to_json()))
        return
    for row in result.errors_pct:
        print(f"{row.id}: error {row.before:+.1f} % with the published fit, {row.after:+.1f} % adjusted")


def _sizes(errors: "ErrorSummary") -> str:
    sizes = f"mean {errors.mean:.1f} %, median {errors.median:.1f} %, max {errors.max:.1f} %"
    rank = f", rank correlation {errors.rank_flops:.2f}" if errors.rank_flops is not None else ""
    return f"{counted(errors.rows, 'row')}, {sizes}{rank}"


@plan.command("curves")
def curves(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a recipe, or a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    overrides: Overrides = None,
    *,
    gpus: Annotated[int, typer.Option(min=1, help="Largest number of GPUs.")] = 16_384,
    gpu_years: Annotated[
        float, typer.Option(min=0.01, help="Mean years between failures of a GPU.")
    ] = Failures.gpu_years,
    restart: Annotated[float, typer.Option(min=0, help="Minutes that a restart takes.")] = Failures.restart_minutes,
    site: Site = None,
    as_json: Json = False,
) -> None:
    """Simulate scaling from the fewest GPUs that fit, goodput and time to train under failures, as figures and CSV."""
    from ..recipes.filling import filling
    from ..recipes.load import load
    from ..scaling.curves import draw

    loaded = load(name, overrides, fitting=False)
    failures = Failures(gpu_years=gpu_years, restart_minutes=restart)
    show(draw(loaded, filling(loaded, None), out, largest=gpus, failures=failures, site=_speed(site)), as_json)


@plan.command("compare")
def compare(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a recipe, or a YAML file.")],
    overrides: Overrides = None,
    *,
    other: Annotated[
        str,
        typer.Option(
            "--with",
            help="Way to train; fsdp-padded is the paper's: PyTorch's FSDP on padded rows, one row at a time on a GPU.",
        ),
    ] = "fsdp-padded",
    assume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Assumption about the other way: micro, grads, attention, fused or recompute; may be repeated.",
        ),
    ] = None,
    site: Site = None,
    as_json: Json = False,
) -> None:
    """Compare a recipe with another way to train on the same GPUs: predicted times, tokens, memory, and why."""
    from ..launch.planning.compare_recipes import compare as compare_ways
    from ..launch.planning.compare_recipes import lines
    from ..launch.planning.padded_fsdp import read_assumptions
    from ..recipes.load import load

    assumptions = read_assumptions(assume or [])
    loaded = load(name, overrides, fitting=False)
    machines, _ = _machines(site, {})
    result = compare_ways(loaded, other, _speed(site), site=machines, assumptions=assumptions)
    print(json_text(result.to_json()) if as_json else "\n".join(lines(name, result)))
