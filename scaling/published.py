"""Published training speeds as settings that can be predicted: what rows state, and what is assumed otherwise."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError, nearest
from ..core.files import read_json
from ..core.gpus import H100
from .constants import Measured
from .model_shapes import Architecture, find, from_row, of_flops
from .published_trainer import RECOMPUTED, Stack, hardware_of, recomputed, software_of, stack_of
from .read_row import Row
from .work import Work, of_architecture

ROWS = Path(__file__).parent / "published.json"
SPLIT = Path(__file__).parent / "split.json"
UNSTATED_SEQ = 4096


@dataclass(frozen=True)
class Case:
    """A published row.

    Attributes:
        id: the row's id.
        model: name of the model.
        stack: kind of trainer.
        work: the setting to predict.
        published: tokens/s/GPU.
        assumed: what the row does not state, and what was assumed instead.
        software: name of the trainer, without version and date.
        mfu_only: whether the speed is derived from an MFU whose count of operations the source does not state.
    """

    id: Any
    model: str
    stack: Stack
    work: Work
    published: float
    assumed: tuple[str, ...]
    software: str = ""
    mfu_only: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of the row."""
        return round(float(self.work.gpus))


def rows() -> list[dict[str, Any]]:
    """The rows that come with the project."""
    return read_json(ROWS)["rows"]


def cases(given: Any, where: str) -> list[Case]:
    """Read rows.

    Args:
        given: JSON objects in the form of published.json's rows.
        where: where they were read from, for messages.

    Raises:
        UserError: an object is not a row, or states something impossible.
    """
    if not isinstance(given, list) or not given:
        raise UserError("there are no rows", where=where, allowed='a list of rows, or an object {"rows": [...]}')
    return [_case(row, f"{where}: row {number}") for number, row in enumerate(given)]


def read_rows(path: Path) -> list[Case]:
    """Read a file of rows: a list, or an object that has them under `rows`.

    Raises:
        UserError: the file does not hold valid rows.
    """
    value = read_json(path)
    return cases(value.get("rows") if isinstance(value, dict) else value, str(path))


def extent_of_site(measured: list[Case]) -> Measured:
    """Find the models and numbers of GPUs of a site's rows."""
    gpus = [case.gpus for case in measured]
    return Measured(sorted({case.model for case in measured}), (min(gpus), max(gpus)))


def left_out() -> set[str]:
    """Names of the models whose rows are left out of the fit."""
    return set(read_json(SPLIT)["test"])


def _case(value: Any, where: str) -> Case:
    if not isinstance(value, dict):
        raise UserError(f"a row is {type(value).__name__}", where=where, allowed="an object")
    row = Row(value, f"{where} (id {value.get('id')})")
    shape = _shape(row)
    known, stack, precision = not row.assumed, stack_of(row), _precision(row)
    seq = row.whole("seq", UNSTATED_SEQ, "common")
    assert seq is not None
    software, spread = software_of(row, stack), _spread(row, shape, stack)
    # Embedding and output layer may count as layers.
    if known and spread["pp"] * (row.whole("vp") or 1) > shape.layers + 2:
        raise UserError(
            f"{shape.layers} layers do not fill PP {spread['pp']}, vp {row.value.get('vp')}", where=row.where
        )
    if spread["pp"] > 1:
        # Weights stay gathered from a pipeline's first micro-batch to its last (The Llama 3 Herd of Models, 3.3.2):
        # as with a distributed optimizer.
        software["gathers"] = 0
    work = Work(
        **of_architecture(shape),
        **spread,
        seq=seq,
        attended=row.number("attended") or float(seq),
        fp8=float(precision == "fp8"),
        **software,
        **hardware_of(row),
    )
    if recomputed(row) is None:
        work = _least_recomputed(row, work)
    published = _published(row, shape, work, seq=seq, precision=precision)
    alone = not any(value.get(name) for name in ("tokens_s_gpu", "tokens_s_gpu_derived", "step_time_s", "tflops_gpu"))
    return Case(
        id=value.get("id"),
        model=row.text("model"),
        stack=stack,
        work=work,
        published=published,
        assumed=tuple(row.assumed),
        software=re.split(r"[\s/]", row.text("software"), maxsplit=1)[0],
        mfu_only=alone,
    )


def _least_recomputed(row: Row, work: Work) -> Work:
    """Choose the least recomputation with which the work fits a GPU."""
    ways = {name: replace(work, recompute=share) for name, share in RECOMPUTED.items()}
    name = next((name for name, way in ways.items() if way.bytes <= H100.memory), "full")
    row.assumed.append(f"recompute is taken as {name}: without, a GPU would need {work.bytes / 1e9:.0f} GB")
    return ways[name]


