"""The steps of a chain's folder: those of its run's request, or those that another command has listed there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import json_text, read_object
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE
from ..request import Request, read_request
from ..steps import Place, Step, flow_steps, is_done, parts_left

STEPS_FILE = "chain.json"


@dataclass(frozen=True)
class FolderSteps:
    """The steps of a folder.

    Attributes:
        title: of the whole.
        steps: in an order in which they can be done.
        request: of a run of all stages; None for listed steps, each of which is done once its outputs exist.
    """

    title: str
    steps: list[Step]
    request: Request | None = None

    def done(self, step: Step, run: Path) -> bool:
        """Whether a step is done."""
        if self.request is not None:
            return is_done(step, self.request, run)
        return all((run / name / MANIFEST_FILE).is_file() for name in step.outputs)

    def left(self, step: Step, run: Path) -> list[int]:
        """The parts of a step that are not done."""
        if self.request is not None:
            return parts_left(step, self.request, run)
        return [] if self.done(step, run) else [0]


def read_steps(run: Path) -> FolderSteps:
    """The steps of a folder.

    Raises:
        UserError: the folder holds no run, or its record is damaged.
    """
    if (run / STEPS_FILE).is_file():
        held = read_object(run / STEPS_FILE)
        return FolderSteps(held.text("title"), [_step(item, held.where) for item in held.list("steps")])
    request = read_request(run)
    return FolderSteps(request.title, flow_steps(request), request)


def _step(item: Any, where: str) -> Step:
    if not isinstance(item, dict):
        raise UserError("a step is not an object", where=where)
    held = JsonObject(item, where)
    place = held.text("place")
    if place not in list(Place):
        raise UserError(f"no place is called {place!r}", where=where, allowed=", ".join(Place))
    names = {key: tuple(map(str, held.list(key))) for key in ("needs", "outputs")}
    if not names["outputs"]:
        raise UserError(f"the step {held.text('name')} has no output", where=where, allowed="a folder, or more")
    # Logs, notes and outputs are looked for under these names.
    inside = [not Path(name).is_absolute() and ".." not in Path(name).parts for name in names["outputs"]]
    if not all(inside) or not re.fullmatch(r"\w+", held.text("name"), re.ASCII):
        raise UserError(f"{held.text('name')!r} is not a step of this folder", where=where)
    return replace(Step(held.text("name"), held.text("summary"), (), ()), place=Place(place), **names)


def steps_text(title: str, steps: list[Step], settings: Mapping[str, Any]) -> str:
    """The content of a list of steps.

    Args:
        title: of the whole.
        steps: each in one part, and beside none.
        settings: that the steps' results depend on, as JSON values.
    """
    assert all(step.parts == 1 and not step.beside for step in steps)
    keys = ("name", "summary", "needs", "outputs", "place")
    listed = [{key: getattr(step, key) for key in keys} for step in steps]
    return json_text({"title": title, "steps": listed, "settings": dict(settings)})
