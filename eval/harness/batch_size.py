"""The automatic choice of the batch size: the number of sequences in a forward pass.

lm-eval's own `auto` fills the model's whole window, again for each task: 32,768 tokens, where no prompt has 4,000.
Here the longest prompt with its answer decides, of all tasks of a kind, once for each model.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.evaluator_utils import get_sample_size

from ...core import log
from ...core.errors import UserError
from ...core.files import read_object, write_json
from ...core.jsonio import JsonObject
from ..tasks.task_suite import RequestKind
from .backends import LmEvalModel

LARGEST_BATCH = 64
"""Sequences a pass; more are not faster."""
GPU_SHARE = 0.9
"""Share of a GPU's memory that a pass may take: its need varies a little with how memory is split into blocks."""
CPU_TOKENS, CPU_BYTES = 8192, 2 * 2**30
"""Bounds of a pass on a CPU, where more sequences are hardly faster: tokens, and bytes of log-probabilities."""
TEXTS_AT_ONCE = 256
"""Texts that are tokenized at once."""


@dataclass(frozen=True)
class BatchSize:
    """A model's batch size for a kind of task.

    Attributes:
        size: sequences a pass.
        tokens: of the longest prompt with its answer.
        tasks: names of the tasks whose prompts were measured.
        device: its name.
    """

    size: int
    tokens: int
    tasks: list[str]
    device: str


def find_batch_size(
    lm: LmEvalModel, tasks: dict[str, Any], kind: RequestKind, path: Path, options: dict[str, Any]
) -> BatchSize:
    """Take the batch size from `path` where it holds these tasks' on such a device; else find and write it.

    Args:
        lm: lm-eval's model.
        tasks: name -> lm-eval's task, all of one kind.
        kind: of the tasks.
        path: a JSON file, kind -> `BatchSize`.
        options: of `build_all_requests`; `limit` is the number of questions.
    """
    batch_sizes = read_batch_sizes(path)
    device = torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else lm.device.type
    known = batch_sizes.get(kind)
    if known and known.device == device and set(tasks) <= set(known.tasks):
        return known
    tokens = longest_prompt(lm, tasks.values(), options)
    size = on_gpu(lm, kind, tokens) if lm.device.type == "cuda" else on_cpu(kind, tokens, vocabulary(lm))
    if lm.world_size > 1:
        size = int(lm.all_gather(torch.tensor([size], device=lm.device)).min())
    chosen = BatchSize(size, tokens, sorted(tasks), device)
    if lm.rank == 0:
        write_json(path, {name: asdict(value) for name, value in (batch_sizes | {kind: chosen}).items()})
    return chosen


def read_batch_sizes(path: Path) -> dict[str, BatchSize]:
    """Batch sizes by kind of task; none where the file is missing or damaged: they are searched for again."""
    try:
        kinds = read_object(path) if path.exists() else None
        return {kind: _batch_size(kinds.object(kind)) for kind in kinds.values} if kinds else {}
    except UserError as error:
        log.warn(f"eval: measuring the batch sizes again: {error.what} ({error.where})")
        return {}


def _batch_size(row: JsonObject) -> BatchSize:
    tasks = [name for name in row.list("tasks") if isinstance(name, str)]
    return BatchSize(row.integer("size", minimum=1), row.integer("tokens"), tasks, row.text("device"))


def prepare_tasks(tasks: dict[str, Any], shots: int | None, max_gen_toks: int | None) -> dict[str, Any]:
    """Configure lm-eval's tasks as `simple_evaluate` does."""
    for task in tasks.values():
        if shots is not None and task.get_config("num_fewshot") != 0:
            task.set_config("num_fewshot", shots)
        if max_gen_toks and task.get_config("output_type") == RequestKind.GENERATE:
            task.set_config("generation_kwargs", {"max_gen_toks": max_gen_toks}, update=True)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return tasks


def longest_prompt(lm: LmEvalModel, tasks: Iterable[Any], options: dict[str, Any]) -> int:
    """Tokens of the longest prompt with its answer, as far as the window goes."""
    most_tokens = 1
    for task in tasks:
        limit = get_sample_size(task, options["limit"])
        task.build_all_requests(**options | {"limit": limit}, rank=0, world_size=1, cache_requests=True)
        generates = task.OUTPUT_TYPE == RequestKind.GENERATE
        texts = {args[0] if generates else "".join(args) for args in (instance.args for instance in task.instances)}
        answer_tokens = task.get_config("generation_kwargs")["max_gen_toks"] if generates else 0
        most_tokens = max(most_tokens, _longest_text(lm, sorted(texts)) + answer_tokens)
    return min(most_tokens, lm.max_length)


def _longest_text(lm: LmEvalModel, texts: list[str]) -> int:
    blocks = (texts[begin : begin + TEXTS_AT_ONCE] for begin in range(0, len(texts), TEXTS_AT_ONCE))
    return max(len(ids) for block in blocks for ids in lm.tokenizer(block)["input_ids"])


def vocabulary(lm: LmEvalModel) -> int:
    """Number of logits that the model gives for each token."""
    return int(lm.model.config.get_text_config().vocab_size)


def on_cpu(kind: RequestKind, tokens: int, vocab: int) -> int:
    """A batch size within CPU_TOKENS and CPU_BYTES.

    A model that generates needs log-probabilities of the last token alone.
    """
    size = min(LARGEST_BATCH, CPU_TOKENS // tokens)
    if kind != RequestKind.GENERATE:
        size = min(size, CPU_BYTES // (tokens * vocab * 8))  # float32, and again what they are made of
    return max(1, size)


def on_gpu(lm: LmEvalModel, kind: RequestKind, tokens: int) -> int:
    """The largest power of two, up to LARGEST_BATCH, at which a pass over `tokens` leaves a tenth of the GPU free."""

    def fits(size: int) -> bool:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(lm.device)
        try:
            run_pass(lm, kind, torch.ones((size, tokens), dtype=torch.long, device=lm.device))
        except torch.OutOfMemoryError:
            return False
        taken = torch.cuda.max_memory_reserved(lm.device)
        return taken <= GPU_SHARE * torch.cuda.get_device_properties(lm.device).total_memory

    size = largest_power_of_two(fits, LARGEST_BATCH)
    torch.cuda.empty_cache()
    return size


def largest_power_of_two(fits: Callable[[int], bool], limit: int) -> int:
    """The largest power of two up to `limit` that fits; 1 is taken untried."""
    size = 1
    while size < limit and fits(2 * size):
        size *= 2
    return size


def run_pass(lm: LmEvalModel, kind: RequestKind, ids: torch.Tensor) -> None:
    """Do the pass over `ids`, [sequences, tokens], that takes most memory of a task of this kind."""
    if kind == RequestKind.GENERATE:
        # The cache of keys and values as it is when the longest answer ends, which is what grows.
        lm._model_generate(
            context=ids[:, :-2], max_length=ids.shape[1], stop=[], attention_mask=torch.ones_like(ids)[:, :-2]
        )
    else:
        torch.nn.functional.log_softmax(lm._model_call(ids), dim=-1, dtype=lm.softmax_dtype)
