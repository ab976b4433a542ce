"""A job of lm-eval's process: which models do which tasks, and how."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..tasks.task_suite import RequestKind
from .backends import Limits, ModelArguments


@dataclass(frozen=True)
class Evaluation:
    """One model on one task: fills one folder, `out`, with lm-eval's results and samples."""

    model: str
    task: str
    out: str


@dataclass(frozen=True)
class BatchSizeSearch:
    """How a batch size is found, where the user leaves it open.

    Attributes:
        kind: of the tasks.
        tasks: names; the longest of their prompts with its answer decides.
        file: where the batch size is kept for the next process.
    """

    kind: RequestKind
    tasks: list[str]
    file: str


@dataclass(frozen=True)
class LmEvalJob:
    """The work of one process.

    Attributes:
        models: name -> lm-eval's arguments.
        evaluations: what to do; one model's follow each other.
        tasks: folder of task files, and working directory.
        scratch: folder that jobs on the same data and limits share. Prompts are built by the first of them, and read by
            the others. lm-eval keeps them as a pickle, so it is a folder that this program has made.
        backend: lm-eval's name of it.
        limits: see `Limits`.
        shots: worked examples before a question; None: as the task says.
        batch_size: sequences a forward pass, or `auto`: then, with `hf`, `batch_size_search` says how it is found.
        batch_size_search: see there.
        chat_template: whether prompts are put into the model's own chat template.
        gpus: GPUs that share the questions of a task (hf), or the model (vllm).
    """

    models: dict[str, ModelArguments]
    evaluations: list[Evaluation]
    tasks: Path
    scratch: Path
    backend: str = "hf"
    limits: Limits = field(default_factory=Limits)
    shots: int | None = None
    batch_size: int | str = 8
    batch_size_search: BatchSizeSearch | None = None
    chat_template: bool = False
    gpus: int = 1

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"tasks": str(self.tasks), "scratch": str(self.scratch)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "LmEvalJob":
        """The job of `to_json`'s values. Only this program writes them, so they are not checked."""
        search = value["batch_size_search"]
        return LmEvalJob(
            **value
            | {
                "models": {name: ModelArguments(**arguments) for name, arguments in value["models"].items()},
                "evaluations": [Evaluation(**evaluation) for evaluation in value["evaluations"]],
                "tasks": Path(value["tasks"]),
                "scratch": Path(value["scratch"]),
                "limits": Limits(**value["limits"]),
                "batch_size_search": None
                if search is None
                else BatchSizeSearch(**search | {"kind": RequestKind(search["kind"])}),
            }
        )
