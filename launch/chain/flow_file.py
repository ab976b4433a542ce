"""The file of a flow: text, base, recipe, evaluation, merge and site, checked against a schema."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ...core.errors import UserError
from ...merge.factors import parse_points
from ...recipes.overrides import merge_layer, read_layer
from ..request import Reading, Request, TaskRuns
from ..run_defaults import DOCUMENTS, DUPLICATES, MAX_LOSS, MERGE_T, PROFILE, QUESTIONS, VALID_FRACTION
from ..slurm_site import GENERIC


@dataclass
class DataKeys:
    """The text; see the options of `pdapt run`."""

    paths: list[str] = field(default_factory=list)  # [NAME=]PATH; none: the embedded sample
    domain: str = "domain"
    general: list[str] = field(default_factory=list)
    format: str | None = None
    encoding: str | None = None
    document_type: str = ""
    licence: str = ""
    commercial: bool | None = None
    text_column: str = "text"
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
    parts: int = 1  # that each source is divided into
    jobs: int = 0  # of Slurm that work on the parts at a time; none: the cores of the step's own job


@dataclass
class RecipeKeys:
    """The recipe, and what replaces its values."""

    name: str = MISSING  # a published recipe, or a YAML file
    values: list[str] = field(default_factory=list)  # KEY=VALUE


@dataclass
class EvaluationKeys:
    """How much is evaluated on, of each domain; and the tasks, where `data` or paths say where theirs is."""

    documents: int = DOCUMENTS
    questions: int = QUESTIONS
    data: str | None = None  # folder of `pdapt eval fetch`; none: no tasks are done but those of one's own
    tasks: list[str] = field(default_factory=list)  # names, groups, patterns, or paths; none: all 28
    limit: int | None = None  # most questions of each task


@dataclass
class MergeKeys:
    """How far the merged model is from the base to the last checkpoint; of several points a rule chooses one."""

    t: Any = MERGE_T  # a number, a list, or 0.1:0.9:0.1 as `pdapt merge sweep` takes it
    max_loss: float = MAX_LOSS  # largest loss in general, in percent of the perplexity per byte


@dataclass
class FlowKeys:
    """The keys of a flow's file."""

    title: str | None = None
    data: DataKeys = field(default_factory=DataKeys)
    base: str | None = None  # Hugging Face Qwen3 folder; none: a tiny one is trained
    recipe: RecipeKeys | None = None
    evaluation: EvaluationKeys = field(default_factory=EvaluationKeys)
    merge: MergeKeys = field(default_factory=MergeKeys)
    site: str = GENERIC


@dataclass(frozen=True)
class Flow:
    """A flow: the request of its run, and the site that it runs at."""

    request: Request
    site: str


def read_flow(path: Path) -> Flow:
    """Read and check a flow's file.

    Raises:
        UserError: an unknown key, a wrong type, or a recipe without a name.
    """
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UserError(f"no flow file: {path}", where="FLOW", allowed="a YAML file: docs/launch.md")
    layer = read_layer(path, kind="flow")
    config = merge_layer(OmegaConf.structured(FlowKeys), layer, str(path), kind="flow")
    try:
        keys = cast(FlowKeys, OmegaConf.to_object(config))
    except MissingMandatoryValue as error:
        raise UserError(
            f"the flow has no value for {error.full_key}", where=str(path), fix=f"add {error.full_key}"
        ) from None
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'the flow'}: {str(error).splitlines()[0]}", where=str(path)) from None
    return Flow(_request(keys), keys.site)


def _request(keys: FlowKeys) -> Request:
    data = keys.data
    return Request(
        title=keys.title or f"pdapt run: {data.domain}",
        domain=data.domain,
        data=data.paths,
        general=data.general,
        base=keys.base,
        recipe=keys.recipe.name if keys.recipe else None,
        overrides=keys.recipe.values if keys.recipe else [],
        t=_points(keys.merge.t),
        max_loss=keys.merge.max_loss,
        reading=Reading(
            format=data.format,
            encoding=data.encoding,
            document_type=data.document_type,
            licence=data.licence,
            commercial=data.commercial,
            text_column=data.text_column,
        ),
        max_rejected=data.max_rejected,
        edition=data.edition,
        profile=data.profile,
        duplicates=data.duplicates,
        mask=data.mask,
        topics=data.topics,
        decontaminate=data.decontaminate,
        valid_fraction=data.valid_fraction,
        splits=data.splits,
        keep_duplicates=data.keep_duplicates,
        documents=keys.evaluation.documents,
        questions=keys.evaluation.questions,
        benchmark=_benchmark(keys.evaluation),
        parts=data.parts,
        jobs=data.jobs,
    )


def _points(t: Any) -> list[float]:
    """The points of the merge, however they are spelled."""
    values = t if isinstance(t, list) else [t]
    if any(isinstance(value, dict | list | bool | None) for value in values):
        raise UserError(f"merge.t is {t!r}", where="merge.t", allowed="0.5, [0.3, 0.5] or 0.1:0.9:0.1")
    return parse_points(",".join(map(str, values)), "merge.t")


def _benchmark(keys: EvaluationKeys) -> TaskRuns | None:
    from ...eval.tasks.select_tasks import is_path

    tasks = [str(Path(name).absolute()) if is_path(name) else name for name in keys.tasks]
    if keys.data is not None or (tasks and all(map(is_path, tasks))):
        return TaskRuns(keys.data, tasks, keys.limit)
    if keys.tasks or keys.limit is not None:
        raise UserError(
            "the tasks' data are missing", where="evaluation.data", fix="give the folder that `pdapt eval fetch` made"
        )
    return None
