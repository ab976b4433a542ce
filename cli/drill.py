"""`pdapt drill`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import Failed, UserError
from .options import Json

if TYPE_CHECKING:
    from ..launch.drills.kill_tally import Kill


def drill(
    kills: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Kill a flow of about a minute on this machine N times, each at a moment drawn from all the time that "
            "it takes, start it again, and compare weights, losses, scores and tables with the undisturbed flow's.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the moments; by default random, and printed.")] = None,
    resume: Annotated[
        bool, typer.Option("--continue", help="Go on with the kills that --out holds, up to N in all.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of what came out.")] = Path("runs/drills"),
    as_json: Json = False,
) -> None:
    """Disturb a tiny flow on purpose, and compare what comes out.

    Prints a table in Markdown. Exit code 1 where a result differs, or a flow did not go on. docs/reliability.md has
    what came out of it.
    """
    if kills is None:
        raise UserError("no drill is named", where="pdapt drill", fix="give --kills N")
    _kill(kills, seed, out, resume, as_json=as_json)


def _kill(count: int, seed: int | None, out: Path, resume: bool, *, as_json: bool) -> None:
    from dataclasses import asdict

    from ..launch.drills.kill_tally import Outcome, read_kills, tally
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
    print(json.dumps({"kills": [asdict(kill) for kill in every]}) if as_json else "\n".join(tally(every)))
    wrong = [kill for kill in every if kill.outcome in (Outcome.DIFFERENT, Outcome.FAILED)]
    if wrong:
        raise Failed(f"{len(wrong)} of {len(every)} kills: {wrong[0].problem}\n  where: {folder}")


def _seed(given: int | None, held: list["Kill"]) -> int:
    import random

    from ..core import log

    if given is None:
        given = held[0].seed if held else random.SystemRandom().randrange(10**6)
        log.info(f"drill: seed {given}")
    return given
