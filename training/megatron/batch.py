"""One step's batch and loss: the part of Megatron-LM's training script that is not in the wheel."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from megatron.core import mpu
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.utils import (
    flatten_batch_for_packed_sequences,
    get_batch_on_this_cp_rank,
    get_batch_on_this_tp_rank,
)
from megatron.training import get_args

from ..run.events import Events
from ..run.failures.rank_file import Phase
from .measuring import Measuring
from .recorder import Recorder

Batch = dict[str, Any]


def get_batch(samples: Iterator[Batch] | None, recorder: Recorder) -> Batch:
    """Get the next micro-batch on this rank.

    The first rank of each tensor-parallel group reads it and sends it to the others; at each pipeline stage only what
    that stage needs.

    Args:
        samples: this rank's samples; None if it reads none.
        recorder: counts the wait.

    Returns:
        `tokens`, `labels`, `loss_mask`, `position_ids` as [batch, sequence]; with document masks as [1, batch *
        sequence], together with `cu_seqlens` as [1, documents + 1] and `max_seqlen`. What this stage does not need is
        None. On ranks that read, also `dataset_id` as [batch].
    """
    args = cast(Any, get_args())
    masked = args.dataloader_inter_document_masking
    batch: Batch = {}
    datasets: torch.Tensor | None = None
    if mpu.get_tensor_model_parallel_rank() == 0:
        assert samples is not None
        batch = {name: tensor.cuda(non_blocking=True) for name, tensor in recorder.next(samples).items()}
        batch.setdefault("attention_mask", None)
        # Megatron names the data set only if there are several.
        datasets = batch.pop("dataset_id", torch.zeros(args.micro_batch_size, dtype=torch.int64).cuda())
    batch = get_batch_on_this_tp_rank(
        batch,
        has_cu_seqlens=masked,
        is_hybrid_cp=False,
        create_attention_mask_in_dataloader=False,
        broadcast_src_rank=mpu.get_tensor_model_parallel_src_rank(),
        broadcast_group=cast(torch.distributed.ProcessGroup, mpu.get_tensor_model_parallel_group()),
        cp_size=args.context_parallel_size,
        tp_rank=mpu.get_tensor_model_parallel_rank(),
        micro_batch_size=args.micro_batch_size,
        seq_length=args.seq_length,
        mtp_on_this_rank=False,
        pipeline_model_parallel_size=mpu.get_pipeline_model_parallel_world_size(),
        is_pipeline_first_stage=mpu.is_pipeline_first_stage(),
        is_pipeline_last_stage=mpu.is_pipeline_last_stage(),
    )
    if masked:
        batch = flatten_batch_for_packed_sequences(batch)
    elif args.context_parallel_size > 1:
        group = cast(torch.distributed.ProcessGroup, mpu.get_context_parallel_group())
        batch = get_batch_on_this_cp_rank(batch, is_hybrid_cp=False, cp_group=group)
    return batch | {"dataset_id": datasets}


def packed_parameters(cu_seqlens: torch.Tensor, max_seqlen: torch.Tensor) -> PackedSeqParams:
    """Convert the borders of documents in a flat sequence to what attention and rotary embedding take.

    Args:
        cu_seqlens: int32 [1, documents + 1], starting at 0.
        max_seqlen: the longest document, one element.
    """
    borders, longest = cu_seqlens[0], int(max_seqlen)
    return PackedSeqParams(
        qkv_format="thd", cu_seqlens_q=borders, cu_seqlens_kv=borders, max_seqlen_q=longest, max_seqlen_kv=longest
    )


def token_loss(loss_mask: torch.Tensor, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Compute the sum of the tokens' losses, the number of tokens that count, and the values to report.

    Megatron divides the sum by the number over the whole global batch (`--calculate-per-token-loss`).

    Args:
        loss_mask: [batch, sequence], 0 where a label does not count.
        losses: [batch, sequence], cross-entropy in nats.
    """
    mask = loss_mask.reshape(-1).float()
    total = (losses.reshape(-1).float() * mask).sum()
    count = mask.sum().detach().to(torch.int)
    return total, count, {"lm loss": torch.stack([total.detach(), count.to(total.dtype)])}


class ForwardStep:
    """Forward step: runs the model on the next micro-batch, and returns the function that computes its loss."""

    def __init__(self, events: Events, measuring: Measuring) -> None:
        """Prepare; `events` receives the phases, and `measuring` counts."""
        self.events, self.measuring = events, measuring

    def __call__(self, samples: Iterator[Batch] | None, model: Any) -> tuple[torch.Tensor, Any]:
        """Return the model's output, and the function that computes its loss."""
        self.events.phase_begins(Phase.DATA)
        recorder = self.measuring.recorder(training=model.training)
        batch = get_batch(samples, recorder)
        self.events.phase_begins(Phase.COMPUTE)
        packed = None
        if batch.get("cu_seqlens") is not None:
            packed = packed_parameters(batch["cu_seqlens"], batch["max_seqlen"])
        output = model(
            batch["tokens"],
            batch["position_ids"],
            None,
            labels=batch["labels"],
            loss_mask=batch["loss_mask"],
            packed_seq_params=packed,
        )

        def loss(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
            if batch["dataset_id"] is not None:
                recorder.add(output.detach(), batch["loss_mask"], batch["dataset_id"], batch.get("cu_seqlens"))
            return token_loss(batch["loss_mask"], output)

        return output, loss
