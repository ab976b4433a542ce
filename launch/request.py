"""The request of a run of all stages, and whether its folder was made for the same one."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..core.checkpoint import IDENTITY
from ..core.errors import UserError
from ..core.files import json_text, read_object, write_text
from ..core.jsonio import JsonObject
from ..core.remarks.remark import Remark
from ..recipes.schema import Recipe
from .run_defaults import DOCUMENTS, DUPLICATES, MAX_LOSS, MERGE_T, PROFILE, QUESTIONS, VALID_FRACTION

REQUEST_FILE = "request.json"
RECIPE_KEYS = {item.name for item in fields(Recipe)}


@dataclass(frozen=True)
class Reading:
    """How the domain's text is read: see `data_prep.documents.sources.Source`.

    Attributes:
        format: format of the files; None to detect it from their content.
        encoding: encoding of files without a byte order mark that are not UTF-8; None if there are none.
        document_type: type of documents that do not state one.
        licence: licence of documents that do not state one.
        commercial: whether documents that do not say so may be used commercially; None if that is not known.
        text_column: column, or key, that holds the text.
    """

    format: str | None = None
    encoding: str | None = None
    document_type: str = ""
    licence: str = ""
    commercial: bool | None = None
    text_column: str = "text"


@dataclass(frozen=True)
class TaskRuns:
    """The tasks that base, last checkpoint and merged model are to do.

    Attributes:
        data: folder of `pdapt eval fetch`; None where all tasks are the user's own.
        tasks: names, groups, patterns, or paths of the user's own; empty for all 28.
        limit: largest number of questions of each task.
    """

    data: str | None
    tasks: list[str] = field(default_factory=list)
    limit: int | None = None


@dataclass(frozen=True)
class Request:
    """The request of a run of all stages.

    Attributes:
        title: heading of the report.
        domain: name of the domain: the prefix of its sources, and a domain of the evaluation.
        data: `[NAME=]PATH` of the domain's text; empty for the embedded sample's medical part.
        general: `[NAME=]PATH` of general text, on which a tiny base is trained and all models are evaluated; empty for
            the embedded sample's general part; `["none"]` to leave general text out.
        base: Hugging Face Qwen3 folder; None to train a tiny base on the general text.
        recipe: name or file of the recipe of the continued pre-training; None for the base's published one, fitted.
        overrides: `KEY=VALUE` that replace values of the recipe.
        t: points of the merge between base (0) and last checkpoint (1); of several, a rule chooses one.
        max_loss: largest loss on general text that the rule allows, in per cent of the perplexity per byte.
        reading: how the domain's text is read.
        max_rejected: share of a source's documents that may be damaged; None for the default.
        edition: edition that the domain's text is restricted to; None for all of the text.
        profile: name of the cleaning profile, also of general text that is only evaluated on.
        duplicates: treatment of equal and similar documents: `keep`, `flag`, `exact` or `near`.
        mask: kinds of personal data to mask, also in general text that is only evaluated on.
        topics: file with each text's topic, by which sources are divided; None to leave sources undivided.
        decontaminate: folder of `pdapt eval fetch`: documents that hold its questions are left out of training; None to
            leave none out.
        valid_fraction: part of each domain's text that is held out.
        splits: parts of published data sets that are trained on: `train` or `all`.
        keep_duplicates: whether copies of training texts are trained on.
        documents: largest number of held-out documents of each domain to evaluate on.
        questions: largest number of questions to ask in each domain.
        benchmark: further tasks to evaluate on; None for none.
        parts: number of parts that each source is divided into, to be cleaned side by side; the output is the same.
        jobs: number of Slurm jobs of a chain that work on the parts at a time; 0: the cores of the step's own job.
    """

    title: str
    domain: str
    data: list[str]
    general: list[str] = field(default_factory=list)
    base: str | None = None
    recipe: str | None = None
    overrides: list[str] = field(default_factory=list)
    t: list[float] = field(default_factory=lambda: [MERGE_T])
    max_loss: float = MAX_LOSS
    reading: Reading = field(default_factory=Reading)
    max_rejected: float | None = None
    edition: str | None = None
    profile: str = PROFILE
    duplicates: str = DUPLICATES
    mask: list[str] = field(default_factory=list)
    topics: str | None = None
    decontaminate: str | None = None
    valid_fraction: float = VALID_FRACTION
    splits: str = "train"
    keep_duplicates: bool = False
    documents: int = DOCUMENTS
    questions: int = QUESTIONS
    benchmark: TaskRuns | None = None
    parts: int = 1
    jobs: int = 0


@dataclass(frozen=True)
class FittedRecipe:
    """The fitted part of a recipe, kept beside the request for a run that is continued: see `recipes.fit_to_machine`.

    Attributes:
        kept: key -> value that a run that began keeps.
        notes: for the log and the report.
    """

    kept: dict[str, int] = field(default_factory=dict)
    notes: list[Remark] = field(default_factory=list)

    @staticmethod
    def read(request: JsonObject) -> "FittedRecipe":
        """Read from a request's file; empty where nothing was fitted yet."""
        if "fitted" not in request:
            return FittedRecipe()
        held = request.object("fitted")
        kept = held.object("kept") if "kept" in held else JsonObject({}, "")
        sentences = held.list("told") if "told" in held else []
        notes = [Remark.from_json(note, f"{held.where}: told") for note in sentences]
        return FittedRecipe({name: kept.integer(name, minimum=1) for name in kept.values}, notes)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kept": self.kept, "told": [note.to_json() for note in self.notes]}


