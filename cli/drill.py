"""`pdapt drill`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import Failed, UserError
from .options import Json, json_text

if TYPE_CHECKING:
    from ..launch.drills.kill_tally import Kill


def drill(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Drills on this machine's Slurm; see --list.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Do all drills of --list.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the drills, and what happens in each.")] = False,
    site: Annotated[
        str, typer.Option(help="Name of a site, or a YAML file; the ranks take cores of two of its nodes.")
    ] = "local_cpu",
    kills: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Without Slurm: N times, start a flow of about a minute on this machine, kill it at a random moment, "
            "start it again, and compare tokens, losses, weights, scores and tables.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the random moments; by default a random one, which is printed.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--continue", help="Continue the kills recorded in --out, up to N in all.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for runs and results; on Slurm, one that all nodes share.")] = Path(
        "runs/drills"
    ),
    as_json: Json = False,
) -> None:
    """Disturb a tiny training or flow on purpose, and compare its results with those of an undisturbed one.

    Prints a table in Markdown. Exit code 1 if a result differs or a run does not continue. docs/reliability.md shows
    the results so far.
    """
    if sum([bool(names), every, listed, kills is not None]) != 1:
        raise UserError(
            "no drill is named, or more than one kind of drill is given",
            where="pdapt drill",
            fix="give exactly one of NAMEs, --all, --list and --kills N",
        )
    if kills is None and (seed is not None or resume):
        raise UserError("--seed and --continue belong to --kills", where="pdapt drill", fix="leave them out")
    if listed:
        _list(as_json=as_json)
    elif kills is not None:
        _kill(kills, seed, out, resume, as_json=as_json)
    else:
        _drill(names or [], site, out, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from ..launch.drills.slurm_drills import DRILLS

    if as_json:
        print(json_text({"drills": {each.name: each.summary for each in DRILLS}}))
        return
    for each in DRILLS:
        print(f"{each.name}: {each.summary}{' (needs an operator)' if each.operator else ''}")


def _drill(names: list[str], site: str, out: Path, *, as_json: bool) -> None:
    from ..launch.drills.slurm_drills import WRONG, drill_table, run_drills

    results = run_drills(names, out.resolve() / "slurm", site)
    print(json_text({"drills": [asdict(each) for each in results]}) if as_json else "\n".join(drill_table(results)))
    wrong = [each for each in results if each.outcome in WRONG]
    if wrong:
        raise Failed(f"{', '.join(each.name for each in wrong)}: {wrong[0].words}\n  where: {out}")


def _kill(count: int, seed: int | None, out: Path, resume: bool, *, as_json: bool) -> None:
    from ..launch.drills.kill_tally import WRONG, read_kills, tally
    from ..launch.drills.kills import Campaign
    from ..launch.drills.tiny_flow import TinyFlow

    folder = out.resolve() / "kills"
    held = read_kills(folder)
    if held and not resume:
        raise UserError(
            f"{folder} already holds {len(held)} kills", where="--out", fix="add --continue, or give another --out"
        )
    campaign = Campaign(TinyFlow(folder / "flow"), folder, _seed(seed, held))
    every = campaign.kill_until(count)
    print(json_text({"kills": [asdict(kill) for kill in every]}) if as_json else "\n".join(tally(every)))
    wrong = [kill for kill in every if kill.outcome in WRONG]
    if wrong:
        raise Failed(f"{len(wrong)} of {len(every)} kills: {wrong[0].problem}\n  where: {folder}")


def _seed(given: int | None, held: list["Kill"]) -> int:
    import random

    from ..core import log

    if given is None:
        given = held[0].seed if held else random.SystemRandom().randrange(10**6)
        log.info(f"drill: seed {given}")
    return given