def _shape(row: Row) -> Architecture:
    if row.value.get("shape") is not None:
        return from_row(row.value["shape"], row.where)
    name = row.text("model")
    if not name:
        raise UserError("a row does not name its model", where=row.where, fix="give `model`, or `shape`")
    causal = row.number("calc_gflop_per_token_causal") or 0.0
    full = row.number("calc_gflop_per_token_full") or 0.0
    counted = causal < full < 2 * causal  # half of attention is less than attention and matrices together
    try:
        shape, assumed = find(name)
    except UserError as error:
        if not counted:
            raise UserError(error.what, where=row.where, allowed=error.allowed, fix=error.fix) from None
        shape, assumed = None, "unknown"
    if assumed and counted:  # the operations determine the shape better than a name
        shape, assumed = of_flops(causal * 1e9, full * 1e9, row.number("seq") or UNSTATED_SEQ)
    if assumed:
        row.assumed.append(assumed)
    assert shape is not None
    return shape


def _precision(row: Row) -> str:
    given = row.text("precision").lower()
    if not given:
        row.assumed.append("precision is taken as bf16")
        return "bf16"
    if given.startswith("fp8"):
        return "fp8"
    if given != "bf16":
        fix = nearest(given, ["bf16", "fp8"])
        raise UserError(f"precision is {given!r}", where=row.where, allowed="bf16, fp8, fp8-cs", fix=fix)
    return given


def _spread(row: Row, shape: Architecture, stack: Stack) -> dict[str, Any]:
    """Read TP, PP, CP, DP, interleaving and the batch.

    Raises:
        UserError: they conflict.
    """
    tp, pp, cp = (row.whole(name, 1) or 1 for name in ("tp", "pp", "cp"))
    gpus = row.whole("n_gpu")
    dp = row.whole("dp")
    if gpus is None and dp is None:
        raise UserError("neither n_gpu nor dp is given", where=row.where, fix="give n_gpu")
    if gpus is not None and gpus % (tp * pp * cp):
        raise UserError(f"TP {tp} x PP {pp} x CP {cp} does not divide {gpus} GPUs", where=row.where)
    if gpus is not None and dp is not None and tp * pp * cp * dp != gpus:
        raise UserError(f"TP {tp} x PP {pp} x CP {cp} x DP {dp} is not {gpus} GPUs", where=row.where)
    dp = dp or gpus // (tp * pp * cp)  # pyright: ignore[reportOptionalOperand]  # one of the two is there
    micro, accumulation = _batch(row, pp, dp)
    chunks = row.whole("vp")
    if chunks is None:
        # Meta states that its pipelines are interleaved, too (The Llama 3 Herd of Models, 3.3.2). Nanotron's are not.
        chunks = max(1, round(shape.layers / pp)) if stack != Stack.OTHERS and pp > 1 else 1
        if chunks > 1:
            row.assumed.append(f"vp is taken as {chunks}, one layer per chunk, as in most rows that state it")
    balanced = stack == Stack.OTHERS or shape.layers % pp != 0
    return {
        "tp": tp,
        "pp": pp,
        "cp": cp,
        "dp": dp,
        "micro": micro,
        "accumulation": accumulation,
        "chunks": chunks,
        "balanced": float(balanced),
    }


def _batch(row: Row, pp: int, dp: int) -> tuple[int, float]:
    """Read the sequences of a micro-batch, and the micro-batches of a copy of the model in a step."""
    micro = row.whole("mbs", 1, "the usual one of large models") or 1
    accumulation: float | None = row.whole("ga")
    batch = row.whole("gbs")
    if batch is not None:
        accumulation = batch / (dp * micro)
        if accumulation < 1:
            raise UserError(f"gbs {batch} is less than DP {dp} x mbs {micro}", where=row.where)
    if accumulation is None:
        accumulation = max(4, 2 * pp)
        row.assumed.append(f"gbs is taken as {accumulation} micro-batches per copy of the model")
    return micro, accumulation


def _published(row: Row, shape: Architecture, work: Work, *, seq: int, precision: str) -> float:
    """Read or derive the tokens/s/GPU.

    Raises:
        UserError: the row states nothing from which they follow.
    """
    for name in ("tokens_s_gpu", "tokens_s_gpu_derived"):
        stated = row.number(name)
        if stated is not None:
            return stated
    seconds = row.number("step_time_s")
    if seconds is not None:
        return work.slots / seconds / work.gpus
    causal = row.text("attn_flops_convention").startswith("causal")
    speed, share = row.number("tflops_gpu"), row.number("reported_mfu_pct")
    if speed is None and share is None:
        raise UserError(
            "a row does not state its speed",
            where=row.where,
            allowed="tokens_s_gpu, tokens_s_gpu_derived, step_time_s, tflops_gpu or reported_mfu_pct",
        )
    counted = "half, as the row says" if causal else "in full"
    row.assumed.append(f"tokens_s_gpu follows from {'TFLOP/s' if speed else 'MFU'} with attention counted {counted}")
    flops = speed * 1e12 if speed else share / 100 * H100.peaks[precision]  # pyright: ignore[reportOptionalOperand]
    return flops / shape.flops_per_token(seq, causal=causal)
