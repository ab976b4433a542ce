"""A flow as one list of steps: what each is called, needs and leaves, where it runs, and how to tell that it is done.

`pdapt run` does the steps one after another in its process; `pdapt launch` submits them as jobs that wait for each
other. What a step does is `pipeline.WORK`.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from ..core.errors import UserError, check_known
from ..core.files import read_object, write_json
from ..core.manifest import MANIFEST_FILE
from ..core.slurm import ARRAY_VARIABLE
from ..merge.factors import point_name
from .hf_models import CHOICE, CURVE, MERGES_FOLDER
from .preflight import NONE
from .request import HARMLESS, Request, TaskRuns, later_choices

DONE = ".steps"
"""Folder of a run in which each finished step writes down what it was done for."""


class Place(StrEnum):
    """Where a step runs."""

    CPU = "cpu"
    """One process on cores."""
    GPU = "gpu"
    """One process with one GPU, where the site has any."""
    RANKS = "ranks"
    """The ranks of a recipe."""


@dataclass(frozen=True)
class Step:
    """A step of a flow.

    Attributes:
        name: in commands and folders.
        summary: what it does, for readers of scripts and tables.
        needs: names of the steps whose results it reads.
        outputs: folders of the run that it leaves, each with its manifest.
        place: where it runs.
        choices: of the options that may change after training, those that it depends on.
        hours: longest time of its job, in hours; None for as long as the site allows, and for ranks the plan's.
        after_training: whether training depends on nothing of it.
        parts: that it is divided into, which jobs of an array do.
        text: whether it makes text, for which a base's weights are not looked at.
        divided: whether it works on the parts of the text, where that is divided.
        beside: those of `needs` beside which it works in a chain: it begins when they have begun.
    """

    name: str
    summary: str
    needs: tuple[str, ...]
    outputs: tuple[str, ...]
    place: Place = Place.CPU
    choices: tuple[str, ...] = ()
    hours: float | None = None
    after_training: bool = False
    parts: int = 1
    text: bool = False
    divided: bool = False
    beside: tuple[str, ...] = ()

    def command(self, run: Path) -> list[str]:
        """The command that does this step alone; the ranks of a recipe have `pdapt train`."""
        return ["pdapt", "run", "--out", str(run), "--step", self.name]


def flow_steps(request: Request) -> list[Step]:
    """The steps of a request, in an order in which they can be done."""
    own = request.base is not None
    general = own and request.general != [NONE]
    base = Step("base", "import the base", (), ("base",), hours=4)
    if not own:
        base = Step("base", "train a tiny base", ("tokens", "tasks"), ("base",), place=Place.RANKS)
    judged = ("documents", "questions", *(("general",) if own else ()))
    merges = _merge_steps(request, judged)
    chosen = tuple(dict.fromkeys([*merges[-1].choices, *judged]))
    return [
        *_text_steps(request, judged, general=general),
        Step(
            "tasks",
            "make tasks from held-out documents",
            ("tokens", "general") if general else ("tokens",),
            ("tasks",),
            choices=judged,
            hours=2,
        ),
        base,
        Step("cpt", "continued pre-training", ("tasks", "base"), ("cpt",), place=Place.RANKS),
        Step(
            "hf",
            "export base and checkpoints",
            ("cpt",),
            () if own else ("hf/base",),
            after_training=True,
            beside=("cpt",),
        ),
        Step(
            "proxy",
            "evaluate each checkpoint on held-out documents",
            ("hf",),
            (),
            place=Place.GPU,
            choices=judged,
            after_training=True,
            beside=("hf",),
        ),
        *merges,
        Step(
            "scores",
            "evaluate on held-out documents",
            (merges[-1].name, "proxy"),
            ("scores",),
            place=Place.GPU,
            choices=chosen,
            after_training=True,
        ),
        Step(
            "report",
            "write the report",
            ("scores",),
            ("report",),
            choices=("title", *chosen),
            hours=1,
            after_training=True,
        ),
        *(_task_steps(request, request.benchmark, merges[-1]) if request.benchmark else []),
    ]


def _text_steps(request: Request, judged: tuple[str, ...], *, general: bool) -> list[Step]:
    """The steps that make text: what is trained on, and the general text that is only evaluated on, if there is any."""
    trained, without = _trained(request), "leave out documents with questions of tasks"
    steps = [Step("corpus", "read and clean the text", (), ("corpus",), text=True, divided=True)]
    if request.decontaminate:
        steps.append(Step(trained, without, ("corpus",), ("decontaminated",), text=True, divided=True))
    if request.base is None:
        steps.append(Step("tokenizer", "train a tokenizer", (trained,), ("tokenizer",), text=True))
    steps.append(Step("tokens", "tokenize", (steps[-1].name,), ("tokens",), text=True, divided=True))
    if general:
        steps.append(Step("general", "general text to evaluate on", ("corpus",), (), choices=judged, text=True))
    return steps


def _trained(request: Request) -> str:
    """Name of the step that leaves the documents that are trained on."""
    return "decontaminate" if request.decontaminate else "corpus"


def _merge_steps(request: Request, judged: tuple[str, ...]) -> list[Step]:
    """The merge with the base; or several of them, and the choice of one by a rule, on held-out documents."""
    if len(request.t) == 1:
        return [
            Step("merge", "merge with the base", ("hf",), ("hf/merged",), choices=("t",), hours=4, after_training=True)
        ]
    folders = tuple(f"{MERGES_FOLDER}/{point_name(t)}" for t in request.t)
    return [
        Step(
            "merge",
            "merge with the base at each t",
            ("hf",),
            folders,
            choices=("t",),
            hours=4,
            after_training=True,
        ),
        Step(
            "choose",
            "evaluate the merges on held-out documents, and choose one",
            ("merge", "proxy"),
            (f"{CHOICE}/{CURVE}",),
            place=Place.GPU,
            choices=("t", "max_loss", *judged),
            after_training=True,
        ),
    ]


def _task_steps(request: Request, benchmark: TaskRuns, merge: Step) -> list[Step]:
    """The steps of tasks: the search for their questions in the training documents, a part per task, and the report.

    `merge` leaves the merged model.
    """
    from ..eval.tasks.select_tasks import searchable_tasks

    choices, parts = (*merge.choices, "benchmark"), len(searchable_tasks(benchmark.tasks))
    summary = "do the tasks: base, last checkpoint and merged model"
    return [
        Step(
            "contamination",
            "look for the tasks' questions in the training documents",
            (_trained(request),),
            ("contamination",),
            choices=("benchmark",),
            after_training=True,
            text=True,
            divided=True,
        ),
        Step(
            "benchmark",
            summary,
            (merge.name,),
            (),
            place=Place.GPU,
            choices=choices,
            after_training=True,
            parts=parts,
        ),
        Step(
            "comparison",
            "write the report on the tasks",
            ("contamination", "benchmark"),
            ("comparison",),
            choices=choices,
            hours=1,
            after_training=True,
        ),
    ]


def step_called(name: str, steps: list[Step]) -> Step:
    """The step of a name.

    Raises:
        UserError: the flow has none of that name.
    """
    check_known(name, [step.name for step in steps], "step of this run", "--step")
    return next(step for step in steps if step.name == name)


def array_part(step: Step) -> int | None:
    """The part of a step that this job of an array is to do; None where it is no such job.

    Raises:
        UserError: the array has more jobs than the step has parts.
    """
    text = os.environ.get(ARRAY_VARIABLE, "")
    if step.parts == 1 or not (text.isascii() and text.isdigit()):
        return None
    if int(text) >= step.parts:
        raise UserError(f"{ARRAY_VARIABLE} is {text}", where=step.name, allowed=f"0 to {step.parts - 1}")
    return int(text)


def depending(name: str, steps: list[Step]) -> list[Step]:
    """The steps that need a step, or need one that does."""
    names = {name}
    for step in steps:  # which are in order
        if names & set(step.needs):
            names.add(step.name)
    return [step for step in steps if step.name in names - {name}]


def write_done(step: Step, request: Request, run: Path, part: int = 0) -> None:
    """Write down that a step, or a part of it, is done, and what for."""
    write_json(_done_file(step, run, part), {"request": _key(step, request)})


def _done_file(step: Step, run: Path, part: int) -> Path:
    return run / DONE / (f"{step.name}.json" if step.parts == 1 else f"{step.name}-{part}.json")


def is_done(step: Step, request: Request, run: Path) -> bool:
    """Whether a step was done for this request, and what it left is still there.

    Training writes its manifest at its end, and refuses another request itself.
    """
    there = all((run / name / MANIFEST_FILE).is_file() for name in step.outputs)
    if step.place == Place.RANKS:
        return there
    return there and not parts_left(step, request, run)


def parts_left(step: Step, request: Request, run: Path) -> list[int]:
    """The parts of a step that nothing says are done for this request."""
    return [part for part in range(step.parts) if not _is_noted(step, request, run, part)]


def _is_noted(step: Step, request: Request, run: Path, part: int) -> bool:
    try:
        return read_done(step, run, part) == _key(step, request)
    except UserError:
        return False


def read_done(step: Step, run: Path, part: int = 0) -> str:
    """The options that a step, or a part of it, was done for, as `write_done` has written it.

    Raises:
        UserError: it is not done, or the file that says so is damaged.
    """
    return read_object(_done_file(step, run, part)).text("request")


def steps_to_do(request: Request, run: Path) -> list[Step]:
    """The steps that are not done, and those that depend on them, except training that is done."""
    steps, names = flow_steps(request), set[str]()
    for step in steps:
        undone = not is_done(step, request, run)
        if undone or (names & set(step.needs) and step.place != Place.RANKS):
            names.add(step.name)
    return [step for step in steps if step.name in names]


def _key(step: Step, request: Request) -> str:
    """SHA-256 of the options that a step depends on."""
    values, untouched = asdict(request), asdict(Request("", "", []))
    names = [item.name for item in fields(request) if item.name not in later_choices(request.base is not None)]
    names = sorted({*names, *step.choices} - {"recipe", "overrides", *HARMLESS})
    # Options that are not given are left out: a later version may know more of them.
    kept = {name: values[name] for name in names if values[name] != untouched[name]}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
