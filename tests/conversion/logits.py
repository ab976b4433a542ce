"""One rank of the trainer's model: logits of a row of ids, whatever it is split by. Under torchrun: `JOB OUT`."""

import json
import sys
from pathlib import Path

import torch

from pdapt.training.megatron.batch import packed_parameters
from pdapt.training.megatron.parity import build


def main() -> None:
    job, out = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    model = build(job["arguments"])
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import gather_from_tensor_model_parallel_region

    ids = torch.tensor(job["ids"])
    borders = torch.tensor([[0, len(ids)]], dtype=torch.int32)
    packed = packed_parameters(borders, torch.tensor(len(ids)))
    first, last = parallel_state.is_pipeline_first_stage(), parallel_state.is_pipeline_last_stage()
    with torch.no_grad():
        if not first:
            hidden = torch.empty(len(ids), 1, job["hidden"], dtype=getattr(torch, job["dtype"]))
            torch.distributed.recv(hidden, parallel_state.get_pipeline_model_parallel_prev_rank())
            model.set_input_tensor(hidden)
        found = model(ids[None], torch.arange(len(ids))[None], None, packed_seq_params=packed)
        if not last:
            torch.distributed.send(found.contiguous(), parallel_state.get_pipeline_model_parallel_next_rank())
        else:
            logits = gather_from_tensor_model_parallel_region(found)[0]
            if parallel_state.get_tensor_model_parallel_rank() == 0:
                torch.save(logits.float(), out)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
