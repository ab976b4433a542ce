"""Messages about a plan before anything is tokenized: what it leaves out, and what cannot be held out."""

from collections.abc import Sequence
from pathlib import Path

from ....core import log
from ....core.errors import UserError
from ....core.log import counted
from ...documents.faults import check_rejected
from ...documents.registered import allowed_share
from ...documents.store import REJECTED, write_rejected
from ...documents.survey import Survey
from ...screening.screen import sentences
from .scan import WITHHELD
from .selection import Plan
from .split import DUPLICATE, SIDES, TRAIN, VALID

SHOWN = 5
"""Data sets that a message names."""


def without_topic(plan: Plan) -> int:
    """Documents of any side that a file of topics does not list."""
    groups = [group for group, key in enumerate(plan.keys) if not key.topic]
    return sum(plan.count(group, side) for group in groups for side in range(SIDES))


def list_rejected(plan: Plan, surveys: list[Survey], max_rejected: float | None, work: Path) -> None:
    """Check how many documents are rejected, and write the list of them if there are any.

    Raises:
        UserError: they are more than is allowed.
    """
    documents = sum(len(scan.hashes) for scan in plan.scans) + len(plan.rejected)
    share = allowed_share([survey.source for survey in surveys], max_rejected)
    check_rejected(plan.rejected, documents, share)
    if plan.rejected:
        log.warn(f"tokens: left out {counted(len(plan.rejected), 'document')}: {REJECTED} says which and why")
        write_rejected(work / REJECTED, plan.rejected)


def say_plan(plan: Plan, domains: Sequence[str]) -> None:
    """Report what is left out and what cannot be held out, before anything is tokenized.

    Raises:
        UserError: nothing is left.
    """
    totals = [sum(plan.count(group, side) for group in range(len(plan.keys))) for side in range(SIDES)]
    withheld = {name: totals[side] for name, side in WITHHELD.items() if totals[side]}
    if not totals[TRAIN] + totals[VALID]:
        if withheld:
            fix = "--splits all takes them"
            raise UserError("all documents are of publishers' test and validation parts", where="PATH", fix=fix)
        raise UserError("the inputs hold no document with text", where="PATH")
    for name, documents in withheld.items():
        sets = ", ".join(_counted(plan, WITHHELD[name]))
        log.info(
            f"tokens: left out {counted(documents, 'document')} of publishers' {name} parts ({sets}); "
            "--splits all takes them"
        )
    if totals[DUPLICATE]:
        sets = ", ".join(_counted(plan, DUPLICATE))
        log.info(
            f"tokens: left out {counted(totals[DUPLICATE], 'document')} whose text is in training already ({sets}); "
            "--keep-duplicates keeps them"
        )
    for sentence in sentences(plan.screened):
        log.info(f"tokens: {sentence}")
    for domain in sorted(set(plan.domains)):
        groups = [group for group, number in enumerate(plan.domains) if number == domain]
        if not any(plan.count(group, VALID) for group in groups):
            name = domains[domain] if domain < len(domains) else "the inputs"
            log.warn(f"nothing can be held out of {name}: there are fewer than two distinct texts")


def _counted(plan: Plan, side: int) -> list[str]:
    """`NAME COUNT` of the data sets that have most documents on a side."""
    counts = {name: plan.count(group, side) for group, name in enumerate(plan.names) if plan.count(group, side)}
    largest = sorted(counts, key=lambda name: -counts[name])
    rest = [f"and {len(largest) - SHOWN} more"] if len(largest) > SHOWN else []
    return [*(f"{name} {counts[name]:,}" for name in largest[:SHOWN]), *rest]