LATER = ("title", "t", "max_loss", "documents", "questions", "benchmark")
"""Choices that no stage up to the last checkpoint depends on; with a base of the user's, `general` is one, too."""

HARMLESS = ("parts", "jobs")
"""Choices that nothing depends on."""


def later_choices(own_base: bool) -> tuple[str, ...]:
    """The choices that training does not depend on; with a base of the user's, it does not on general text either."""
    return (*LATER, "general") if own_base else LATER


def is_path(argument: str) -> bool:
    """Whether an argument is `[NAME=]PATH` of text, not `key=value` of a recipe."""
    name, equals, path = argument.partition("=")
    if not equals or Path(argument).exists():
        return True
    return name.partition(".")[0] not in RECIPE_KEYS and Path(path).exists()


def claim(out: Path) -> JsonObject | None:
    """The request that a folder was made for; None where it is new or empty.

    Raises:
        UserError: the folder holds something else, or the request is damaged.
    """
    if (out / REQUEST_FILE).is_file():
        return read_object(out / REQUEST_FILE)
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and does not hold a run", where="--out", fix="choose another folder")
    return None


def read_request(out: Path) -> Request:
    """The request of a run's folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    held = read_object(out / REQUEST_FILE)
    reading = held.object("reading")
    return Request(
        title=held.text("title"),
        domain=held.text("domain"),
        data=_texts(held, "data"),
        general=_texts(held, "general"),
        base=_optional_text(held, "base"),
        recipe=_optional_text(held, "recipe"),
        overrides=_texts(held, "overrides"),
        t=merge_points(held),
        max_loss=held.number("max_loss", MAX_LOSS),
        reading=Reading(
            format=_optional_text(reading, "format"),
            encoding=_optional_text(reading, "encoding"),
            document_type=reading.text("document_type"),
            licence=reading.text("licence"),
            commercial=reading.flag("commercial") if "commercial" in reading else None,
            text_column=reading.text("text_column"),
        ),
        max_rejected=held.number("max_rejected") if "max_rejected" in held else None,
        edition=_optional_text(held, "edition"),
        profile=held.text("profile", PROFILE),
        duplicates=held.text("duplicates", DUPLICATES),
        mask=_texts(held, "mask") if "mask" in held else [],
        topics=_optional_text(held, "topics"),
        decontaminate=_optional_text(held, "decontaminate"),
        valid_fraction=held.number("valid_fraction"),
        splits=held.text("splits"),
        keep_duplicates=held.flag("keep_duplicates"),
        documents=held.integer("documents"),
        questions=held.integer("questions"),
        benchmark=_task_runs(held.object("benchmark")) if "benchmark" in held else None,
        parts=held.integer("parts", 1, minimum=1),
        jobs=held.integer("jobs", 0),
    )


def merge_points(held: JsonObject) -> list[float]:
    """The points of the merge that a request's file holds; before there were several, it held a number."""
    values = held.list("t") if isinstance(held.values.get("t"), list) else [held.number("t", MERGE_T)]
    if not values:
        raise UserError("t holds no numbers", where=held.where)
    return [JsonObject({"t": value}, held.where).number("t") for value in values]


def _task_runs(held: JsonObject) -> TaskRuns:
    limit = held.integer("limit", minimum=1) if "limit" in held else None
    return TaskRuns(_optional_text(held, "data"), _texts(held, "tasks"), limit)


def _optional_text(held: JsonObject, key: str) -> str | None:
    return held.text(key) if key in held else None


def _texts(held: JsonObject, key: str) -> list[str]:
    values = held.list(key)
    if not all(isinstance(value, str) for value in values):
        raise UserError(f"{key} holds something other than text", where=held.where)
    return values


def write_request(request: Request, out: Path, fitted: FittedRecipe | None = None) -> None:
    """Write a run's request into its folder, with the fitted part of its recipe, if there is one."""
    write_text(out / REQUEST_FILE, request_text(request, fitted))


def request_text(request: Request, fitted: FittedRecipe | None = None) -> str:
    """The content of a request's file."""
    return json_text(asdict(request) | {"fitted": fitted.to_json() if fitted else {}})


def training_began(out: Path) -> bool:
    """Whether a run has spent anything on training yet."""
    return any((out / name / IDENTITY).is_file() for name in ("base", "cpt"))


def changes(before: dict[str, Any], request: Request) -> list[str]:
    """Sentences on the options that have changed, except those that training does not depend on."""
    now = asdict(request)
    before = asdict(Request("", "", [])) | before  # an earlier version knew fewer options
    names = [item.name for item in fields(request) if item.name not in (*LATER, *HARMLESS)]
    return [
        f"{_option(name)}: {_short(before.get(name))} then, {_short(now[name])} now"
        for name in names
        if before.get(name) != now[name]
    ]


def _option(name: str) -> str:
    return {"overrides": "KEY=VALUE", "reading": "how text is read"}.get(name, "--" + name.replace("_", "-"))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items() if item)
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
