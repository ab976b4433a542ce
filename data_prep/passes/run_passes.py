"""The passes over sources, in tasks: a part of a source is a task."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..documents.faults import together
from .source_parts import Part, Pass, join_pass, run_pass

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner


def run_passes(sources: Sequence[Sequence[Part]], runner: "TaskRunner") -> None:
    """Run all passes over the parts of some sources.

    Args:
        sources: the parts of each.
        runner: runs the tasks.

    Raises:
        UserError: files cannot be read; all of them are named.
        Failed: a worker was killed, or a job failed.
    """
    parts = [part for each in sources for part in each]
    for step in Pass:
        runner.run(step, partial(run_pass, step), parts)
        faulty = [rank for rank, part in enumerate(parts) if part.faults()]
        if faulty:
            for rank in faulty:  # its files may be corrected later
                runner.forget(step, rank)
            faults = [fault for rank in faulty for fault in parts[rank].faults()]
            raise together([*{(fault.what, fault.where): fault for fault in faults}.values()])  # parts of one file
        for each in sources:
            join_pass(step, each)
