"""Master weights in buckets, laid out here as Megatron's distributed optimizer lays out its memory."""

from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path

import pytest
import torch

from pdapt.conversion import distcp_write
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.conversion.master_weights import Masters
from pdapt.core.checkpoint import RELEASE
from pdapt.core.errors import UserError
from pdapt.core.jsonio import JsonObject
from pdapt.core.qwen3 import Qwen3Config

PREFIX = "decoder.layers."
NORMS = ("self_attention.q_layernorm.weight", "self_attention.k_layernorm.weight")
BY_COLUMN = ("self_attention.linear_proj.weight", "mlp.linear_fc2.weight")
Whole = dict[tuple[str, int | None], torch.Tensor]
Saved = Callable[..., tuple[Checkpoint, Whole]]


def shape(tied: bool) -> Qwen3Config:
    return Qwen3Config(4, 24, 40, 4, 2, 6, vocab=50, tied=tied, max_positions=64)


def model(tied: bool) -> Whole:
    """Megatron's tensors of such a model, in the order in which a model of local layers has them; no value twice."""
    used = 0

    def tensor(*size: int) -> torch.Tensor:
        nonlocal used
        first, used = used, used + prod(size)
        return torch.arange(first, used, dtype=torch.float32).view(size)

    tensors: Whole = {("embedding.word_embeddings.weight", None): tensor(50, 24)}
    for layer in range(4):
        tensors |= {
            (PREFIX + "self_attention.linear_qkv.layer_norm_weight", layer): tensor(24),
            (PREFIX + "self_attention.linear_proj.weight", layer): tensor(24, 24),
            (PREFIX + "self_attention.linear_qkv.weight", layer): tensor(24 + 2 * 12, 24),
            (PREFIX + "self_attention.q_layernorm.weight", layer): tensor(6),
            (PREFIX + "self_attention.k_layernorm.weight", layer): tensor(6),
            (PREFIX + "mlp.linear_fc1.layer_norm_weight", layer): tensor(24),
            (PREFIX + "mlp.linear_fc1.weight", layer): tensor(2 * 40, 24),
            (PREFIX + "mlp.linear_fc2.weight", layer): tensor(24, 40),
        }
    tensors["decoder.final_layernorm.weight", None] = tensor(24)
    if not tied:
        tensors["output_layer.weight", None] = tensor(50, 24)
    return tensors


def of_tp_rank(name: str, tensor: torch.Tensor, part: int, tp: int) -> torch.Tensor:
    """A rank's share: of rows, or of columns; of the gate and of the up projection each."""
    if tensor.dim() == 1:
        return tensor
    if name.endswith(BY_COLUMN):
        return tensor.chunk(tp, dim=1)[part]
    if name.endswith("linear_fc1.weight"):
        gate, up = tensor.chunk(2)
        return torch.cat([gate.chunk(tp)[part], up.chunk(tp)[part]])
    return tensor.chunk(tp)[part]


def of_stage(tensors: Whole, stage: int, pp: int, tied: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """A stage's layers; the first has the embedding, the last the final norm and the output layer, tied or not."""
    for (name, layer), tensor in tensors.items():
        first, last = name.startswith("embedding"), layer is None and not name.startswith("embedding")
        if (first and stage == 0) or (last and stage == pp - 1) or (layer is not None and layer * pp // 4 == stage):
            yield name, tensor
    if tied and pp > 1 and stage == pp - 1:
        yield "output_layer.weight", tensors["embedding.word_embeddings.weight", None]


def buckets(parameters: list[torch.Tensor], most: int) -> list[torch.Tensor]:
    """Parameters from the last to the first, each at a multiple of 64; a bucket is full at `most` values."""
    filled, bucket = [], torch.empty(0)
    for parameter in reversed(parameters):
        padding = torch.full((-len(bucket) % 64,), -1.0)
        bucket = torch.cat([bucket, padding, parameter.flatten()])
        if len(bucket) >= most:
            filled, bucket = [*filled, bucket], torch.empty(0)
    return [*filled, bucket] if len(bucket) else filled


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """A checkpoint of such buckets, and the tensors that it holds; `change` is done to every rank's buckets."""

    def save(tp: int, pp: int, tied: bool, change: Callable[[list[torch.Tensor]], object] = lambda _: None):
        tensors, parts = model(tied), []
        for rank in range(tp * pp):
            stage, part = divmod(rank, tp)
            local = [of_tp_rank(name, tensor, part, tp) for name, tensor in of_stage(tensors, stage, pp, tied)]
            filled = buckets(local, most=4000)
            assert len(filled) > 1
            change(filled)
            for number, bucket in enumerate(filled):
                name = f"optimizer.distributed.dp_group_idx_{rank}.gbuf_idx_0.dtype_(x).bucket_idx_{number}.param"
                size = (len(bucket),)
                parts.append(distcp_write.Part(name, size, (0,), size, lambda bucket=bucket: bucket))
        distcp_write.write(tmp_path, parts, torch.float32, [])
        return Checkpoint(tmp_path / RELEASE), tensors

    return save


def masters(checkpoint: Checkpoint, tp: int, pp: int, tied: bool, device: str = "cpu") -> Masters:
    provenance = {"recipe": {"parallel": {"tp": tp, "pp": pp}}, "device": device}
    return Masters(checkpoint, shape(tied), JsonObject(provenance, "pdapt.json"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4)])
def test_every_tensor_is_put_together_from_all_ranks(saved: Saved, tp: int, pp: int, tied: bool) -> None:
    checkpoint, tensors = saved(tp, pp, tied)
    read = masters(checkpoint, tp, pp, tied)
    for (name, layer), tensor in tensors.items():
        rows = tensor.view(len(tensor), -1)
        assert torch.equal(read.region(name, layer, 0, len(rows)), rows), name
        assert torch.equal(read.region(name, layer, 3, 2), rows[3:5]), name


def lose_the_last_value(filled: list[torch.Tensor]) -> None:
    filled[-1] = filled[-1][:-1]


def add_a_value(filled: list[torch.Tensor]) -> None:
    filled[-1] = torch.cat([filled[-1], torch.zeros(1)])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lose_the_last_value, "rank 0's buckets are too short"),
        (list.pop, "rank 0's buckets are too short"),
        (add_a_value, "rank 0's buckets are too long"),
        (lambda filled: filled.append(torch.zeros(64)), "rank 0's buckets are too long"),
    ],
)
def test_buckets_of_another_length_are_refused(
    saved: Saved, change: Callable[[list[torch.Tensor]], object], fault: str
) -> None:
    checkpoint, _ = saved(1, 2, True, change)
    with pytest.raises(UserError, match=f"the order of .*'s master weights is unknown: {fault}"):
        masters(checkpoint, 1, 2, True)


def test_weights_in_another_order_are_not_the_parameters(saved: Saved) -> None:
    checkpoint, tensors = saved(1, 1, True)
    name = PREFIX + "self_attention.linear_proj.weight"
    parameters = tensors[name, 1].bfloat16()
    for device, known in (("cpu", True), ("gpu", False)):
        read = masters(checkpoint, 1, 1, True, device)
        region = read.region(name, 1, 0, len(parameters))
        if known:
            read.check(region, parameters)
        else:
            with pytest.raises(UserError, match="when rounded, they do not equal the parameters"):
                read.check(region, parameters)
